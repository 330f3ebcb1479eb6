"""CUDA gradients of poolings in vectors: whole ones, parts of them, any alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv.cuda import KERNELS
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.launch import CudaPlan
from tests.emulation import emulator
from tests.emulation.elements import Array, aligned, arranged, guarded, guards_are_whole
from tests.emulation.gradient_cases import (
    check_pool_grad,
    pool_grad_arrays,
    pool_grad_plan,
)
from tests.emulation.problems import PoolCase, pool_grad_problem

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)

SECTOR = 32
SAME: dict[str, Any] = {"before": (0, 1, 1), "after": (0, 1, 1)}
SIZES: dict[str, dict[str, Any]] = {
    "same": {"input": (1, 5, 16), "kernel": (1, 3, 3), "output": (1, 5, 16), **SAME},
    "strided": {
        "input": (1, 7, 24),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 12),
        "include_pad": False,
        **SAME,
    },
    "apart": {
        "input": (1, 5, 16),
        "kernel": (1, 2, 2),
        "stride": (1, 3, 3),
        "output": (1, 2, 5),
    },
    "odd": {"input": (1, 4, 7), "kernel": (1, 3, 2), "output": (1, 2, 6)},
}
CASES = tuple(
    PoolCase(f"{name}_{dtype}_{memory}", kind, **size, c=c, dtype=dtype, memory=memory)
    for name, size in SIZES.items()
    for kind, dtype, memory, c in (
        (1, "float32", "first", 2),
        (1, "float16", "first", 1),
        (1, "float32", "last", 8),
        (2, "bfloat16", "last", 16),
        (2, "float32", "first", 2),
        (1, "float64", "last", 3),
    )
)


def _plan(case: PoolCase, name: str = "gradient_strips") -> CudaPlan:
    """Plan a case that a gradient takes."""
    kernel = next(k for k in KERNELS if (k.operation, k.name) == ("pool_grad", name))
    plan = pool_grad_plan(kernel, case)
    assert plan is not None
    return plan


def _arrays(case: PoolCase) -> tuple[Array | None, ...]:
    """Make a gradient's arrays, without indices."""
    grad, _, *others = pool_grad_arrays(case)
    return (grad, None, *others)


@pytest.fixture(scope="module", params=["plain", "logged"])
def library(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Any:
    """Compile the kernels of this file, and what they are compared with."""
    directory: Path = tmp_path_factory.mktemp("pool_gradient")
    plans = [_plan(case) for case in CASES]
    if request.param == "logged":
        return True, emulator.build(plans, directory, 32, logged=True)
    plans += [_plan(case, "gradient") for case in CASES]
    return False, emulator.build(plans, directory, 32)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_strips_gather(library: Any, case: PoolCase) -> None:
    """Wherever arrays begin, to the last bit like one thread an element."""
    logged, built = library
    plan = _plan(case)
    if logged:
        *found, _ = emulator.traffic(built, plan, *map(aligned, _arrays(case)))
        movement = plan.kernel.movement(plan.problem)
        assert sum(one.bytes for one in found) == movement.global_bytes
        touched = sum(one.launch_sectors for one in found) * SECTOR
        assert touched <= movement.dram_bytes + SECTOR * len(found)
        return
    results = []
    for shift in (0, 1):
        arrays = tuple(guarded(a, shift) for a in pool_grad_arrays(case))
        emulator.run(built, plan, arrays[0], None, *arrays[2:])
        check_pool_grad(case, arrays)
        assert guards_are_whole(arrays[-1])
        results.append(arrays[-1])
    arrays = pool_grad_arrays(case)
    emulator.run(built, _plan(case, "gradient"), arrays[0], None, *arrays[2:])
    for result in results:
        np.testing.assert_array_equal(result, arrays[-1])


@pytest.mark.parametrize("memory", ["first", "last"])
@pytest.mark.parametrize(("taps", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_strips_are_chosen(taps: int, stride: int, memory: str) -> None:
    """For the windows networks have, the model takes them."""
    pad = taps // 2 if taps == 3 else 0
    case = PoolCase(
        "network",
        1,
        (1, 56, 56),
        (1, taps, taps),
        (1, 56 // stride, 56 // stride),
        n=8,
        c=64,
        stride=(1, stride, stride),
        before=(0, pad, pad),
        after=(0, pad, pad),
        memory=memory,
    )
    dx = arranged(np.zeros((case.n, case.c, *case.input), np.float32), memory)
    grad = arranged(np.zeros((case.n, case.c, *case.output), np.float32), memory)
    problem = pool_grad_problem(case, dx, grad)
    costs = {
        kernel.name: kernel.cost_us(problem, NOMINAL)
        for kernel in KERNELS
        if kernel.operation == "pool_grad" and not kernel.supports(problem)
    }
    assert min(costs, key=costs.__getitem__) == "gradient_strips"
