"""Unpooling: maxima back to where they were found."""

from __future__ import annotations

from typing import Any

from pyconv.arrays import check_array, read_layout
from pyconv.errors import ShapeError
from pyconv.parameters import per_axis, sizes_of
from pyconv.pool_grad_arguments import prepare
from pyconv.running import Call, run_pool_grad

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d", "read"]


def read(
    rank: int,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    layout: Any = "NCHW",
    algorithm: Any = "auto",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Find the result's shape; with `dry` nothing is copied or allocated."""
    x = check_array("x", x)
    axes = read_layout(layout, rank, x)
    kernel = per_axis("kernel_size", kernel_size, rank, 1)
    strides = kernel if stride is None else per_axis("stride", stride, rank, 1)
    pads = per_axis("padding", padding, rank, 0)
    seen = axes.view(x)
    extents = tuple(
        (n - 1) * step - 2 * pad + k
        for n, step, pad, k in zip(
            seen.shape[5 - rank :], strides, pads, kernel, strict=True
        )
    )
    if output_size is not None:
        whole = isinstance(output_size, (tuple, list)) and len(output_size) == x.ndim
        extents = sizes_of("output_size", output_size, x.ndim if whole else rank)
        if whole:
            extents = extents[-rank - 1 : -1] if axes.channels_last else extents[-rank:]
    if min(extents) < 1:
        raise ShapeError(
            f"the result's extents (n - 1) * stride - 2 * padding + kernel_size = "
            f"{extents} must be positive"
        )
    return prepare(
        f"max_unpool{rank}d",
        x,
        indices,
        None,
        None,
        axes.shape(seen.shape[0], seen.shape[1], extents),
        grad_name="x",
        layout=layout,
        algorithm=algorithm,
        out=out,
        dry=dry,
    )


def _unpool(
    rank: int,
    x: Any,
    indices: Any,
    window: tuple[Any, ...],
    layout: Any,
    algorithm: Any,
    out: Any,
) -> Any:
    """Read the arguments, and scatter."""
    call = read(rank, x, indices, *window, layout=layout, algorithm=algorithm, out=out)
    return run_pool_grad(call, call.choose())


def max_unpool1d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Put each element where its index says; as `max_unpool2d`, of rank 1."""
    window = (kernel_size, stride, padding, output_size)
    return _unpool(1, x, indices, window, layout, algorithm, out)


def max_unpool2d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Put each element where its index says, and zeros elsewhere.

    The partial inverse of `max_pool2d`: maxima return to their places.

    Parameters
    ----------
    x : ndarray, (N, C, P, Q) or (C, P, Q)
        What `max_pool2d` returned; any float type, any strides.
    indices : ndarray of int, x's shape
        And its indices: h W + w in a plane of the result.
    kernel_size, stride, padding : int or ints
        The pooling's: they give the result's extents where output_size does not.
    output_size : tuple of int, optional
        The result's extents, or its whole shape.
    layout : {"NCHW", "NHWC"}
        Order of the logical axes of x, indices and the result.
    algorithm, out
        As in `pyconv.grad.max_pool2d`.

    Returns
    -------
    ndarray, (N, C, H, W)
        H = (P - 1) stride - 2 padding + R, W likewise, or output_size. Of elements with
        one place the last stays.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.
    ValueError
        Where an index is negative or lies outside its plane.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> pc.max_unpool2d(*pc.max_pool2d(x, 2, return_indices=True), 2)[0, 0, 1]
    array([0., 5., 0., 7.])
    """
    window = (kernel_size, stride, padding, output_size)
    return _unpool(2, x, indices, window, layout, algorithm, out)


def max_unpool3d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Put each element where its index says; as `max_unpool2d`, of rank 3."""
    window = (kernel_size, stride, padding, output_size)
    return _unpool(3, x, indices, window, layout, algorithm, out)
