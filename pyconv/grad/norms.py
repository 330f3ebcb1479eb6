"""Gradients of the pooling that takes norms."""

from __future__ import annotations

from typing import Any

from pyconv import pooling
from pyconv.grad.arguments import of_pooling

__all__ = ["lp_pool1d", "lp_pool2d", "lp_pool3d"]


def lp_pool1d(
    x: Any,
    grad_output: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    padding: Any = 0,
    dilation: Any = 1,
    y: Any = None,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `lp_pool1d` with respect to x.

    As `pyconv.grad.lp_pool2d`, with one spatial axis.
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _of_norm(1, x, grad_output, norm_type, y, window, layout, algorithm, out)


def lp_pool2d(
    x: Any,
    grad_output: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    padding: Any = 0,
    dilation: Any = 1,
    y: Any = None,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `lp_pool2d` with respect to x.

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        What was pooled.
    grad_output : ndarray, (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the pooling's result; any strides.
    norm_type, kernel_size, stride, ceil_mode, padding, dilation
        The pooling's.
    y : ndarray of grad_output's shape, optional
        The pooling's result; computed anew where not given.
    layout, algorithm, out
        As in `pyconv.grad.max_pool2d`.

    Returns
    -------
    ndarray of x's shape
        The sum over the windows that hold an element of
        grad y^(1 - p) abs(x)^(p - 1) sign(x); nothing from windows whose norm is 0.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `lp_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.array([[[[3.0, -4.0]]]])
    >>> pc.grad.lp_pool2d(x, np.ones((1, 1, 1, 1)), 2, (1, 2))
    array([[[[ 0.6, -0.8]]]])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _of_norm(2, x, grad_output, norm_type, y, window, layout, algorithm, out)


def lp_pool3d(
    x: Any,
    grad_output: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    padding: Any = 0,
    dilation: Any = 1,
    y: Any = None,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `lp_pool3d` with respect to x.

    As `pyconv.grad.lp_pool2d`, with three spatial axes.
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _of_norm(3, x, grad_output, norm_type, y, window, layout, algorithm, out)


def _of_norm(
    rank: int,
    x: Any,
    grad_output: Any,
    norm_type: Any,
    y: Any,
    window: tuple[Any, ...],
    layout: Any,
    algorithm: Any,
    out: Any,
) -> Any:
    """Compute y where it was not given, then the gradient."""
    kernel_size, stride, padding, dilation, ceil_mode = window
    if y is None:
        forward = getattr(pooling, f"lp_pool{rank}d")
        y = forward(
            x,
            norm_type,
            kernel_size,
            stride,
            ceil_mode,
            padding=padding,
            dilation=dilation,
            layout=layout,
        )
    given = (grad_output, None, x, y, getattr(x, "shape", None))
    rules = (True, None, norm_type)
    how = (layout, algorithm, out)
    return of_pooling(f"lp_pool{rank}d", *given, *window, *rules, *how)
