"""CUDA's Winograd kernels in the emulator: their own rules, beside the tables' cases."""

from __future__ import annotations

from ctypes import CDLL
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv import cuda
from pyconv.backends import CudaBackend
from pyconv.cuda import winograd_f4
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.kernels import find
from pyconv.cuda.launch import CudaPlan
from pyconv.problem import ACCURACIES, ConvProblem
from pyconv.protocols import Candidate
from pyconv.selection import quickest
from tests.emulation import emulator
from tests.emulation.cases import check_conv, conv_arrays, conv_plan
from tests.emulation.elements import aligned, arranged, guarded, guards_are_whole
from tests.emulation.problems import ConvCase, conv_problem, conv_sum
from tests.emulation.tables import SAME

KERNELS = [
    kernel
    for kernel in cuda.KERNELS
    if kernel.operation == "conv" and kernel.rounding.startswith("winograd")
]
EVERY_KERNEL = pytest.mark.parametrize("kernel", KERNELS, ids=lambda one: one.name)
NEEDS_COMPILER = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)
# Several blocks of tiles, of filters, and steps of channels; none of them whole.
DEEP = ConvCase("deep", (1, 13, 15), (1, 3, 3), n=3, c=19, k=70, **SAME)
SECTOR = 32
INNER = ConvCase("inner", (1, 16, 16), (1, 3, 3), c=5, k=6)


@pytest.fixture(scope="module")
def library(tmp_path_factory: Any) -> CDLL:
    """Compile both kernels in both memory orders."""
    directory: Path = tmp_path_factory.mktemp("winograd")
    cases = [DEEP, replace(DEEP, memory="last"), INNER]
    chosen = [plan(kernel, case) for kernel in KERNELS for case in cases]
    return emulator.build(chosen, directory, 32)


def plan(kernel: Kernel, case: ConvCase) -> CudaPlan:
    """Plan a case that the kernel takes."""
    made = conv_plan(kernel, case)
    assert made is not None
    return made


def described(case: ConvCase, accuracy: str = "default") -> ConvProblem:
    """Describe a case without its arrays' contents."""
    x, weight, _, _, y = (
        np.broadcast_to(np.zeros((), np.float32), shape)
        for shape in (
            (case.n, case.c, *case.input),
            (case.k, case.c // case.groups, *case.kernel),
            (case.k,),
            (1,),
            (case.n, case.k, *case.output()),
        )
    )
    made = conv_problem(case, x, weight, y)
    return replace(made, accuracy=ACCURACIES[accuracy])


def rms(error: Any) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


@NEEDS_COMPILER
@EVERY_KERNEL
def test_neither_batch_nor_memory_order_shows(kernel: Kernel, library: CDLL) -> None:
    arrays = tuple(map(guarded, conv_arrays(DEEP)))
    emulator.run(library, plan(kernel, DEEP), *arrays)
    check_conv(DEEP, arrays, kernel.rounding)
    assert guards_are_whole(arrays[-1])
    x, weight, _, _, y = arrays
    last, again = arranged(x, "last"), arranged(np.zeros_like(y), "last")
    turned = plan(kernel, replace(DEEP, memory="last"))
    emulator.run(library, turned, last, weight, None, None, again)
    np.testing.assert_array_equal(again, y)
    alone = np.zeros_like(y[:1])
    single = plan(kernel, replace(DEEP, n=1))
    emulator.run(library, single, x[2:], weight, None, None, alone)
    np.testing.assert_array_equal(alone, y[2:])


@NEEDS_COMPILER
@EVERY_KERNEL
@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38])
def test_what_is_not_finite_stays_in_its_windows(
    kernel: Kernel, value: float, library: CDLL
) -> None:
    """What shares a tile with it is summed directly; so is what overflows a transform."""
    x, weight, bias, residual, y = conv_arrays(INNER)
    x[0, 3, 0, 5, 6] = value
    emulator.run(library, plan(kernel, INNER), x, weight, bias, residual, y)
    inside = np.zeros(y.shape, bool)
    inside[:, :, :, 3:6, 4:7] = True
    direct = conv_sum(INNER, x.astype(np.float64), weight.astype(np.float64))
    if not np.isfinite(value):
        assert not np.isfinite(y[inside]).any()
    else:
        fits = abs(direct) < np.finfo(np.float32).max
        assert np.isfinite(y[fits]).all()
        np.testing.assert_allclose(y[inside & fits], direct[inside & fits], rtol=1e-5)
    assert np.isfinite(y[~inside]).all()
    np.testing.assert_allclose(y[~inside], direct[~inside], atol=1e-4)


