"""Reading a weight gradient's arguments: from the user's words and arrays to a Call."""

from __future__ import annotations

from typing import Any

from pyconv.arrays import (
    Array,
    Layout,
    Road,
    check_array,
    check_out,
    five_axes,
    pitches,
    promoted,
    read_layout,
)
from pyconv.errors import ShapeError
from pyconv.parameters import check_size, integer, paddings, per_axis, sizes_of
from pyconv.problem import DTYPES, FLOATS, WeightProblem, conv_output, triple
from pyconv.running import Call, place, to_backend

__all__ = ["prepare"]


def _check_channels(
    seen: Array, grads: Array, size: tuple[int, ...], groups: int
) -> None:
    """Refuse channels, filters and groups that do not fit together."""
    if 0 in size:
        raise ShapeError(f"weight_size={size} has an empty axis")
    if seen.shape[1] != size[1] * groups:
        raise ShapeError(
            f"x has {seen.shape[1]} channels, but weight_size={size} with "
            f"groups={groups} needs {size[1] * groups}"
        )
    if size[0] % groups:
        raise ShapeError(
            f"groups={groups} does not divide weight_size's {size[0]} filters"
        )
    if grads.shape[1] != size[0]:
        raise ShapeError(
            f"grad_output has {grads.shape[1]} channels, but weight_size={size} has "
            f"{size[0]} filters"
        )
    if grads.shape[0] != seen.shape[0]:
        raise ShapeError(
            f"x and grad_output must have one batch, got {seen.shape[0]} and "
            f"{grads.shape[0]} samples"
        )


def prepare(
    rank: int,
    x: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    layout: Any = "NCHW",
    algorithm: Any = "auto",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read a weight gradient's arguments; with `dry` nothing is copied or allocated."""
    x = check_array("x", x, FLOATS)
    grad = check_array("grad_output", grad_output, FLOATS)
    axes = read_layout(layout, rank, x)
    if grad.ndim != x.ndim:
        raise ShapeError(
            f"grad_output must have x's number of axes, {x.ndim}, got shape {grad.shape}"
        )
    dtype = promoted(x, grad)
    road = Road(dtype, dry)
    group_count = integer("groups", groups, 1)
    size = sizes_of("weight_size", weight_size, rank + 2)
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    seen, grads = axes.view(x), axes.view(grad)
    _check_channels(seen, grads, size, group_count)
    extents, kernel = seen.shape[5 - rank :], size[2:]
    strides = per_axis("stride", stride, rank, 1)
    dilations = per_axis("dilation", dilation, rank, 1)
    pads = paddings(padding, extents, kernel, strides, dilations)
    if 0 in extents:
        raise ShapeError(f"x has an empty spatial axis: extents {extents}")
    output = tuple(
        conv_output(*axis)
        for axis in zip(extents, kernel, strides, dilations, pads, strict=True)
    )
    if output != grads.shape[5 - rank :]:
        raise ShapeError(
            f"grad_output of shape {grad.shape} does not belong to x {x.shape}: its "
            f"spatial extents must be floor((n + before + after - dilation * (k - 1) - "
            f"1) / stride) + 1 = {output}"
        )
    check_size(f"the result of weight_size={size}", size, dtype.itemsize)
    users = {"x": x, "grad_output": grad}
    if out is not None:
        check_out(out, size, dtype, users)
    backend, is_lent = place({**users, "out": out}, road)
    weights = Layout(rank, channels_last=False, batched=True)
    target = (
        out if out is not None and not is_lent else weights.planned(size, None, dtype)
    )
    ready = {
        "x": road.ready("x", seen),
        "grad_output": road.ready("grad_output", grads),
    }
    operands = to_backend(backend, road, ready) if is_lent else ready
    problem = WeightProblem(
        dtype=DTYPES[dtype.name],
        weight_dtype=DTYPES[dtype.name],
        n=seen.shape[0],
        c=seen.shape[1],
        k=size[0],
        groups=group_count,
        input=seen.shape[2:],
        kernel=triple(kernel, 1),
        stride=triple(strides, 1),
        dilation=triple(dilations, 1),
        pad_before=triple(tuple(pad[0] for pad in pads), 0),
        pad_after=triple(tuple(pad[1] for pad in pads), 0),
        output=triple(output, 1),
        padding_mode=0,
        activation=0,
        accuracy=0,
        has_bias=0,
        has_residual=0,
        x_pitch=pitches(operands["x"]),
        w_pitch=pitches(five_axes(target)),
        y_pitch=pitches(operands["grad_output"]),
    )
    return Call(
        name=f"conv{rank}d_weight",
        problem=problem,
        backend=backend,
        algorithm=algorithm,
        road=road,
        dtype=dtype,
        layout=weights,
        shape=size,
        order=None,
        out=out,
        operands=operands,
        shapes={"x": x.shape, "grad_output": grad.shape, "weight": size},
        lent=is_lent,
    )
