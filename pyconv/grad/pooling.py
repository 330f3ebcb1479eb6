"""Gradients of pooling, which take the pooling's own parameters."""

from __future__ import annotations

from typing import Any

from pyconv.grad.arguments import of_pooling

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


def max_pool1d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `max_pool1d` from the places it chose.

    As `pyconv.grad.max_pool2d`, with one spatial axis.
    """
    window = (None, None, 0, 1, False)
    rules = (True, None, None)
    how = (layout, algorithm, out)
    given = (grad_output, indices, None, None, input_size)
    return of_pooling("max_pool1d", *given, *window, *rules, *how)


def max_pool2d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `max_pool2d` from the places it chose.

    Parameters
    ----------
    grad_output : ndarray, (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the pooling's result; any strides.
    indices : ndarray of int, grad_output's shape
        What `max_pool2d` returned with return_indices=True: h W + w, or -1.
    input_size : tuple of int
        Shape of what was pooled, in the order of axes that `layout` names.
    layout : {"NCHW", "NHWC"}
        Order of the logical axes of grad_output, indices and the result.
    algorithm : str
        "auto", or a name of ``algorithms("pool_grad")``, which runs or raises.
    out : ndarray of input_size, optional
        Takes the result; any strides.

    Returns
    -------
    ndarray of shape input_size
        Zero but where an index points; where several do, their sum in order.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.
    ValueError
        Where an index lies outside its plane.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> y, indices = pc.max_pool2d(x, 2, return_indices=True)
    >>> pc.grad.max_pool2d(np.ones_like(y), indices, x.shape)[0, 0, 1]
    array([0., 1., 0., 1.])
    """
    window = (None, None, 0, 1, False)
    rules = (True, None, None)
    how = (layout, algorithm, out)
    given = (grad_output, indices, None, None, input_size)
    return of_pooling("max_pool2d", *given, *window, *rules, *how)


def max_pool3d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `max_pool3d` from the places it chose.

    As `pyconv.grad.max_pool2d`, with three spatial axes.
    """
    window = (None, None, 0, 1, False)
    rules = (True, None, None)
    how = (layout, algorithm, out)
    given = (grad_output, indices, None, None, input_size)
    return of_pooling("max_pool3d", *given, *window, *rules, *how)


def adaptive_max_pool1d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `adaptive_max_pool1d`; as `pyconv.grad.max_pool1d`."""
    how = {"layout": layout, "algorithm": algorithm, "out": out}
    return max_pool1d(grad_output, indices, input_size, **how)


def adaptive_max_pool2d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `adaptive_max_pool2d`; as `pyconv.grad.max_pool2d`."""
    how = {"layout": layout, "algorithm": algorithm, "out": out}
    return max_pool2d(grad_output, indices, input_size, **how)


def adaptive_max_pool3d(
    grad_output: Any,
    indices: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `adaptive_max_pool3d`; as `pyconv.grad.max_pool3d`."""
    how = {"layout": layout, "algorithm": algorithm, "out": out}
    return max_pool3d(grad_output, indices, input_size, **how)


def avg_pool1d(
    grad_output: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `avg_pool1d`.

    As `pyconv.grad.avg_pool2d`, with one spatial axis.
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (count_include_pad, divisor_override, None)
    how = (layout, algorithm, out)
    given = (grad_output, None, None, None, input_size)
    return of_pooling("avg_pool1d", *given, *window, *rules, *how)


def avg_pool2d(
    grad_output: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `avg_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the pooling's result; any strides.
    input_size : tuple of int
        Shape of what was pooled, in the order of axes that `layout` names.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dilation
        The pooling's.
    layout, algorithm, out
        As in `pyconv.grad.max_pool2d`.

    Returns
    -------
    ndarray of shape input_size
        Each output's gradient, divided as the mean was, summed over the windows that
        hold the element.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `avg_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.grad.avg_pool2d(np.ones((1, 1, 2, 2)), (1, 1, 4, 4), 2)[0, 0, 0]
    array([0.25, 0.25, 0.25, 0.25])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (count_include_pad, divisor_override, None)
    how = (layout, algorithm, out)
    given = (grad_output, None, None, None, input_size)
    return of_pooling("avg_pool2d", *given, *window, *rules, *how)


def avg_pool3d(
    grad_output: Any,
    input_size: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `avg_pool3d`.

    As `pyconv.grad.avg_pool2d`, with three spatial axes.
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (count_include_pad, divisor_override, None)
    how = (layout, algorithm, out)
    given = (grad_output, None, None, None, input_size)
    return of_pooling("avg_pool3d", *given, *window, *rules, *how)


def adaptive_avg_pool1d(
    grad_output: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `adaptive_avg_pool1d`.

    As `pyconv.grad.adaptive_avg_pool2d`, with one spatial axis.
    """
    window = (None, None, 0, 1, False)
    rules = (True, None, None)
    how = (layout, algorithm, out)
    given = (grad_output, None, None, None, input_size)
    return of_pooling("adaptive_avg_pool1d", *given, *window, *rules, *how)


def adaptive_avg_pool2d(
    grad_output: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `adaptive_avg_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, (N, C, P, Q) or (C, P, Q)
        Gradient with respect to the pooling's result; its extents are the output's size.
    input_size : tuple of int
        Shape of what was pooled.
    layout, algorithm, out
        As in `pyconv.grad.max_pool2d`.

    Returns
    -------
    ndarray of shape input_size

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `adaptive_avg_pool2d`.
    """
    window = (None, None, 0, 1, False)
    rules = (True, None, None)
    how = (layout, algorithm, out)
    given = (grad_output, None, None, None, input_size)
    return of_pooling("adaptive_avg_pool2d", *given, *window, *rules, *how)


def adaptive_avg_pool3d(
    grad_output: Any,
    input_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `adaptive_avg_pool3d`.

    As `pyconv.grad.adaptive_avg_pool2d`, with three spatial axes.
    """
    window = (None, None, 0, 1, False)
    rules = (True, None, None)
    how = (layout, algorithm, out)
    given = (grad_output, None, None, None, input_size)
    return of_pooling("adaptive_avg_pool3d", *given, *window, *rules, *how)
