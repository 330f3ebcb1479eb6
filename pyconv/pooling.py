"""Pooling: max_pool2d and avg_pool2d, with torch's meaning of every parameter."""

from __future__ import annotations

from typing import Any

from pyconv import _core
from pyconv.arrays import (
    Array,
    Road,
    check_array,
    check_out,
    pitches,
    read_layout,
    stored_channels_last,
)
from pyconv.errors import ShapeError
from pyconv.parameters import check_size, flag, integer, paddings, per_axis
from pyconv.problem import DTYPES, POOL_KINDS, PoolProblem, Triple, pool_output
from pyconv.running import Call, place, run_pool, to_backend

__all__ = ["avg_pool2d", "max_pool2d"]

_cached = _core.pool_cached


def _triple(values: tuple[int, ...], fill: int) -> Triple:
    """Put leading axes in front of rank 1 and 2."""
    depth, height, width = (fill,) * (3 - len(values)) + values
    return (depth, height, width)


def _geometry(
    extents: tuple[int, ...],
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: bool,
) -> tuple[tuple[Any, ...], ...]:
    """Read (kernel, stride, dilation, padding), and compute the output's size."""
    rank = len(extents)
    kernel = per_axis("kernel_size", kernel_size, rank, 1)
    strides = kernel if stride is None else per_axis("stride", stride, rank, 1)
    dilations = per_axis("dilation", dilation, rank, 1)
    if 0 in extents:
        raise ShapeError(f"x has an empty spatial axis: extents {extents}")
    pads = paddings(padding, extents, kernel, strides, dilations)
    for pad, size, step in zip(pads, kernel, dilations, strict=True):
        if max(pad) > step * (size - 1):
            raise ShapeError(
                f"padding={pad} must be smaller than the window, which reaches over "
                f"{step * (size - 1) + 1} pixels (kernel_size={size}, dilation={step})"
            )
    output = tuple(
        pool_output(*axis, ceil_mode)
        for axis in zip(extents, kernel, strides, dilations, pads, strict=True)
    )
    if min(output) < 1:
        raise ShapeError(
            f"kernel_size={kernel} with dilation={dilations} is larger than x's extents "
            f"{extents} with padding={pads}: output size floor((n + before + after - "
            f"dilation * (k - 1) - 1) / stride) + 1 = {output}"
        )
    return kernel, strides, dilations, pads, output


