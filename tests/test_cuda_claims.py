"""CUDA's maxima handed back by claims: places that many outputs name, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv.cuda import KERNELS
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.launch import CudaPlan, make_plan
from tests.emulation import emulator
from tests.emulation.elements import (
    Array,
    arranged,
    guarded,
    guards_are_whole,
    random_array,
    unwritten,
)
from tests.emulation.problems import PoolCase, pool_grad_problem

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)

MAX, UNPOOL = 0, 3
# More outputs than a batch, more places than a chunk.
SHAPE: dict[str, Any] = {
    "input": (1, 70, 130),
    "kernel": (1, 3, 3),
    "output": (1, 35, 40),
    "n": 1,
}
CASES = tuple(
    PoolCase(
        f"{kind}_{dtype}_{memory}_{c}", kind, **SHAPE, c=c, dtype=dtype, memory=memory
    )
    for kind, dtype, memory, c in (
        (MAX, "float32", "first", 2),
        (MAX, "float32", "last", 6),
        (MAX, "float16", "last", 4),
        (MAX, "float64", "last", 3),
        (MAX, "bfloat16", "flipped", 2),
        (UNPOOL, "float32", "first", 2),
        (UNPOOL, "float16", "last", 5),
    )
)
CLAIMS = next(kernel for kernel in KERNELS if kernel.name == "claims")


def _arrays(case: PoolCase) -> tuple[Array, Array]:
    """Make gradients, and a dx that nothing has written."""
    grad = random_array((case.n, case.c, *case.output), case.dtype, case.memory, 7)
    return grad, unwritten((case.n, case.c, *case.input), case.dtype, case.memory)


def _plan(case: PoolCase) -> CudaPlan:
    grad, dx = _arrays(case)
    problem = pool_grad_problem(case, dx, grad)
    assert not CLAIMS.supports(problem)
    return make_plan(problem, CLAIMS.name)


def _places(case: PoolCase, how: str) -> Array:
    """Draw indices: some of them, a few, one, a sixteenth of all, or next to each other."""
    random = np.random.default_rng(5)
    shape, plane = (case.n, case.c, *case.output), int(np.prod(case.input))
    if how == "one":
        places = np.full(shape, plane - 1)
    elif how == "few":
        places = random.choice(random.integers(0, plane, 7), shape)
    elif how == "some":
        places = random.integers(0, plane // 16, shape) * 16
        places[random.random(shape) < 0.1] = -1  # windows of nothing but padding
    else:
        rows, columns = np.indices(case.output)[1:]
        beside = 2 * rows * case.input[2] + 3 * columns
        places = (
            beside + random.integers(0, 3, shape) + 130 * random.integers(0, 3, shape)
        )
        places = np.minimum(places, plane - 1)
    return arranged(places.astype(np.int64), case.memory)


def _by_numpy(case: PoolCase, grad: Array, places: Array) -> Array:
    """Add, or put, one output after the other, in the type of the sums."""
    wide = np.float64 if case.dtype == "float64" else np.float32
    result = np.zeros((case.n, case.c, int(np.prod(case.input))), wide)
    for n in range(case.n):
        for c in range(case.c):
            to, given = places[n, c].ravel(), grad[n, c].astype(wide).ravel()
            for place, term in zip(to, given, strict=True):
                if place >= 0:
                    before = wide(0) if case.kind == UNPOOL else result[n, c, place]
                    result[n, c, place] = before + term
    return result.reshape(case.n, case.c, *case.input).astype(grad.dtype)


@pytest.fixture(scope="module")
def library(tmp_path_factory: Any) -> Any:
    directory: Path = tmp_path_factory.mktemp("claims")
    return emulator.build(map(_plan, CASES), directory, 32)


@pytest.mark.parametrize("how", ["one", "few", "some", "beside"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_place_adds_in_the_outputs_order(
    library: Any, case: PoolCase, how: str
) -> None:
    grad, dx = map(guarded, _arrays(case))
    places = guarded(_places(case, how))
    emulator.run(library, _plan(case), grad, places, None, None, dx)
    np.testing.assert_array_equal(
        np.asarray(dx, np.float64),
        _by_numpy(case, grad, places).astype(np.float64),
    )
    assert guards_are_whole(dx)


@pytest.mark.parametrize("memory", ["first", "last"])
@pytest.mark.parametrize("taps", [2, 3])
def test_the_model_is_near_memory(taps: int, memory: str) -> None:
    """For the windows networks have L2 takes 2.5 times what memory does, at most."""
    case = PoolCase(
        "network",
        MAX,
        (1, 112, 112),
        (1, taps, taps),
        (1, 56, 56),
        n=32,
        c=64,
        stride=(1, 2, 2),
        memory=memory,
    )
    dx = arranged(np.zeros((case.n, case.c, *case.input), np.float32), memory)
    grad = arranged(np.zeros((case.n, case.c, *case.output), np.float32), memory)
    problem = pool_grad_problem(case, dx, grad)
    least = problem.compulsory_bytes / NOMINAL.dram_bytes * 1e6
    assert CLAIMS.movement(problem).l2_bytes / NOMINAL.l2_bytes * 1e6 < 2.5 * least
