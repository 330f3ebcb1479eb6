"""Compile what a run on a GPU will ask for, on all of the machine's cores at once.

Question: how long does NVRTC take for everything, and for one kernel? A lent machine's
time is short: one kernel after the other, compiling would be most of it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np

from benchmarks.gpu_contenders import Queue, conv_problem, cuda_backend
from pyconv.movement.layers import Layer

__all__ = ["plans", "warmup"]

MANY = 1 << 14  # cubins that are kept while this runs


def _stand_in(shape: tuple[int, ...], memory: str, dtype: Any) -> Any:
    """Make an array's strides, and no array."""
    order = (0, 2, 3, 1) if memory == "last" else (0, 1, 2, 3)
    steps, step = [0] * 4, np.dtype(dtype).itemsize
    for axis in reversed(order):
        steps[axis] = step
        step *= shape[axis]
    return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, steps)


def plans(layers: tuple[Layer, ...]) -> Iterator[Any]:
    """List the plans of the tests' cases, and of the layers and their gradients."""
    cuda = cuda_backend()
    from tests.emulation import cases, columns_cases, gradient_cases  # noqa: PLC0415

    yield from cases.plans()
    yield from gradient_cases.gradient_plans()
    yield from columns_cases.columns_plans()
    for layer, memory, dtype in product(layers, ("first", "last"), ("f4", "u2")):
        arrays = {
            "x": _stand_in(layer.x_shape, memory, dtype),
            "y": _stand_in(layer.y_shape, memory, dtype),
            "weight": _stand_in(layer.w_shape, "first", dtype),
        }
        for kind in ("ConvProblem", "WeightProblem"):
            problem = conv_problem(layer, arrays, kind)
            for candidate in cuda.candidates(problem):
                if not candidate["reason"]:
                    yield cuda.plan(problem, candidate["name"])


def warmup(_: Queue, layers: tuple[Layer, ...]) -> dict[str, Any]:
    """Compile every plan's text once, side by side."""
    from pyconv.cuda import device, module  # noqa: PLC0415 - a GPU is asked

    module.MAX_CACHED_FILES = MANY
    architecture = device.architecture(device.current_device())
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wanted = {plan.kernel.name + plan.launch.call: plan for plan in plans(layers)}
        seconds = list(
            pool.map(lambda plan: _compile(plan, architecture), wanted.values())
        )
    return {
        "kernels": len(seconds),
        "threads": os.cpu_count(),
        "seconds": time.perf_counter() - start,
        "median_s": statistics.median(seconds),
        "worst_s": max(seconds),
    }


def _compile(plan: Any, architecture: str) -> float:
    """Compile one plan into the cache; seconds, beside all the others."""
    from pyconv.cuda import warmup as ahead  # noqa: PLC0415 - needs the device's name

    return ahead.warm(plan, architecture).seconds
