"""Both gradients of published layers on a GPU, ours beside cuDNN's.

Question: how far are the gradients' kernels from PyTorch's on the same arrays in the
same run? An answer is checked against float64 before it is timed.
"""

# ruff: noqa: PLC0415 - what needs the compiled core is imported only where it is there

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu_contenders import (
    Queue,
    captured,
    conv_problem,
    cuda_backend,
    device_array,
    relative_error,
    sets_for,
    torch_or_none,
    with_tf32,
)
from pyconv.movement.layers import Layer

__all__ = ["gradients"]

# A call, where its first result lies, and the predicted microseconds.
Ours = tuple[Callable[[int], object], Callable[[], Any], float]
TOLERANCE = 1e-5  # a relative error of float32 sums


def gradients(queue: Queue, layers: tuple[Layer, ...]) -> dict[str, Any]:
    """Time the weight's and the input's gradient of each layer, in both orders."""
    return {
        f"{layer.id}-{memory}": {
            "flops": layer.flops,
            "weight": _weight(queue, layer, memory),
            "input": _input(queue, layer, memory),
        }
        for layer in layers
        for memory in ("first", "last")
    }


def _arrays(queue: Queue, layer: Layer, memory: str) -> list[dict[str, Any]]:
    """Make sets of x, the result's gradient y, and the weight; all are overwritten."""
    return [
        {
            "x": device_array(queue, layer.x_shape, memory),
            "y": device_array(queue, layer.y_shape, memory),
            "weight": device_array(queue, layer.w_shape, "first"),
        }
        for _ in range(sets_for(layer.compulsory_bytes()))
    ]


def _theirs(
    torch: Any, layer: Layer, arrays: list[dict[str, Any]], wanted: int
) -> tuple[Callable[..., object], Any]:
    """Make PyTorch's call, and compute the exact answer; 0: of x, 1: of the weight."""
    names = ("y", "x", "weight")
    sets = [[torch.from_dlpack(one[name]) for name in names] for one in arrays]
    mask = [wanted == 0, wanted == 1, False]
    how = (None, layer.stride, layer.padding, layer.dilation, False, (0, 0))
    backward = torch.ops.aten.convolution_backward

    def run(call: int, tf32: bool) -> object:
        mine = sets[call % len(sets)]
        return with_tf32(torch, tf32, lambda: backward(*mine, *how, layer.groups, mask))

    exact = backward(*(t.double() for t in sets[0]), *how, layer.groups, mask)
    return run, exact[wanted]


def _timed(
    queue: Queue,
    ours: dict[str, Ours],
    theirs: Callable[..., object] | None,
    exact: Any,
) -> dict[str, Any]:
    """Check each of ours against the exact answer, then time all in turns."""
    torch = torch_or_none()
    notes: dict[str, Any] = {}
    runs: dict[str, Callable[[int], object]] = {}
    for name, (run, result, predicted) in ours.items():
        run(0)
        error = relative_error(torch, result(), exact)
        notes[name] = {"relative_error": error, "predicted_us": predicted}
        if error is None or error < TOLERANCE:
            runs[name] = run
        else:
            notes[name]["wrong"] = "not timed"
    if theirs is not None:
        for tf32 in (False, True):
            runs[f"torch_{'tf32' if tf32 else 'fp32'}"] = partial(theirs, tf32=tf32)
    for name, time in queue.turns(runs).items():
        notes.setdefault(name, {}).update(time)
    return notes


def _weight(queue: Queue, layer: Layer, memory: str) -> dict[str, Any]:
    """Time every kernel of weight gradients that takes the layer."""
    cuda, torch = cuda_backend(), torch_or_none()
    arrays = _arrays(queue, layer, memory)
    theirs, exact = _theirs(torch, layer, arrays, 1) if torch else (None, None)
    problem = conv_problem(layer, arrays[0], "WeightProblem")
    ours: dict[str, Ours] = {}
    for candidate in cuda.candidates(problem):
        if candidate["reason"]:
            continue
        plan = cuda.plan(problem, candidate["name"])

        def run(call: int, plan: Any = plan) -> None:
            one = arrays[call % len(arrays)]
            cuda.run(plan, one["x"], one["y"], one["weight"])

        name = f"pyconv_{candidate['name']}"
        ours[name] = (run, lambda: arrays[0]["weight"], candidate["cost_us"])
    return _timed(queue, ours, theirs, exact)


def _input(queue: Queue, layer: Layer, memory: str) -> dict[str, Any]:
    """Time the input's gradient, its phases in a graph: the card's time, not Python's."""
    import pyconv as pc

    torch = torch_or_none()
    arrays = _arrays(queue, layer, memory)
    theirs, exact = _theirs(torch, layer, arrays, 0) if torch else (None, None)
    results = [queue.cupy.empty_like(one["x"]) for one in arrays]

    def run(call: int) -> None:
        one, out = arrays[call % len(arrays)], results[call % len(arrays)]
        pc.grad.conv2d_input(
            layer.x_shape,
            one["weight"],
            one["y"],
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            out=out,
        )

    graphs = [captured(queue, run, call) for call in range(len(arrays))]
    results[0].fill(np.nan)
    ours: dict[str, Ours] = {
        "pyconv_phases": (
            lambda call: graphs[call % len(graphs)](call),
            lambda: results[0],
            0.0,
        )
    }
    return _timed(queue, ours, theirs, exact)
