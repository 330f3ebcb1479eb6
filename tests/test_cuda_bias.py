"""The CUDA bias gradient in parts: several of them, vectors of filters, any alignment."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyconv.cuda import KERNELS
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan
from tests.emulation import emulator
from tests.emulation.elements import aligned, guarded, guards_are_whole
from tests.emulation.gradient_cases import bias_arrays, bias_plan, check_bias
from tests.emulation.problems import ConvCase

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)

SECTOR = 32
CASES = tuple(
    ConvCase(
        f"{dtype}_{memory}_{k}",
        (1, height, 31),
        (1, 1, 1),
        n=3,
        c=1,
        k=k,
        dtype=dtype,
        memory=memory,
    )
    for dtype, memory, k, height in (
        ("float32", "first", 2, 45),
        ("float64", "flipped", 1, 45),
        ("float32", "last", 24, 7),
        ("bfloat16", "last", 16, 7),
        ("float32", "last", 7, 7),
        ("float32", "last", 140, 3),
    )
)


def _kernel(name: str) -> Kernel:
    """Find a bias gradient by name."""
    return next(k for k in KERNELS if (k.operation, k.name) == ("conv_bias", name))


def _plan(case: ConvCase, name: str = "parts") -> CudaPlan:
    """Plan a case."""
    plan = bias_plan(_kernel(name), case)
    assert plan is not None
    return plan


def test_parts_match_float64(tmp_path: Path) -> None:
    """Also where the gradient begins off sixteen bytes, to the same bits."""
    library = emulator.build([_plan(case) for case in CASES], tmp_path, 32)
    for case in CASES:
        plan = _plan(case)
        assert plan.launch.tile["parts"] > 1 or case.k == 140
        results = []
        for shift in (0, 1):
            grad, bias = (guarded(a, shift) for a in bias_arrays(case))
            emulator.run(library, plan, grad, bias, seed=shift)
            check_bias(grad, bias)
            assert guards_are_whole(bias)
            results.append(bias.tobytes())
        assert results[0] == results[1]


def test_parts_read_as_memory_lies(tmp_path: Path) -> None:
    """The bytes of the model, and no sector of the gradient but whole ones."""
    cases = [case for case in CASES if case.k in (2, 24)]
    library = emulator.build([_plan(case) for case in cases], tmp_path, 32, logged=True)
    for case in cases:
        plan = _plan(case)
        found = emulator.traffic(library, plan, *map(aligned, bias_arrays(case)))
        moved = plan.kernel.movement(plan.problem)
        *arrays, shared = found
        assert sum(one.bytes for one in arrays) == moved.global_bytes
        grad = arrays[0]
        assert grad.sectors * SECTOR <= grad.bytes * 1.35  # planes begin anywhere
        assert shared.passes == shared.least_passes


@pytest.mark.parametrize("memory", ["first", "last"])
def test_parts_are_chosen(memory: str) -> None:
    """For many pixels and few filters; a filter a block where pixels are few."""
    for size, name in ((112, "parts"), (4, "naive")):
        case = ConvCase(
            "layer", (1, size, size), (1, 1, 1), n=8, c=1, k=16, memory=memory
        )
        costs = {}
        for one in ("naive", "parts"):
            plan = _plan(case, one)
            costs[one] = plan.kernel.cost_us(plan.problem, NOMINAL)
        assert min(costs, key=costs.__getitem__) == name