def prepare(
    kind: str,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    count_include_pad: Any = True,
    divisor_override: Any = None,
    return_indices: Any = False,
    *,
    layout: Any = "NCHW",
    algorithm: Any = "auto",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read a pooling's arguments; with `dry` nothing is copied or allocated."""
    rank = 2
    x = check_array("x", x)
    axes = read_layout(layout, rank, x)
    dtype = x.dtype.newbyteorder("=")
    road = Road(dtype, dry)
    ceil = flag("ceil_mode", ceil_mode)
    include = flag("count_include_pad", count_include_pad)
    indexed = flag("return_indices", return_indices)
    divisor = (
        0
        if divisor_override is None
        else integer("divisor_override", divisor_override, 1)
    )
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    xs = axes.view(x)
    if xs.shape[1] == 0:
        raise ShapeError(f"x has no channels: shape {x.shape}")
    kernel, strides, dilations, pads, output = _geometry(
        xs.shape[5 - rank :], kernel_size, stride, padding, dilation, ceil
    )
    shape = axes.shape(xs.shape[0], xs.shape[1], output)
    check_size(
        f"the result of kernel_size={kernel}, padding={pads} on x {x.shape}",
        shape,
        dtype.itemsize,
    )
    if out is not None:
        check_out(out, shape, dtype, {"x": x})
    backend, is_lent = place({"x": x, "out": out}, road)
    order = axes.order(stored_channels_last(xs, axes))
    ready: dict[str, Array | None] = {"x": road.ready("x", xs)}
    operands = to_backend(backend, road, ready) if is_lent else ready
    # Indices share the output's pitches; an out= of other strides would part them.
    target = (
        out if out is not None and not is_lent else axes.planned(shape, order, dtype)
    )
    if indexed and out is not None:
        raise ValueError("out cannot be given together with return_indices=True")
    problem = PoolProblem(
        dtype=DTYPES[dtype.name],
        kind=POOL_KINDS[kind],
        n=xs.shape[0],
        c=xs.shape[1],
        input=xs.shape[2:],
        kernel=_triple(kernel, 1),
        stride=_triple(strides, 1),
        dilation=_triple(dilations, 1),
        pad_before=_triple(tuple(pad[0] for pad in pads), 0),
        pad_after=_triple(tuple(pad[1] for pad in pads), 0),
        output=_triple(output, 1),
        count_include_pad=int(include),
        divisor_override=divisor,
        return_indices=int(indexed),
        x_pitch=pitches(operands["x"]),
        y_pitch=pitches(axes.view(target)),
    )
    return Call(
        name=f"{'max' if kind == 'max' else 'avg'}_pool2d",
        problem=problem,
        backend=backend,
        algorithm=algorithm,
        road=road,
        layout=axes,
        shape=shape,
        order=order,
        out=out,
        operands=operands,
        shapes={"x": x.shape, "y": shape},
        lent=is_lent,
    )


def _pool(
    kind: str,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    divisor_override: Any,
    return_indices: Any,
    layout: Any,
    algorithm: Any,
    out: Any,
) -> Any:
    """Take the short road if the raw arguments are known, else the long one."""
    raw = (
        kind,
        x,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        count_include_pad,
        divisor_override,
        layout,
        algorithm,
        out,
    )
    if return_indices is False:
        y = _cached(*raw)
        if y is not None:
            return y
    call = prepare(
        *raw[:9], return_indices, layout=layout, algorithm=algorithm, out=out
    )
    choice = call.choose()
    result = run_pool(call, choice, bool(return_indices))
    if call.cacheable and return_indices is False:
        _core.pool_remember(choice.plan, call.shape, call.order, *raw)
    return result


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of every window.

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        Images; float32 or float64, any strides. With layout="NHWC": (N, H, W, C).
    kernel_size : int or two ints
        Height and width of the window, in pixels.
    stride : int or two ints, optional
        Step of the window; kernel_size where not given.
    padding : int, two ints, or two (before, after) pairs
        Pixels of -infinity around x; less than the window.
    dilation : int or two ints
        Step inside the window; 1 means none.
    ceil_mode : bool
        Count a last, partial window if it starts inside x or the padding before it.
    return_indices : bool
        Return the place of each maximum too.
    layout : {"NCHW", "NHWC"}
        Order of the logical axes of x and the result.
    algorithm : str
        "auto", or a name of ``algorithms("pool")``, which runs or raises.
    out : ndarray of the result's shape and dtype, optional
        Takes the result; any strides. It must not overlap x.

    Returns
    -------
    y : ndarray, (N, C, P, Q)
        P = floor((H + before + after - dilation (R - 1) - 1) / stride) + 1, Q likewise;
        ceil instead of floor with ceil_mode.
    indices : ndarray of int64, (N, C, P, Q)
        Only with return_indices: h W + w of the first maximum, or of the first NaN.

    Raises
    ------
    TypeError
        For what is no array, another dtype, or a parameter of the wrong type.
    ShapeError
        A ValueError: shapes or windows that do not fit together.
    UnsupportedAlgorithm
        A ValueError: the algorithm does not exist or cannot do this, with the reason.

    Notes
    -----
    A window that holds a NaN gives NaN. A window of nothing but padding gives -infinity
    and index -1.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.max_pool2d(np.ones((1, 64, 112, 112), np.float32), 3, 2, 1).shape
    (1, 64, 56, 56)
    """
    return _pool(
        "max",
        x,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        True,
        None,
        return_indices,
        layout,
        algorithm,
        out,
    )


def avg_pool2d(
    x: Any,
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
    """Take the mean of every window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, layout, algorithm, out
        As in `max_pool2d`; padding holds zeros.
    count_include_pad : bool
        Divide by the window's elements in x and its padding, else by those in x.
    divisor_override : int, optional
        Divide by this instead.

    Returns
    -------
    ndarray, (N, C, P, Q)
        P and Q as in `max_pool2d`.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.

    Notes
    -----
    Sums are in x's dtype, down the columns of a window first. The mean of a window with
    nothing to count is 0.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.avg_pool2d(np.ones((1, 64, 56, 56), np.float32), 2).shape
    (1, 64, 28, 28)
    """
    return _pool(
        "average",
        x,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        count_include_pad,
        divisor_override,
        False,
        layout,
        algorithm,
        out,
    )
