"""Compile what a run on a GPU will ask for, on all of the machine's cores at once.

Question: how long does NVRTC take for everything, and for one kernel? A lent machine's
time is short: one kernel after the other, compiling would be most of it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from tempfile import TemporaryDirectory
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
    """Compile every plan's text once, side by side; then time first uses of some."""
    from pyconv.cuda import device, module  # noqa: PLC0415 - a GPU is asked
    from pyconv.cuda.launch import source_of  # noqa: PLC0415 - as above

    number = device.current_device()
    architecture = device.architecture(number)
    everything = list(plans(layers))
    wanted = {
        (source_of(plan), module.options_for(architecture, plan.index_bits))
        for plan in everything
    }
    start = time.perf_counter()
    # Processes: NVRTC compiles one program at a time in each.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        seconds = [one for one in pool.map(_compile, wanted) if one is not None]
    return {
        "kernels": len(wanted),
        "were_there": len(wanted) - len(seconds),
        "processes": os.cpu_count(),
        "seconds": time.perf_counter() - start,
        "median_s": statistics.median(seconds) if seconds else None,
        "worst_s": max(seconds, default=None),
        "first_use": dict(_first_uses(everything, number)),
    }


def _compile(asked: tuple[str, tuple[str, ...]]) -> float | None:
    """Compile one text into the cache; seconds, or None if it lies there."""
    from pyconv.cuda import module  # noqa: PLC0415 - in another process

    module.MAX_CACHED_FILES = MANY
    if module.cached(*asked) is not None:
        return None
    start = time.perf_counter()
    module.cubin_file(*asked)
    return time.perf_counter() - start


def _first_uses(everything: list[Any], number: int) -> Iterator[tuple[str, Any]]:
    """Load each kernel's first plan from source, and again from the disk."""
    import cupy  # noqa: PLC0415 - a GPU is asked

    from pyconv.cuda import device, module  # noqa: PLC0415 - a GPU is asked
    from pyconv.cuda.launch import entry_of, source_of  # noqa: PLC0415 - as above

    first: dict[str, Any] = {}
    for plan in everything:
        first.setdefault(f"{plan.kernel.operation} {plan.kernel.name}", plan)
    before = os.environ.get("PYCONV_CACHE_DIR")
    with TemporaryDirectory() as fresh:
        os.environ["PYCONV_CACHE_DIR"] = fresh
        for name, plan in first.items():
            asked = (
                source_of(plan),
                module.options_for(device.architecture(number), plan.index_bits),
                entry_of(plan, plan.launch),
                number,
                plan.launch.shared_bytes if plan.launch.is_dynamic else 0,
            )
            entry = {}
            for source in ("source_s", "disk_s"):
                module.load.cache_clear()
                cupy.clear_memo()  # CuPy's own, of modules by their paths
                start = time.perf_counter()
                module.load(*asked)
                entry[source] = time.perf_counter() - start
            yield name, entry
    module.load.cache_clear()
    if before is None:
        del os.environ["PYCONV_CACHE_DIR"]
    else:
        os.environ["PYCONV_CACHE_DIR"] = before