@NEEDS_COMPILER
@pytest.mark.parametrize("blocks", [1, 2], ids=["rows", "images"])
def test_parts_do_not_show(
    blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of an image, or images, at a time: the same sums, and counted as exactly."""
    case = replace(INNER, input=(1, 32, 36), n=2, residual=True, mode=1, **SAME)
    kernel = winograd_f4.WINOGRAD_F4
    whole = plan(kernel, case)
    block_bytes = (whole.workspace["v"] + whole.workspace["m"]) // 3
    monkeypatch.setattr(winograd_f4, "WORKSPACE_BYTES", blocks * block_bytes)
    winograd_f4._parts.cache_clear()
    cut = plan(kernel, case)
    assert cut.workspace["v"] + cut.workspace["m"] == blocks * block_bytes
    assert len(whole.launches) == 1 + 3
    assert len(cut.launches) == 1 + 3 * (4 if blocks == 1 else 2)
    is_counted = blocks == 1
    library = emulator.build([whole, cut], tmp_path, 32, logged=is_counted)
    arrays = conv_arrays(case)
    moved = kernel.movement(cut.problem)
    winograd_f4._parts.cache_clear()
    if is_counted:
        *found, _ = emulator.traffic(library, cut, *map(aligned, arrays))
        assert sum(one.bytes for one in found) == moved.global_bytes
    results = []
    for one in (whole, cut):
        guarded_arrays = tuple(map(guarded, arrays))
        emulator.run(library, one, *guarded_arrays)
        assert guards_are_whole(guarded_arrays[-1])
        results.append(guarded_arrays[-1])
    check_conv(case, (*arrays[:-1], results[0]), kernel.rounding)
    np.testing.assert_array_equal(*results)


@NEEDS_COMPILER
@pytest.mark.parametrize("tile", winograd_f4.TILES, ids=lambda tile: tile.name)
def test_every_tile_of_the_products(
    tile: winograd_f4.ProductTile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = winograd_f4.WINOGRAD_F4
    usual = plan(kernel, DEEP)
    monkeypatch.setattr(winograd_f4, "_tile", lambda _: tile)
    winograd_f4._parts.cache_clear()
    other = plan(kernel, DEEP)
    winograd_f4._parts.cache_clear()
    assert other.launch.tile["block_m"] == tile.block_m
    library = emulator.build([usual, other], tmp_path, 32)
    arrays, again = conv_arrays(DEEP), conv_arrays(DEEP)
    emulator.run(library, usual, *arrays)
    emulator.run(library, other, *again)
    check_conv(DEEP, again, kernel.rounding)
    np.testing.assert_array_equal(again[-1], arrays[-1])


@NEEDS_COMPILER
@EVERY_KERNEL
@pytest.mark.parametrize("memory", ["first", "last"])
def test_what_lies_between_moves_in_whole_sectors(
    kernel: Kernel, memory: str, tmp_path: Path
) -> None:
    case = ConvCase("whole", (1, 8, 32), (1, 3, 3), c=8, k=32, memory=memory, **SAME)
    chosen = plan(kernel, case)
    library = emulator.build([chosen], tmp_path, 32, logged=True)
    x, _, _, _, y, *between, shared = emulator.traffic(
        library, chosen, *map(aligned, conv_arrays(case))
    )
    for one in between:
        assert one.sectors * SECTOR == one.bytes
    if memory == "last":
        assert y.sectors * SECTOR == y.bytes
        assert x.sectors * SECTOR <= 2 * x.bytes
    if (kernel.name, memory) != ("winograd_f2", "first"):
        assert shared.passes == shared.least_passes


@NEEDS_COMPILER
@EVERY_KERNEL
def test_error_is_at_most_three_times_a_direct_sum_s(
    kernel: Kernel, tmp_path: Path
) -> None:
    """What accuracy="default" promises, of inputs as after a ReLU."""
    case = ConvCase("relu", (1, 8, 8), (1, 3, 3), c=64, k=8, **SAME)
    chosen = [plan(one, case) for one in (find("conv", "naive"), kernel)]
    library = emulator.build(chosen, tmp_path, 32)
    x, weight, _, _, _ = conv_arrays(case)
    x = np.maximum(x, 0)
    truth = conv_sum(case, x.astype(np.float64), weight.astype(np.float64))
    errors = []
    for one in chosen:
        y = np.zeros(truth.shape, np.float32)
        emulator.run(library, one, x, weight, None, None, y)
        errors.append(rms(y - truth))
    assert errors[1] <= 3 * errors[0]
    assert errors[1] <= 2e-5 * rms(truth)


@EVERY_KERNEL
def test_refusals_name_the_reason(kernel: Kernel) -> None:
    reasons = {
        "strict": described(INNER, "strict"),
        "float64": replace(described(INNER), dtype=1, weight_dtype=1),
        "stride 1": replace(described(INNER), stride=(1, 2, 1)),
        "dilation 1": replace(described(INNER), dilation=(1, 1, 2)),
        "3x3": replace(described(INNER), kernel=(1, 3, 5)),
        "depth": replace(described(INNER), input=(2, 16, 16)),
        "bytes": described(replace(INNER, c=1 << 14, k=1 << 14)),
    }
    assert kernel.supports(described(INNER)) == ""
    for word, problem in reasons.items():
        said = kernel.supports(problem)
        assert word in said or (word == "float64" and "float32" in said), said


def automatic(case: ConvCase, accuracy: str = "default") -> str:
    """Name what `auto` takes."""

    def ask(problem: Any) -> list[Candidate]:
        return [Candidate(**one) for one in cuda.candidates(problem)]

    chosen = quickest(
        described(case, accuracy), ask, usual_batch=CudaBackend.usual_batch
    )
    assert chosen is not None
    return chosen.name


@pytest.mark.parametrize(
    ("c", "size", "n", "expected"),
    [
        (256, 56, 8, True),
        (512, 28, 1, True),
        (64, 224, 4, True),
        (512, 7, 1, True),  # of a usual batch there are enough
        (16, 14, 1, True),
        (3, 224, 8, True),
        (1, 224, 8, False),
        (4, 28, 1, False),
        (8, 7, 1, False),
    ],
    ids=str,
)
def test_auto_takes_winograd_where_it_is_quicker(
    c: int, size: int, n: int, expected: bool
) -> None:
    case = ConvCase("layer", (1, size, size), (1, 3, 3), n=n, c=c, k=max(c, 64), **SAME)
    assert automatic(case).startswith("winograd") == expected
    assert not automatic(case, "strict").startswith("winograd")
    alone = automatic(replace(case, n=1))
    assert find("conv", alone).rounding == find("conv", automatic(case)).rounding
