"""Reading a bias gradient's arguments: from the user's words and arrays to a Call."""

from __future__ import annotations

from typing import Any

from pyconv.arrays import Array, Layout, Road, check_array, pitches, read_layout
from pyconv.errors import ShapeError
from pyconv.problem import DTYPES, FLOATS, BiasProblem
from pyconv.running import Call, place, to_backend

__all__ = ["prepare"]


def prepare(
    rank: int, grad_output: Any, *, layout: Any = "NCHW", dry: bool = False
) -> Call:
    """Read a bias gradient's arguments; with `dry` nothing is copied or allocated."""
    grad = check_array("grad_output", grad_output, FLOATS)
    axes = read_layout(layout, rank, grad, "grad_output")
    seen = axes.view(grad)
    if 0 in seen.shape[1:]:
        raise ShapeError(
            f"grad_output may have no empty axis but the batch: shape {grad.shape}"
        )
    road = Road(grad.dtype.newbyteorder("="), dry)
    backend, is_lent = place({"grad_output": grad}, road)
    ready: dict[str, Array | None] = {"x": road.ready("grad_output", seen)}
    operands = to_backend(backend, road, ready) if is_lent else ready
    shape = (int(seen.shape[1]),)
    ones, nothing = (1, 1, 1), (0, 0, 0)
    return Call(
        name=f"conv{rank}d_bias",
        problem=BiasProblem(
            dtype=DTYPES[road.dtype.name],
            weight_dtype=DTYPES[road.dtype.name],
            n=seen.shape[0],
            c=1,
            k=seen.shape[1],
            groups=1,
            input=seen.shape[2:],
            kernel=ones,
            stride=ones,
            dilation=ones,
            pad_before=nothing,
            pad_after=nothing,
            output=seen.shape[2:],
            padding_mode=0,
            activation=0,
            accuracy=0,
            has_bias=0,
            has_residual=0,
            x_pitch=(0, 0, 0, 0, 0),
            w_pitch=(1, 0, 0, 0, 0),
            y_pitch=pitches(operands["x"]),
        ),
        backend=backend,
        algorithm="auto",
        road=road,
        dtype=road.dtype,
        layout=Layout(rank, channels_last=False, batched=True),
        shape=shape,
        order=None,
        out=None,
        operands=operands,
        shapes={"grad_output": grad.shape, "bias": shape},
        lent=is_lent,
    )
