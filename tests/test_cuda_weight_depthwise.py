"""CUDA's weight gradient of one channel a group: its tiles, its order, what it moves."""

from __future__ import annotations

from ctypes import CDLL
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv.cuda import module
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernels import find, of_operation
from pyconv.cuda.launch import CudaPlan, entry_of, source_of
from tests.emulation import emulator
from tests.emulation.elements import Array, aligned, guarded, guards_are_whole
from tests.emulation.gradient_cases import check_weight, weight_arrays, weight_plan
from tests.emulation.problems import ConvCase, weight_problem, weight_sum
from tests.emulation.tables import FAR, SAME
from tests.test_cuda_compile import registers_and_shared

needs_compiler = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)

SECTOR = 32
KERNEL = find("conv_weight", "depthwise")
CAUSAL: dict[str, Any] = {"before": (0, 0, 3)}


def _case(
    name: str, c: int, extents: tuple[int, int], window: tuple[int, int], **options: Any
) -> ConvCase:
    """Describe a depthwise convolution of two axes."""
    multiplier = options.pop("multiplier", 1)
    shape = (1, *extents), (1, *window)
    return ConvCase(name, *shape, c=c, k=c * multiplier, groups=c, **options)


CASES = (
    _case("segments", 8, (37, 19), (3, 3), **SAME),
    _case("narrow", 5, (5, 7), (3, 3), n=7, **SAME),
    _case("strided", 3, (41, 13), (5, 4), stride=(1, 2, 3), **SAME),
    _case("dilated", 4, (21, 18), (3, 3), dilation=(1, 2, 3), **SAME),
    _case("large", 2, (19, 11), (7, 7), n=2, **FAR),
    _case("reflected", 3, (19, 17), (4, 5), mode=1, stride=(1, 2, 1), **FAR),
    _case("multiplied", 3, (17, 18), (3, 3), multiplier=2, **SAME),
    _case("causal_half", 24, (1, 301), (1, 4), dtype="bfloat16", n=2, **CAUSAL),
    _case("half", 8, (18, 17), (3, 3), dtype="float16", **SAME),
    _case("chunked", 2, (1, 90), (1, 49), dtype="float64", before=(0, 0, 48)),
)
MEMORIES = ("first", "last")


def _plan(case: ConvCase) -> CudaPlan:
    """Plan a case."""
    plan = weight_plan(KERNEL, case)
    assert plan is not None
    return plan


def _both(case: ConvCase) -> tuple[ConvCase, ...]:
    """Give a case in both memory orders."""
    return tuple(replace(case, memory=memory) for memory in MEMORIES)


@pytest.fixture(scope="module")
def library(tmp_path_factory: Any) -> CDLL:
    """Compile the cases for the host."""
    plans = [_plan(one) for case in CASES for one in _both(case)]
    return emulator.build(plans, tmp_path_factory.mktemp("weight_depthwise"), 32)


def _run(library: CDLL, case: ConvCase, shift: int) -> Array:
    """Sum a case's gradient from arrays that begin off sixteen bytes, and check it."""
    x, grad, weight = (guarded(a, shift) for a in weight_arrays(case))
    emulator.run(library, _plan(case), x, grad, weight, seed=shift + 1)
    check_weight(case, x, grad, weight)
    assert guards_are_whole(weight)
    return np.asarray(weight)


@needs_compiler
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_neither_memory_order_nor_alignment_shows(
    library: CDLL, case: ConvCase
) -> None:
    first, last = _both(case)
    taken = _run(library, first, 0)
    for other in (_run(library, last, 0), _run(library, last, 1)):
        np.testing.assert_array_equal(taken, other)


@pytest.mark.parametrize(
    ("name", "memory", "shown"),
    [
        ("segments", "first", {"along_channels": 1, "length": 13, "parts": 3}),
        ("segments", "last", {"along_channels": 2, "vector": 4, "parts": 3}),
        ("narrow", "last", {"columns": 8, "along_channels": 8, "parts": 2}),
        ("multiplied", "last", {"vector": 1, "along_channels": 8}),
        ("causal_half", "last", {"vector": 8, "along_channels": 4, "length": 10}),
        ("chunked", "first", {"chunk": 25, "columns": 16}),
    ],
    ids=str,
)
def test_the_cases_are_what_they_are_for(
    name: str, memory: str, shown: dict[str, int]
) -> None:
    case = next(replace(one, memory=memory) for one in CASES if one.name == name)
    assert shown.items() <= _plan(case).launch.tile.items()


