"""Reading a convolution's arguments: from the user's words and arrays to a Call.

Everything is checked here, in the order a user would want to hear of it, before anything
is allocated: types, shapes, the window, the result's size, and out=.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyconv.arrays import (
    Array,
    Road,
    check_array,
    check_out,
    five_axes,
    operand_dtypes,
    pitches,
    read_layout,
    result_dtype,
    stored_channels_last,
    sum_dtype,
)
from pyconv.errors import ShapeError
from pyconv.parameters import check_size, choice, integer, paddings, per_axis
from pyconv.problem import (
    ACCURACIES,
    ACTIVATIONS,
    DTYPES,
    FLOATS,
    PADDING_MODES,
    ConvProblem,
    conv_output,
    triple,
)
from pyconv.running import Call, place, to_backend

__all__ = ["prepare"]


@dataclass(frozen=True, slots=True)
class _Window:
    """The geometry of a convolution, one entry for every spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    output: tuple[int, ...]


def _check_weight(x: Array, weight: Array, groups: int, rank: int) -> None:
    """Refuse channels, filters and groups that do not fit together."""
    if weight.ndim != rank + 2:
        raise ShapeError(
            f"weight must have {rank + 2} axes (K, C/groups, *kernel), got shape "
            f"{weight.shape}"
        )
    filters, channels = weight.shape[:2]
    if x.shape[1] == 0 or channels == 0 or filters == 0:
        raise ShapeError(
            f"x and weight must have at least one channel and one filter, got x with "
            f"{x.shape[1]} channels and weight {weight.shape}"
        )
    if 0 in weight.shape[2:]:
        raise ShapeError(f"weight has an empty kernel: shape {weight.shape}")
    if x.shape[1] != channels * groups:
        raise ShapeError(
            f"x has {x.shape[1]} channels, but weight of shape {weight.shape} with "
            f"groups={groups} needs {channels * groups}"
        )
    if filters % groups:
        raise ShapeError(f"groups={groups} does not divide weight's {filters} filters")


def _window(
    extents: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: object,
    padding: object,
    dilation: object,
) -> _Window:
    """Read stride, padding and dilation, and compute the output's size."""
    rank = len(extents)
    strides = per_axis("stride", stride, rank, 1)
    dilations = per_axis("dilation", dilation, rank, 1)
    pads = paddings(padding, extents, kernel, strides, dilations)
    if 0 in extents:
        raise ShapeError(f"x has an empty spatial axis: extents {extents}")
    output = tuple(
        conv_output(*axis)
        for axis in zip(extents, kernel, strides, dilations, pads, strict=True)
    )
    if min(output) < 1:
        raise ShapeError(
            f"weight's kernel {kernel} with dilation={dilations} is larger than x's "
            f"extents {extents} with padding={pads}: output size floor((n + before + "
            f"after - dilation * (k - 1) - 1) / stride) + 1 = {output}"
        )
    return _Window(kernel, strides, dilations, pads, output)


def _check_padding_mode(mode: str, window: _Window, extents: tuple[int, ...]) -> None:
    """Refuse padding that would have to wrap or reflect more than once."""
    limits = {"reflect": 1, "circular": 0}
    if mode not in limits:
        return
    for pad, extent in zip(window.padding, extents, strict=True):
        if max(pad) > extent - limits[mode]:
            raise ShapeError(
                f"padding={pad} with padding_mode={mode!r} must be at most "
                f"{extent - limits[mode]} for an axis of extent {extent}"
            )


def _check_activation(name: str | None, dtype: np.dtype[Any]) -> None:
    """Refuse activations that an element type has no meaning or no room for."""
    if name is None or dtype.name in FLOATS:
        return
    if dtype.kind == "c" or name not in ("relu", "relu6"):
        raise TypeError(
            f"activation={name!r} needs a floating type, and the result is {dtype}"
        )


def _check_cast(name: str, a: Array, dtype: np.dtype[Any]) -> None:
    """Refuse a cast that would lose a fraction or an imaginary part in silence."""
    if a.dtype.newbyteorder("=") != dtype and not np.can_cast(
        a.dtype, dtype, "same_kind"
    ):
        raise TypeError(
            f"{name} has dtype {a.dtype}, which cannot be cast to {dtype} safely"
        )


