"""Reading im2col's and col2im's arguments: from the user's words and arrays to a Call."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from pyconv.arrays import (
    Array,
    Layout,
    Road,
    check_array,
    check_out,
    pitches,
    read_layout,
)
from pyconv.errors import ShapeError
from pyconv.parameters import Pair, check_size, paddings, per_axis
from pyconv.problem import (
    DTYPES,
    FLOATS,
    Col2imProblem,
    Im2colProblem,
    Pitches,
    conv_output,
    triple,
)
from pyconv.running import Call, place, to_backend

__all__ = ["prepare_col2im", "prepare_im2col"]

MOST_AXES = 3


def _rank(*given: tuple[str, Any]) -> int:
    """Count spatial axes: as long as the first parameter that is not an integer, or two."""
    for name, value in given:
        if isinstance(value, (tuple, list)):
            if not 1 <= len(value) <= MOST_AXES:
                raise ValueError(
                    f"{name} must have 1 to {MOST_AXES} entries, one for each spatial "
                    f"axis, got {value!r:.60}"
                )
            return len(value)
    return 2


def _column_pitches(columns: Array, output: tuple[int, ...]) -> Pitches:
    """Count the steps of columns (n, row, window) along (n, row, m, p, q)."""
    size = columns.dtype.itemsize
    batch = columns.strides[0] // size if columns.ndim == 3 else 0
    row, step = (stride // size for stride in columns.strides[-2:])
    _, height, width = triple(output, 1)
    return (batch, row, step * height * width, step * width, step)


class _Windows:
    """kernel_size, dilation, padding and stride over given extents, and what they cut."""

    def __init__(
        self,
        extents: tuple[int, ...],
        kernel_size: Any,
        dilation: Any,
        padding: Any,
        stride: Any,
    ) -> None:
        rank = len(extents)
        self.extents = extents
        self.kernel = per_axis("kernel_size", kernel_size, rank, 1)
        self.dilation = per_axis("dilation", dilation, rank, 1)
        self.stride = per_axis("stride", stride, rank, 1)
        self.padding: tuple[Pair, ...] = paddings(
            padding, extents, self.kernel, self.stride, self.dilation
        )
        self.output = tuple(
            conv_output(*axis)
            for axis in zip(
                extents,
                self.kernel,
                self.stride,
                self.dilation,
                self.padding,
                strict=True,
            )
        )
        if min(self.output) < 1:
            raise ShapeError(
                f"kernel_size={self.kernel} with dilation={self.dilation} is larger than "
                f"the extents {extents} with padding={self.padding}"
            )

    def problem(
        self,
        kind: type[Im2colProblem],
        dtype: Any,
        n: int,
        channels: int,
        image: Pitches,
        columns: Pitches,
    ) -> Im2colProblem:
        """Describe the windows over an image of these pitches."""
        return kind(
            dtype=DTYPES[dtype.name],
            weight_dtype=DTYPES[dtype.name],
            n=n,
            c=channels,
            k=channels * prod(self.kernel),
            groups=1,
            input=triple(self.extents, 1),
            kernel=triple(self.kernel, 1),
            stride=triple(self.stride, 1),
            dilation=triple(self.dilation, 1),
            pad_before=triple(tuple(pad[0] for pad in self.padding), 0),
            pad_after=triple(tuple(pad[1] for pad in self.padding), 0),
            output=triple(self.output, 1),
            padding_mode=0,
            activation=0,
            accuracy=0,
            has_bias=0,
            has_residual=0,
            x_pitch=image,
            w_pitch=(0, 0, 0, 0, 0),
            y_pitch=columns,
        )


def _call(
    name: str,
    axes: Layout,
    road: Road,
    given: tuple[str, Array, Array],
    made: tuple[str, tuple[int, ...]],
    out: Array | None,
    problem: Callable[[Array, Array], Im2colProblem],
) -> Call:
    """Take an array to its backend; `problem` describes it and the result there.

    `given` is the argument's name, the array and the view that kernels read; `made` the
    result's name and shape.
    """
    (source, array, seen), (result, shape) = given, made
    if out is not None:
        check_out(out, shape, road.dtype, {source: array})
    backend, is_lent = place({source: array, "out": out}, road)
    ready: dict[str, Array | None] = {"x": road.ready(source, seen)}
    operands = to_backend(backend, road, ready) if is_lent else ready
    target = out
    if out is None or is_lent:
        target = axes.planned(shape, None, road.dtype)
    return Call(
        name=name,
        problem=problem(operands["x"], target),
        backend=backend,
        algorithm="auto",
        road=road,
        dtype=road.dtype,
        layout=axes,
        shape=shape,
        order=None,
        out=out,
        operands=operands,
        shapes={source: array.shape, result: shape},
        lent=is_lent,
    )


def prepare_im2col(
    x: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    layout: Any = "NCHW",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read im2col's arguments; with `dry` nothing is copied or allocated."""
    x = check_array("x", x, FLOATS)
    axes = read_layout(layout, _rank(("kernel_size", kernel_size)), x)
    seen = axes.view(x)
    if 0 in seen.shape[1:]:
        raise ShapeError(f"x may have no empty axis but the batch: shape {x.shape}")
    windows = _Windows(
        seen.shape[5 - axes.rank :], kernel_size, dilation, padding, stride
    )
    rows = seen.shape[1] * prod(windows.kernel)
    inner = (rows, prod(windows.output))
    shape = (seen.shape[0], *inner) if axes.batched else inner
    road = Road(x.dtype.newbyteorder("="), dry)
    check_size("the result", shape, road.dtype.itemsize)
    return _call(
        "im2col",
        axes,
        road,
        ("x", x, seen),
        ("columns", shape),
        out,
        lambda image, matrix: windows.problem(
            Im2colProblem,
            road.dtype,
            seen.shape[0],
            seen.shape[1],
            pitches(image),
            _column_pitches(matrix, windows.output),
        ),
    )


def prepare_col2im(
    columns: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read col2im's arguments; with `dry` nothing is copied or allocated."""
    columns = check_array("columns", columns, FLOATS)
    if columns.ndim not in (2, 3):
        raise ShapeError(
            "columns must have 3 axes (or 2, without a batch), got shape "
            f"{columns.shape}"
        )
    rank = _rank(("output_size", output_size), ("kernel_size", kernel_size))
    extents = per_axis("output_size", output_size, rank, 1)
    windows = _Windows(extents, kernel_size, dilation, padding, stride)
    taps, count = prod(windows.kernel), prod(windows.output)
    rows = columns.shape[-2]
    if rows == 0 or rows % taps or columns.shape[-1] != count:
        raise ShapeError(
            f"columns of shape {columns.shape} do not belong to output_size={extents}: "
            f"they must have a multiple of {taps} rows (the taps of kernel_size="
            f"{windows.kernel}) and {count} columns (windows {windows.output})"
        )
    axes = Layout(rank, channels_last=False, batched=columns.ndim == 3)
    n = columns.shape[0] if axes.batched else 1
    shape = axes.shape(n, rows // taps, extents)
    road = Road(columns.dtype.newbyteorder("="), dry)
    check_size(f"the result of output_size={extents}", shape, road.dtype.itemsize)
    return _call(
        "col2im",
        axes,
        road,
        ("columns", columns, columns),
        ("x", shape),
        out,
        lambda matrix, image: windows.problem(
            Col2imProblem,
            road.dtype,
            n,
            rows // taps,
            pitches(axes.view(image)),
            _column_pitches(matrix, windows.output),
        ),
    )
