"""Reading a pooling's arguments: from the user's words and array to a Call.

All poolings share one problem. An adaptive one is a plain one where the output's extents
divide the input's; a global one has a window as large as the input.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

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
from pyconv.problem import DTYPES, FLOATS, POOL_KINDS, PoolProblem, pool_output, triple
from pyconv.running import Call, place, to_backend

__all__ = ["POOLS", "Windows", "adaptive", "norm_of", "prepare", "sliding"]

_RANKS = (1, 2, 3)

# Integers have maxima; their averages and norms are no integers.
REALS = tuple(name for name in DTYPES if not name.startswith("complex"))

# Kind and rank of every pooling function; rank 0 is read from x.
POOLS: dict[str, tuple[str, int]] = {
    **{
        f"{prefix}{name}_pool{rank}d": (kind, rank)
        for rank in _RANKS
        for prefix, name, kind in (
            ("", "max", "max"),
            ("", "avg", "average"),
            ("", "lp", "lp"),
            ("adaptive_", "max", "max"),
            ("adaptive_", "avg", "average"),
        )
    },
    "global_max_pool": ("max", 0),
    "global_avg_pool": ("average", 0),
}


@dataclass(frozen=True, slots=True)
class Windows:
    """The geometry of a pooling, one entry for every spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    output: tuple[int, ...]
    adaptive: bool = False


def sliding(
    extents: tuple[int, ...],
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: bool,
) -> Windows:
    """Read windows that slide, and compute the output's size."""
    rank = len(extents)
    kernel = per_axis("kernel_size", kernel_size, rank, 1)
    strides = kernel if stride is None else per_axis("stride", stride, rank, 1)
    dilations = per_axis("dilation", dilation, rank, 1)
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
    return Windows(kernel, strides, dilations, pads, output)


def adaptive(extents: tuple[int, ...], output_size: object) -> Windows:
    """Read the output's size: window o is [floor(o n / p), ceil((o + 1) n / p))."""
    rank = len(extents)
    if isinstance(output_size, (tuple, list)) and len(output_size) == rank:
        sizes: object = tuple(
            extent if size is None else size
            for size, extent in zip(output_size, extents, strict=True)
        )
    else:
        sizes = extents if output_size is None else output_size
    output = per_axis("output_size", sizes, rank, 1)
    ones, nothing = (1,) * rank, ((0, 0),) * rank
    if all(n % p == 0 for n, p in zip(extents, output, strict=True)):
        kernel = tuple(n // p for n, p in zip(extents, output, strict=True))
        return Windows(kernel, kernel, ones, nothing, output)
    # The widest window reaches over n / p, rounded up, and one more where a window of
    # that length can begin within a pixel: never where n mod p divides both.
    kernel = tuple(
        n // p + (n % p > 0) + (n % p > math.gcd(n, p))
        for n, p in zip(extents, output, strict=True)
    )
    return Windows(kernel, ones, ones, nothing, output, adaptive=True)


def norm_of(norm_type: object) -> float:
    """Read the order of a norm."""
    if isinstance(norm_type, (bool, np.bool_)) or not isinstance(
        norm_type, (int, float, np.integer, np.floating)
    ):
        raise TypeError(
            f"norm_type must be a number, not {type(norm_type).__name__} "
            f"({norm_type!r:.60})"
        )
    norm = float(norm_type)
    if not (math.isfinite(norm) and norm > 0):
        raise ValueError(f"norm_type must be positive and finite, got {norm_type!r}")
    return norm


def _rank_of(name: str, x: Array) -> int:
    """Read the rank of a pooling over all spatial axes from its input."""
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            f"x must have 3 to 5 axes (N, C, *spatial) for {name}, got shape {x.shape}"
        )
    return int(x.ndim) - 2


def prepare(
    name: str,
    x: Any,
    kernel_size: Any = None,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    count_include_pad: Any = True,
    divisor_override: Any = None,
    norm_type: Any = None,
    return_indices: Any = False,
    *,
    output_size: Any = None,
    layout: Any = "NCHW",
    algorithm: Any = "auto",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read a pooling's arguments; with `dry` nothing is copied or allocated.

    An adaptive pooling's output_size may stand in kernel_size's place.
    """
    kind, rank = POOLS[name]
    x = check_array("x", x, REALS if kind == "max" else FLOATS)
    rank = rank or _rank_of(name, x)
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
    norm = norm_of(norm_type) if kind == "lp" else 0.0
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    xs = axes.view(x)
    if xs.shape[1] == 0:
        raise ShapeError(f"x has no channels: shape {x.shape}")
    extents = xs.shape[5 - rank :]
    if 0 in extents:
        raise ShapeError(f"x has an empty spatial axis: extents {extents}")
    if name.startswith("global"):
        windows = adaptive(extents, 1)
    elif name.startswith("adaptive"):
        windows = adaptive(extents, kernel_size if output_size is None else output_size)
    else:
        windows = sliding(extents, kernel_size, stride, padding, dilation, ceil)
    shape = axes.shape(xs.shape[0], xs.shape[1], windows.output)
    check_size(
        f"the result {windows.output} for each plane of x {x.shape}",
        shape,
        dtype.itemsize,
    )
    if out is not None:
        check_out(out, shape, dtype, {"x": x})
        if indexed:
            # Indices share the output's pitches; strides of out's own would part them.
            raise ValueError("out cannot be given together with return_indices=True")
    backend, is_lent = place({"x": x, "out": out}, road)
    order = axes.order(stored_channels_last(xs, axes))
    ready: dict[str, Array | None] = {"x": road.ready("x", xs)}
    operands = to_backend(backend, road, ready) if is_lent else ready
    target = (
        out if out is not None and not is_lent else axes.planned(shape, order, dtype)
    )
    problem = PoolProblem(
        dtype=DTYPES[dtype.name],
        kind=POOL_KINDS[kind],
        n=xs.shape[0],
        c=xs.shape[1],
        input=xs.shape[2:],
        kernel=triple(windows.kernel, 1),
        stride=triple(windows.stride, 1),
        dilation=triple(windows.dilation, 1),
        pad_before=triple(tuple(pad[0] for pad in windows.padding), 0),
        pad_after=triple(tuple(pad[1] for pad in windows.padding), 0),
        output=triple(windows.output, 1),
        adaptive=int(windows.adaptive),
        count_include_pad=int(include),
        divisor_override=divisor,
        norm_bits=struct.unpack("<q", struct.pack("<d", norm))[0],
        return_indices=int(indexed),
        x_pitch=pitches(operands["x"]),
        y_pitch=pitches(axes.view(target)),
    )
    return Call(
        name=name,
        problem=problem,
        backend=backend,
        algorithm=algorithm,
        road=road,
        dtype=dtype,
        layout=axes,
        shape=shape,
        order=order,
        out=out,
        operands=operands,
        shapes={"x": x.shape, "y": shape},
        lent=is_lent,
    )
