"""CUDA poolings of vectors: shapes whose rows or channels are whole vectors, and not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv.cuda import KERNELS
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan
from tests.emulation import emulator
from tests.emulation.cases import check_pool, pool_arrays, pool_plan
from tests.emulation.elements import Array, aligned, arranged, guarded, guards_are_whole
from tests.emulation.problems import PoolCase, pool_problem

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)

SECTOR = 32
SAME: dict[str, Any] = {"before": (0, 1, 1), "after": (0, 1, 1)}
SIZES: dict[str, dict[str, Any]] = {
    "half": {
        "input": (1, 6, 24),
        "kernel": (1, 2, 2),
        "stride": (1, 2, 2),
        "output": (1, 3, 12),
    },
    "same": {"input": (1, 5, 16), "kernel": (1, 3, 3), "output": (1, 5, 16), **SAME},
    "strided": {
        "input": (1, 7, 24),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 12),
        **SAME,
    },
    "overhang": {
        "input": (1, 4, 8),
        "kernel": (1, 3, 5),
        "stride": (1, 2, 3),
        "output": (1, 2, 3),
        "before": (0, 1, 2),
        "after": (0, 1, 2),
        "include_pad": False,
    },
    "apart": {
        "input": (1, 5, 16),
        "kernel": (1, 2, 2),
        "stride": (1, 3, 3),
        "output": (1, 2, 5),
    },
}
STRIPS = tuple(
    PoolCase(f"{name}_{dtype}_{memory}", kind, **size, c=c, dtype=dtype, memory=memory)
    for name, size in SIZES.items()
    for kind in (0, 1)
    for dtype, memory, c in (
        ("float32", "first", 2),
        ("float16", "first", 1),
        ("float32", "last", 8),
        ("bfloat16", "last", 16),
        ("float32", "last", 6),
    )
    if kind == 0 or (name in ("same", "overhang") and dtype != "float16")
)
PLANES = tuple(
    PoolCase(
        f"{extents[1]}x{extents[2]}_{dtype}_{memory}_{c}",
        kind,
        extents,
        extents,
        (1, 1, 1),
        n=3,
        c=c,
        dtype=dtype,
        memory=memory,
        norm=3.0,
        values=values,
    )
    for extents, values in (
        ((1, 7, 7), {(0, 1, 0, 3, 2): np.nan, (0, 1, 0, 5, 0): np.nan}),
        ((1, 16, 18), {(0, 0, 0, 15, 17): 9, (1, 0, 0, 3, 2): 9, (1, 0, 0, 3, 7): 9}),
        ((2, 33, 36), {(0, 0, 1, 32, 35): 9, (1, 0, 1, 1, 1): 9, (1, 0, 0, 32, 0): 9}),
    )
    for kind, dtype, memory, c in (
        (0, "float32", "first", 3),
        (0, "float16", "last", 8),
        (1, "bfloat16", "first", 2),
        (1, "float32", "last", 20),
        (2, "float64", "last", 3),
        (2, "float32", "flipped", 2),
    )
    if kind == 0 or not np.isnan(next(iter(values.values())))
) + tuple(
    PoolCase(
        f"{name}_{memory}", kind, (1, 4, 6), kernel, (1, 1, 1), memory=memory, **options
    )
    for name, kernel, options in (
        ("adaptive", (1, 4, 6), {"adaptive": True}),
        ("padded", (1, 6, 8), SAME),
        ("excluded", (1, 6, 8), {"include_pad": False, **SAME}),
        ("bytes", (1, 4, 6), {"dtype": "uint8", "c": 16}),
    )
    for memory in ("first", "last")
    for kind in (0, 1)
    if (kind == 0) == (name in ("adaptive", "bytes"))
)
CASES = {"strips": STRIPS, "planes": PLANES}


def _kernel(name: str) -> Kernel:
    """Find a pooling by name."""
    return next(one for one in KERNELS if (one.operation, one.name) == ("pool", name))


def _plan(name: str, case: PoolCase) -> CudaPlan:
    """Plan a case that a kernel takes."""
    plan = pool_plan(_kernel(name), case)
    assert plan is not None
    return plan


PAIRS = [(name, case) for name, cases in CASES.items() for case in cases]
PLAIN = ("max", "average", "lp")


@pytest.fixture(scope="module", params=["plain", "logged"])
def library(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Any:
    """Compile the kernels of this file, and what they are compared with."""
    directory: Path = tmp_path_factory.mktemp("pool")
    plans = [_plan(name, case) for name, case in PAIRS]
    if request.param == "logged":
        return True, emulator.build(plans, directory, 32, logged=True)
    plans += [_plan(PLAIN[case.kind], case) for _, case in PAIRS]
    return False, emulator.build(plans, directory, 32)


def _arrays(case: PoolCase) -> tuple[Array, Array, Array | None]:
    """Make the arrays of a pooling, indices only of maxima."""
    x, y, indices = pool_arrays(case)
    return x, y, indices if case.kind == 0 else None


@pytest.mark.parametrize(("name", "case"), PAIRS, ids=lambda v: getattr(v, "name", v))
def test_vectors_pool(library: Any, name: str, case: PoolCase) -> None:
    """Wherever arrays begin; strips to the last bit like one thread a window."""
    logged, built = library
    plan = _plan(name, case)
    if logged:
        *found, _ = emulator.traffic(built, plan, *map(aligned, _arrays(case)))
        movement = plan.kernel.movement(plan.problem)
        assert sum(one.bytes for one in found) == movement.global_bytes
        touched = sum(one.launch_sectors for one in found) * SECTOR
        assert touched <= movement.dram_bytes + SECTOR * len(found)
        return
    results = []
    for shift in (0, 1):
        x, y, indices = (guarded(a, shift) for a in pool_arrays(case))
        places = indices if case.kind == 0 else None
        emulator.run(built, plan, x, y, places)
        check_pool(case, x, y, indices)
        assert guards_are_whole(y)
        assert case.kind or guards_are_whole(indices)
        results.append(y)
    if name == "strips":
        x, y, indices = pool_arrays(case)
        places = indices if case.kind == 0 else None
        emulator.run(built, _plan(PLAIN[case.kind], case), x, y, places)
        results.append(y)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_strips_move_vectors(tmp_path: Path) -> None:
    """Aligned rows and channels: sixteen bytes in every load and store."""
    sizes: dict[str, Any] = {**SIZES["half"], "kind": 1}
    cases = [
        PoolCase("first", **sizes, c=4),
        PoolCase("last", **sizes, c=8, memory="last"),
    ]
    plans = [_plan("strips", case) for case in cases]
    library = emulator.build(plans, tmp_path, 32, logged=True)
    for case, plan in zip(cases, plans, strict=True):
        x, y, *_ = emulator.traffic(library, plan, *map(aligned, _arrays(case)))
        assert x.bytes == case.n * case.c * 6 * 24 * 4  # each element once
        for array in (x, y):
            assert (
                array.bytes > array.requests * 32 * 16 * 0.5
            )  # not all warps are full


def _cheapest(case: PoolCase) -> str:
    """Name the pooling that the model takes."""
    x = arranged(np.zeros((case.n, case.c, *case.input), np.float32), case.memory)
    y = arranged(np.zeros((case.n, case.c, *case.output), np.float32), case.memory)
    problem = pool_problem(case, x, y, indices=case.kind == 0)
    costs = {
        kernel.name: kernel.cost_us(problem, NOMINAL)
        for kernel in KERNELS
        if kernel.operation == "pool" and not kernel.supports(problem)
    }
    return min(costs, key=costs.__getitem__)


@pytest.mark.parametrize("memory", ["first", "last"])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_strips_are_chosen(kernel: int, stride: int, memory: str) -> None:
    """For the windows networks have, the model takes them."""
    pad = kernel // 2 if kernel == 3 else 0
    case = PoolCase(
        "network",
        0,
        (1, 56, 56),
        (1, kernel, kernel),
        (1, 56 // stride, 56 // stride),
        n=8,
        c=64,
        stride=(1, stride, stride),
        before=(0, pad, pad),
        after=(0, pad, pad),
        memory=memory,
    )
    assert _cheapest(case) == "strips"


@pytest.mark.parametrize("memory", ["first", "last"])
@pytest.mark.parametrize(("size", "n"), [(7, 1), (7, 64), (14, 8), (56, 4)])
def test_planes_are_chosen(size: int, n: int, memory: str) -> None:
    """For global windows the model takes threads that share a plane."""
    extents = (1, size, size)
    case = PoolCase("global", 1, extents, extents, (1, 1, 1), n=n, c=512, memory=memory)
    assert _cheapest(case) == "planes"


@pytest.mark.parametrize("memory", ["first", "last"])
def test_a_batch_changes_no_sum(memory: str, tmp_path: Path) -> None:
    """A sample alone has the bits it has among others."""
    extents = (1, 15, 16)
    whole, alone = (
        PoolCase("batch", 1, extents, extents, (1, 1, 1), n=n, c=8, memory=memory)
        for n in (5, 1)
    )
    plans = [_plan("planes", case) for case in (whole, alone)]
    library = emulator.build(plans, tmp_path, 32)
    x, y, _ = _arrays(whole)
    emulator.run(library, plans[0], x, y, None, seed=1)
    for n in range(5):
        one, mine, _ = _arrays(alone)
        one[...] = x[n : n + 1]
        emulator.run(library, plans[1], one, mine, None, seed=2)
        np.testing.assert_array_equal(mine, y[n : n + 1])
