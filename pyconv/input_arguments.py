"""From an adjoint that was read to a Call: the whole of an input gradient in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyconv.arrays import (
    Array,
    Layout,
    Road,
    check_array,
    five_axes,
    operand_dtypes,
    pitches,
    result_dtype,
    stored_channels_last,
    sum_dtype,
)
from pyconv.errors import ShapeError
from pyconv.parameters import Pair, choice
from pyconv.problem import ACCURACIES, ACTIVATIONS, DTYPES, InputProblem, triple
from pyconv.running import Call, place

__all__ = ["Geometry", "prepare"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The convolution whose adjoint is taken, one entry for every spatial axis.

    `extents` are those of its input, which is the adjoint's result.
    """

    extents: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...]
    groups: int


def prepare(
    operation: str,
    axes: Layout,
    grad: Array,
    weight: Array,
    geometry: Geometry,
    *,
    bias: Any,
    activation: Any,
    residual: Array | None,
    algorithm: str,
    accuracy: Any,
    out: Array,
    dry: bool = False,
) -> Call:
    """Make operands ready; all shapes but bias' were checked. `dry`: copy nothing."""
    dtype, weight_dtype = operand_dtypes(grad, weight)
    road = Road(dtype, dry)
    seen = axes.view(grad)
    channels = weight.shape[1] * geometry.groups
    if bias is not None and check_array("bias", bias).shape != (channels,):
        raise ShapeError(
            f"bias must have shape ({channels},), one for each channel of the result, "
            f"got {bias.shape}"
        )
    shape = axes.shape(seen.shape[0], channels, geometry.extents)
    order = axes.order(stored_channels_last(seen, axes))
    target = axes.view(out)
    given = {"x": grad, "weight": weight, "bias": bias, "residual": residual}
    backend, is_lent = place({**given, "out": out}, road)
    operands = {
        "x": road.ready("grad_output", seen),
        "weight": five_axes(road.ready("weight", weight, weight_dtype)),
        "bias": None
        if bias is None
        else road.contiguous("bias", bias, sum_dtype(dtype)),
        "residual": None
        if residual is None
        else road.like("residual", axes.view(residual), target),
    }
    problem = InputProblem(
        dtype=DTYPES[dtype.name],
        weight_dtype=DTYPES[weight_dtype.name],
        n=seen.shape[0],
        c=channels,
        k=weight.shape[0],
        groups=geometry.groups,
        input=triple(geometry.extents, 1),
        kernel=triple(weight.shape[2:], 1),
        stride=triple(geometry.stride, 1),
        dilation=triple(geometry.dilation, 1),
        pad_before=triple(tuple(pad[0] for pad in geometry.padding), 0),
        pad_after=triple(tuple(pad[1] for pad in geometry.padding), 0),
        output=seen.shape[2:],
        padding_mode=0,
        activation=choice("activation", activation, ACTIVATIONS),
        accuracy=choice("accuracy", accuracy, ACCURACIES),
        has_bias=int(bias is not None),
        has_residual=int(residual is not None),
        x_pitch=pitches(target),
        w_pitch=pitches(operands["weight"]),
        y_pitch=pitches(operands["x"]),
    )
    shapes = {name: a.shape for name, a in given.items() if a is not None}
    return Call(
        name=operation,
        problem=problem,
        backend=backend,
        algorithm=algorithm,
        road=road,
        dtype=result_dtype(dtype),
        layout=axes,
        shape=shape,
        order=order,
        out=out,
        operands=operands,
        shapes={**shapes, "y": shape},
        lent=is_lent,
    )
