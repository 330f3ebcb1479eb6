"""Reading a gradient's arguments, and running it."""

from __future__ import annotations

from typing import Any

from pyconv import (
    _core,
    bias_arguments,
    device_calls,
    pool_grad_arguments,
    weight_arguments,
)
from pyconv.adjoint import Geometry, adjoint, check_channels
from pyconv.arrays import Array, check_array, read_layout
from pyconv.errors import ShapeError
from pyconv.parameters import integer, paddings, per_axis, sizes_of
from pyconv.problem import conv_output
from pyconv.running import run_pool_grad, run_unary, run_weight

__all__ = ["of_bias", "of_input", "of_pooling", "of_weight", "read_input"]


# Where a weight gradient's arrays are among the raw arguments: x, grad_output, result.
_WEIGHT_TAKES = (1, 3, device_calls.RESULT)
# And an input gradient's, which convolves grad_output.
_INPUT_PLACES = {"weight": 2, "x": 3}


def of_input(*raw: Any) -> Any:
    """Take the short road if the raw arguments are known, else read them and run.

    `raw` are the rank, input_size, weight, grad_output, the window, layout, algorithm,
    accuracy and out.
    """
    result = _core.input_cached(*raw)
    if result is None:
        result = device_calls.cached("input", raw, _INPUT_PLACES["x"])
    if result is not None:
        return result
    taken, how = read_input(*raw)
    return adjoint(
        *taken,
        **how,
        remember=lambda *plan: _core.input_remember(*plan, *raw),
        remember_runs=lambda runs, *whole: device_calls.remember_phases(
            "input", raw, runs, _INPUT_PLACES, whole
        ),
    )


def read_input(
    rank: int,
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    layout: Any = "NCHW",
    algorithm: Any = "auto",
    accuracy: Any = "default",
    out: Any = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the window, check grad_output against the sizes; read_adjoint's arguments."""
    weight = check_array("weight", weight)
    grad = check_array("grad_output", grad_output)
    axes = read_layout(layout, rank, grad, "grad_output")
    seen = axes.view(grad)
    group_count = integer("groups", groups, 1)
    check_channels(seen, weight, group_count, rank, "grad_output")
    sizes = sizes_of("input_size", input_size, grad.ndim)
    lead = sizes[: len(sizes) - rank - 1]
    if axes.channels_last:
        extents, channels = sizes[len(lead) : -1], sizes[-1]
    else:
        extents, channels = sizes[len(lead) + 1 :], sizes[len(lead)]
    if channels != weight.shape[1] * group_count:
        raise ShapeError(
            f"input_size={sizes} has {channels} channels, but weight of shape "
            f"{weight.shape} with groups={group_count} takes "
            f"{weight.shape[1] * group_count}"
        )
    kernel = weight.shape[2:]
    strides = per_axis("stride", stride, rank, 1)
    dilations = per_axis("dilation", dilation, rank, 1)
    pads = paddings(padding, extents, kernel, strides, dilations)
    if 0 in extents:
        raise ShapeError(f"input_size={sizes} has an empty spatial axis")
    output = tuple(
        conv_output(*axis)
        for axis in zip(extents, kernel, strides, dilations, pads, strict=True)
    )
    if output != seen.shape[5 - rank :] or (lead and lead[0] != grad.shape[0]):
        raise ShapeError(
            f"grad_output of shape {grad.shape} does not belong to input_size={sizes}: "
            f"its spatial extents must be floor((n + before + after - dilation * "
            f"(k - 1) - 1) / stride) + 1 = {output}, and its batch input_size's"
        )
    geometry = Geometry(extents, strides, pads, dilations, group_count)
    taken = (f"conv{rank}d_input", "grad_output", rank, grad, weight, geometry)
    how = {
        "layout": layout,
        "algorithm": algorithm,
        "accuracy": accuracy,
        "out": out,
    }
    return taken, how


def of_weight(*raw: Any) -> Any:
    """Take the short road if the raw arguments are known, else read, plan and run.

    `raw` are the rank, prepare()'s positional arguments, layout, algorithm and out.
    """
    result = _core.weight_cached(*raw)
    if result is None:
        result = device_calls.cached("weight", raw, 1)
    if result is not None:
        return result
    *arguments, layout, algorithm, out = raw
    call = weight_arguments.prepare(
        *arguments, layout=layout, algorithm=algorithm, out=out
    )
    choice = call.choose()
    result = run_weight(call, choice)
    if call.may_be_remembered(choice):
        _core.weight_remember(choice.plan, call.shape, call.order, *raw)
    device_calls.remember("weight", raw, call, choice, _WEIGHT_TAKES)
    return result


def of_bias(rank: int, grad_output: Any, layout: Any) -> Array:
    """Take the short road if the raw arguments are known, else read, plan and run."""
    raw = (f"conv{rank}d_bias", grad_output, layout, None, None, None, None, None)
    result = _core.unary_cached(*raw)
    if result is not None:
        return result
    call = bias_arguments.prepare(rank, grad_output, layout=layout)
    choice = call.choose()
    result = run_unary(call, choice)
    if call.may_be_remembered(choice):
        _core.unary_remember(choice.plan, call.shape, call.order, *raw)
    return result


def of_pooling(*raw: Any) -> Any:
    """Take the short road if the raw arguments are known, else read, plan and run.

    `raw` are the pooling's name, prepare()'s positional arguments, layout, algorithm
    and out.
    """
    result = _core.pool_grad_cached(*raw)
    if result is not None:
        return result
    *arguments, layout, algorithm, out = raw
    call = pool_grad_arguments.prepare(
        *arguments, layout=layout, algorithm=algorithm, out=out
    )
    choice = call.choose()
    result = run_pool_grad(call, choice)
    if call.may_be_remembered(choice):
        _core.pool_grad_remember(choice.plan, call.shape, call.order, *raw)
    return result
