"""Reading a pooling gradient's arguments: from the user's words and arrays to a Call."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from pyconv.arrays import (
    Array,
    Layout,
    Road,
    check_array,
    check_indices,
    check_out,
    pitches,
    promoted,
    read_layout,
    stored_channels_last,
)
from pyconv.errors import ShapeError
from pyconv.parameters import check_size, flag, integer, sizes_of
from pyconv.pool_arguments import POOLS, Windows, adaptive, norm_of, sliding
from pyconv.problem import DTYPES, FLOATS, POOL_KINDS, PoolGradProblem, triple
from pyconv.running import Call, place, to_backend

__all__ = ["prepare"]


def _by_indices(extents: tuple[int, ...], output: tuple[int, ...]) -> Windows:
    """Stand in for windows where indices say all."""
    ones, nothing = (1,) * len(extents), ((0, 0),) * len(extents)
    return Windows(ones, ones, ones, nothing, output)


def _windows(
    name: str,
    extents: tuple[int, ...],
    output: tuple[int, ...],
    by_indices: bool,
    window: tuple[Any, ...],
) -> Windows:
    """Read the windows that the gradient's extents should have come from."""
    if by_indices:
        return _by_indices(extents, output)
    if name.startswith("adaptive"):
        return adaptive(extents, output)
    kernel_size, stride, padding, dilation, ceil_mode = window
    ceil = flag("ceil_mode", ceil_mode)
    return sliding(extents, kernel_size, stride, padding, dilation, ceil)


def _check_on_host(indices: Array, plane: int, least: int) -> None:
    """Refuse indices outside their plane where no kernel can: a GPU's leaves them out."""
    if indices.size == 0:
        return
    for found in (int(indices.min()), int(indices.max())):
        if not least <= found < plane:
            raise ValueError(
                f"indices holds {found}, outside a plane of {plane} elements"
            )


def _beside(
    road: Road,
    axes: Layout,
    grads: Array,
    target: Array,
    given: dict[str, Array | None],
) -> dict[str, Array | None]:
    """Give indices and y the gradient's pitches, x the result's."""
    ready: dict[str, Array | None] = dict.fromkeys(("indices", "x", "y"))
    if given["x"] is not None:
        ready["x"] = road.like("x", axes.view(given["x"]), target)
    if given["y"] is not None:
        ready["y"] = road.like("y", axes.view(given["y"]), grads)
    if given["indices"] is not None:
        steps = Road(np.dtype(np.int64), road.dry)
        model = _of_integers(grads)
        ready["indices"] = steps.like("indices", axes.view(given["indices"]), model)
        road.events.extend(steps.events)
    return ready


def _of_integers(model: Any) -> np.ndarray[Any, Any]:
    """Stand in for an array of indices with another array's shape and pitches."""
    steps = tuple(step // model.dtype.itemsize * 8 for step in model.strides)
    memory = np.empty(1, np.int64)
    return np.lib.stride_tricks.as_strided(memory, model.shape, steps)


def prepare(
    name: str,
    grad_output: Any,
    indices: Any,
    x: Any,
    y: Any,
    input_size: Any = None,
    kernel_size: Any = None,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    count_include_pad: Any = True,
    divisor_override: Any = None,
    norm_type: Any = None,
    *,
    grad_name: str = "grad_output",
    layout: Any = "NCHW",
    algorithm: Any = "auto",
    out: Any = None,
    dry: bool = False,
) -> Call:
    """Read a gradient's arguments; `name` is the pooling's, or max_unpool's.

    A maximum has indices, a norm x (whose shape input_size is) and the result y. With
    `dry` nothing is copied or allocated, and y may be missing.
    """
    kind, rank = ("unpool", int(name[-2])) if "unpool" in name else POOLS[name]
    grad = check_array(grad_name, grad_output, FLOATS)
    axes = read_layout(layout, rank, grad, grad_name)
    pooled = None if x is None else check_array("x", x, FLOATS)
    dtype = grad.dtype.newbyteorder("=")
    if pooled is not None:
        dtype = promoted(grad, pooled)
    road = Road(dtype, dry)
    grads = axes.view(grad)
    size = sizes_of("input_size", input_size, grad.ndim)
    extents = size[-rank - 1 : -1] if axes.channels_last else size[-rank:]
    shape = axes.shape(grads.shape[0], grads.shape[1], extents)
    if grads.shape[1] == 0 or 0 in extents or shape != size:
        raise ShapeError(
            f"{grad_name} of shape {grad.shape} does not belong to input_size={size}: "
            "batch and channels must agree, and no axis but the batch may be empty"
        )
    output = grads.shape[5 - rank :]
    by_indices = kind in ("max", "unpool")
    if by_indices:
        indices = check_indices(indices, grad.shape)
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    windows = _windows(name, extents, output, by_indices, window)
    if windows.output != output:
        raise ShapeError(
            f"{grad_name} of shape {grad.shape} does not belong to input_size={size}: "
            f"its spatial extents must be {windows.output}"
        )
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    check_size(f"the result of input_size={size}", shape, dtype.itemsize)
    users = {grad_name: grad, "indices": indices, "x": pooled, "y": y}
    if out is not None:
        check_out(out, shape, dtype, users)
    backend, is_lent = place({**users, "out": out}, road)
    if by_indices and backend.name == "cuda" and not dry:
        _check_on_host(indices, math.prod(extents), -1 if kind == "max" else 0)
    order = axes.order(stored_channels_last(grads, axes))
    target = (
        out if out is not None and not is_lent else axes.planned(shape, order, dtype)
    )
    grads = road.ready(grad_name, grads)
    ready = _beside(
        road, axes, grads, axes.view(target), {"indices": indices, "x": pooled, "y": y}
    )
    ready["grad_output"] = grads
    operands = to_backend(backend, road, ready) if is_lent else ready
    norm = norm_of(norm_type) if kind == "lp" else 0.0
    problem = PoolGradProblem(
        dtype=DTYPES[dtype.name],
        kind=POOL_KINDS[kind],
        n=grads.shape[0],
        c=grads.shape[1],
        input=triple(extents, 1),
        kernel=triple(windows.kernel, 1),
        stride=triple(windows.stride, 1),
        dilation=triple(windows.dilation, 1),
        pad_before=triple(tuple(pad[0] for pad in windows.padding), 0),
        pad_after=triple(tuple(pad[1] for pad in windows.padding), 0),
        output=triple(output, 1),
        adaptive=int(windows.adaptive),
        count_include_pad=int(flag("count_include_pad", count_include_pad)),
        divisor_override=0
        if divisor_override is None
        else integer("divisor_override", divisor_override, 1),
        norm_bits=struct.unpack("<q", struct.pack("<d", norm))[0],
        return_indices=int(by_indices),
        x_pitch=pitches(axes.view(target)),
        y_pitch=pitches(operands["grad_output"]),
    )
    return Call(
        name=name if kind == "unpool" else f"{name} gradient",
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
        shapes={grad_name: grad.shape, "x": shape},
        lent=is_lent,
    )