def _check_bias(bias: object, filters: int, dtype: np.dtype[Any]) -> Array | None:
    """Refuse a bias that is not one number per filter."""
    if bias is None:
        return None
    array = check_array("bias", bias)
    _check_cast("bias", array, dtype)
    if array.shape != (filters,):
        raise ShapeError(
            f"bias must have shape ({filters},), one for each filter, got {array.shape}"
        )
    return array


def _check_residual(
    residual: object, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array | None:
    """Refuse a residual that does not have the result's shape."""
    if residual is None:
        return None
    array = check_array("residual", residual)
    _check_cast("residual", array, dtype)
    if array.shape != shape:
        raise ShapeError(
            f"residual must have the result's shape {shape}, got {array.shape}"
        )
    return array


def prepare(
    rank: int,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    padding_mode: Any = "zeros",
    layout: Any = "NCHW",
    activation: Any = None,
    residual: Any = None,
    algorithm: Any = "auto",
    accuracy: Any = "default",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read a convolution's arguments; with `dry` nothing is copied or allocated."""
    x = check_array("x", x)
    weight = check_array("weight", weight)
    axes = read_layout(layout, rank, x)
    x_dtype, weight_dtype = operand_dtypes(x, weight)
    dtype = result_dtype(x_dtype)
    road = Road(x_dtype, dry)
    group_count = integer("groups", groups, 1)
    mode = choice("padding_mode", padding_mode, PADDING_MODES)
    act = choice("activation", activation, ACTIVATIONS)
    _check_activation(activation, dtype)
    level = choice("accuracy", accuracy, ACCURACIES)
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    xs = axes.view(x)
    _check_weight(xs, weight, group_count, rank)
    extents = xs.shape[5 - rank :]
    window = _window(extents, weight.shape[2:], stride, padding, dilation)
    _check_padding_mode(padding_mode, window, extents)
    filters = weight.shape[0]
    bias = _check_bias(bias, filters, sum_dtype(x_dtype))
    shape = axes.shape(xs.shape[0], filters, window.output)
    residual = _check_residual(residual, shape, dtype)
    check_size(
        f"the result of padding={padding!r:.60}, stride={stride!r:.60} on x {x.shape} "
        f"and weight {weight.shape}",
        shape,
        dtype.itemsize,
    )
    users = {"x": x, "weight": weight, "bias": bias, "residual": residual}
    if out is not None:
        check_out(out, shape, dtype, users)
    backend, is_lent = place({**users, "out": out}, road)
    order = axes.order(stored_channels_last(xs, axes))
    target = out if out is not None else axes.planned(shape, order, dtype)
    ready = {
        "x": road.ready("x", xs),
        "weight": five_axes(road.ready("weight", weight, weight_dtype)),
        "bias": None
        if bias is None
        else road.contiguous("bias", bias, sum_dtype(x_dtype)),
        "residual": None
        if residual is None
        else road.like("residual", axes.view(residual), axes.view(target)),
    }
    operands = to_backend(backend, road, ready) if is_lent else ready
    if is_lent:
        target = axes.planned(shape, order, dtype)
    problem = ConvProblem(
        dtype=DTYPES[x_dtype.name],
        weight_dtype=DTYPES[weight_dtype.name],
        n=xs.shape[0],
        c=xs.shape[1],
        k=filters,
        groups=group_count,
        input=xs.shape[2:],
        kernel=triple(window.kernel, 1),
        stride=triple(window.stride, 1),
        dilation=triple(window.dilation, 1),
        pad_before=triple(tuple(pad[0] for pad in window.padding), 0),
        pad_after=triple(tuple(pad[1] for pad in window.padding), 0),
        output=triple(window.output, 1),
        padding_mode=mode,
        activation=act,
        accuracy=level,
        has_bias=int(bias is not None),
        has_residual=int(residual is not None),
        x_pitch=pitches(operands["x"]),
        w_pitch=pitches(operands["weight"]),
        y_pitch=pitches(axes.view(target)),
    )
    shapes = {name: a.shape for name, a in users.items() if a is not None}
    return Call(
        name=f"conv{rank}d",
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
        shapes={**shapes, "y": shape},
        lent=is_lent,
    )