@needs_compiler
@pytest.mark.parametrize("memory", MEMORIES)
def test_nothing_is_added_where_one_of_the_two_is_not(
    library: CDLL, memory: str
) -> None:
    """Infinite gradients meet padding; infinite pixels, outputs that are not there."""
    case = replace(CASES[0], memory=memory)
    infinite = (
        ("grad", np.s_[:, :, 0, 0], np.s_[..., 0, :]),
        ("grad", np.s_[:, :, 0, :, -1], np.s_[..., 2]),
        ("x", np.s_[:, :, 0, -1], np.s_[..., 0, :]),
        ("x", np.s_[:, :, 0, :, 0], np.s_[..., 2]),
    )
    for name, place, untouched in infinite:
        x, grad, weight = weight_arrays(case)
        given = {"x": x, "grad": grad}[name]
        given[place] = np.inf
        emulator.run(library, _plan(case), x, grad, weight)
        is_finite = np.isfinite(weight)
        assert is_finite[untouched].all()
        assert is_finite.sum() == is_finite[untouched].size
        given[place] = 0
        wanted = weight_sum(case, x, grad)[untouched]
        np.testing.assert_allclose(weight[untouched], wanted, atol=1e-3)


@needs_compiler
def test_what_it_moves(tmp_path: Path) -> None:
    """The model's bytes exactly; whole sectors, vectors, and banks without conflicts."""
    coalesced = (
        _case("rows", 8, (16, 32), (3, 1)),
        _case("vectors", 32, (16, 32), (3, 1), memory="last"),
        _case("scalars", 16, (9, 16), (7, 1), memory="last", before=(0, 6, 0)),
    )
    cases = (*coalesced, CASES[2], CASES[9])
    plans = [_plan(case) for case in cases]
    library = emulator.build(plans, tmp_path, 32, logged=True)
    for case, plan in zip(cases, plans, strict=True):
        arrays = tuple(map(aligned, weight_arrays(case)))
        *found, shared = emulator.traffic(library, plan, *arrays)
        movement = KERNEL.movement(plan.problem)
        assert sum(one.bytes for one in found) == movement.global_bytes
        touched = sum(one.launch_sectors for one in found) * SECTOR
        assert touched <= movement.dram_bytes + SECTOR * len(found)
        if case in coalesced:
            x, grad = found[:2]
            assert grad.bytes == np.prod(arrays[1].shape) * 4  # type: ignore[union-attr]
            for one in (x, grad):
                assert one.sectors * SECTOR == one.bytes
                lane = plan.launch.tile["vector"] * 4
                assert one.bytes == one.requests * 32 * lane
            assert shared.passes == shared.least_passes


@pytest.mark.parametrize(
    ("case", "summed_us"),
    [
        (_case("mobilenet", 32, (112, 112), (3, 3), n=32, **SAME), 60),
        (_case("narrow", 576, (14, 14), (3, 3), n=32, **SAME), 25),
        (_case("convnext", 96, (56, 56), (7, 7), n=32, **FAR), 120),
    ],
    ids=lambda case: getattr(case, "name", ""),
)
@pytest.mark.parametrize("memory", MEMORIES)
def test_auto_takes_it_and_never_naive_for_long_sums(
    case: ConvCase, summed_us: float, memory: str
) -> None:
    """Of the models' estimates; an H100 took 117 us for the last case."""
    costs = {
        kernel.name: kernel.cost_us(_described(case, memory), NOMINAL)
        for kernel in of_operation("conv_weight")
    }
    assert costs["depthwise"] == min(costs.values()) < summed_us
    assert costs["naive"] > 10 * costs["depthwise"]


def _described(case: ConvCase, memory: str) -> Any:
    """Describe a case of many pixels, without its arrays."""
    (_, _, height, width), nothing = (1, *case.output()), np.zeros(1, np.float32)

    def view(channels: int, h: int, w: int) -> Array:
        pixel = channels if memory == "last" else 1
        plane = 1 if memory == "last" else h * w
        steps = (channels * h * w, plane, channels * h * w, w * pixel, pixel)
        return np.lib.stride_tricks.as_strided(
            nothing, (case.n, channels, 1, h, w), tuple(4 * step for step in steps)
        )

    x, grad = view(case.c, *case.input[1:]), view(case.k, height, width)
    return weight_problem(case, x, np.zeros((case.k, 1, *case.kernel)), grad)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (ConvCase("dense", (1, 9, 9), (1, 3, 3)), "one channel each"),
        (ConvCase("deep", (3, 9, 9), (2, 3, 3), c=1, k=1), "two spatial axes"),
        (_case("tall", 2, (30, 9), (17, 1)), "16 in a column"),
        (_case("many", 2, (9, 30), (5, 10)), "49 taps"),
        (_case("whole", 2, (9, 9), (3, 3), dtype="int16"), "integers"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_refusals_name_the_reason(case: ConvCase, said: str) -> None:
    x, grad, weight = weight_arrays(case)
    assert said in KERNEL.supports(weight_problem(case, x, weight, grad))


@pytest.mark.usefixtures("nvrtc")
def test_what_needs_the_most_registers_compiles_without_spills() -> None:
    plan = _plan(replace(CASES[8], memory="last"))
    options = module.options_for("sm_75", plan.index_bits)
    _, log = module.compile_cubin(source_of(plan), options)
    _, shared = registers_and_shared(log)[entry_of(plan, plan.launches[0])]
    assert shared == plan.launches[0].shared_bytes
    assert "0 bytes stack frame" in log
