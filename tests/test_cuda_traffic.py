"""What CUDA kernels ask of memory, counted in the emulator, against their model.

`Movement.global_bytes` is exact: the address log of warps run in step must show it. The
log also counts sectors and shared memory's passes, which hold what the kernels' comments
promise of coalescing and of bank conflicts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyconv.cuda import KERNELS
from pyconv.cuda.implicit_gemm import TILES, operand_bytes
from pyconv.cuda.kernel import Kernel
from tests.emulation import emulator
from tests.emulation.cases import conv_arrays, conv_plan
from tests.emulation.chosen import runs
from tests.emulation.elements import aligned
from tests.emulation.problems import ConvCase
from tests.emulation.tables import SAME

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)

SECTOR = 32
RUNS = runs()


@pytest.fixture(scope="module")
def library(tmp_path_factory: Any) -> Any:
    """Compile the chosen kernels with the log's hooks."""
    directory: Path = tmp_path_factory.mktemp("traffic")
    return emulator.build([plan for plan, _, _ in RUNS], directory, 32, logged=True)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run[2])
def test_global_bytes_are_the_models(library: Any, run: Any) -> None:
    plan, arrays, _ = run
    *found, _ = emulator.traffic(library, plan, *map(aligned, arrays()))
    movement = plan.kernel.movement(plan.problem)
    assert sum(one.bytes for one in found) == movement.global_bytes
    # Once for the launch, all of it is compulsory, in whole sectors.
    touched = sum(one.launch_sectors for one in found) * SECTOR
    assert touched <= movement.dram_bytes + SECTOR * len(found)


def test_all_kernels_are_counted() -> None:
    assert {plan.kernel.file for plan, _, _ in RUNS} == {k.file for k in KERNELS}


def _logged(kernel: str, case: ConvCase, directory: Path) -> list[emulator.Traffic]:
    """Count one convolution's traffic: x, weight, bias, residual, y, shared memory."""
    chosen: Kernel = next(
        one for one in KERNELS if one.operation == "conv" and one.name == kernel
    )
    plan = conv_plan(chosen, case)
    assert plan is not None
    directory.mkdir(exist_ok=True)
    library = emulator.build([plan], directory, 32, logged=True)
    return emulator.traffic(library, plan, *map(aligned, conv_arrays(case)))


def test_coalesced_is(tmp_path: Path) -> None:
    """Rows of 32 outputs: x and y in whole sectors, one weight for a whole warp."""
    case = ConvCase("rows_of_a_warp", (1, 6, 32), (1, 1, 1), c=4, k=32)
    x, weight, _, _, y, _ = _logged("coalesced", case, tmp_path)
    assert x.sectors == x.requests * 4
    assert weight.sectors == weight.requests
    assert y.sectors == y.requests * 4
    assert x.requests == weight.requests == 4 * y.requests
    assert x.bytes == weight.bytes == 4 * y.bytes


def test_naive_is_not_coalesced(tmp_path: Path) -> None:
    """The same bytes, but a warp's filters and outputs are a sector each."""
    case = ConvCase("rows_of_a_warp", (1, 6, 32), (1, 1, 1), c=4, k=32)
    x, weight, _, _, y, _ = _logged("naive", case, tmp_path)
    assert x.sectors == x.requests  # one pixel for a whole warp
    assert weight.sectors == weight.requests * 16  # two filters of four to a sector
    assert y.sectors == y.requests * 32
    assert x.bytes == weight.bytes == 4 * y.bytes


def test_divergent_threads_meet_again(tmp_path: Path) -> None:
    """At the image's edge some threads of a warp skip a tap: it is one request still."""
    case = ConvCase(
        "edges", (1, 6, 32), (1, 1, 3), c=4, k=3, before=(0, 0, 1), after=(0, 0, 1)
    )
    x, _, _, _, y, _ = _logged("coalesced", case, tmp_path)
    assert x.requests == 3 * 4 * y.requests
    assert x.bytes == 4 * (3 * 32 - 2) * 4 * y.requests


@pytest.mark.parametrize(
    ("stride", "conflicts"), [(1, False), (2, True)], ids=["stride_1", "stride_2"]
)
def test_bank_conflicts_of_bank_padding(
    stride: int, conflicts: bool, tmp_path: Path
) -> None:
    """None at stride 1 but of the stores of filters; two-way reads of x at stride 2."""
    case = ConvCase(
        "tile",
        (1, 16 * stride, 64 * stride),
        (1, 1, 1),
        c=8,
        k=32,
        stride=(1, stride, stride),
    )
    shared = _logged("bank_padding", case, tmp_path)[-1]
    extra = (shared.passes - shared.least_passes) / shared.requests
    assert (extra > 0.2) == conflicts


def test_padding_takes_the_conflicts_away(tmp_path: Path) -> None:
    """The same requests and bytes as vector_loads, in fewer passes of the banks."""
    case = ConvCase("tile", (1, 16, 16), (1, 3, 3), c=8, k=32, **SAME)
    names = ("register_tile", "vector_loads", "bank_padding")
    scalar, vectors, padded = (
        _logged(name, case, tmp_path / name)[-1] for name in names
    )
    assert vectors.bytes == padded.bytes
    assert vectors.requests == padded.requests < scalar.requests
    assert padded.passes < 0.8 * vectors.passes


@pytest.mark.parametrize("memory", ["first", "last"])
def test_the_implicit_gemm_stores_whole_sectors(memory: str, tmp_path: Path) -> None:
    """Each sector of y once, without conflicts on the way; x by neighbours too."""
    case = ConvCase("sectors", (1, 16, 32), (1, 1, 1), n=2, c=16, k=64, memory=memory)
    x, _, _, _, y, shared = _logged("implicit_gemm", case, tmp_path)
    assert y.sectors * SECTOR == y.bytes
    assert x.sectors * SECTOR == x.bytes
    # Channels last, eight threads read one pixel's window as a vector: no pass is full.
    few = 8 if memory == "first" else 6
    assert shared.passes - shared.least_passes <= shared.requests // few


@pytest.mark.parametrize("memory", ["first", "last"])
def test_the_operands_of_a_product_come_in_two_passes(
    memory: str, tmp_path: Path
) -> None:
    """Threads of a warp share vectors by pairs; the epilogue and pixels come on top."""
    case = ConvCase("deep", (1, 16, 32), (1, 1, 1), n=2, c=128, k=64, memory=memory)
    shared = _logged("implicit_gemm", case, tmp_path)[-1]
    kernel = next(one for one in KERNELS if one.name == "implicit_gemm")
    plan = conv_plan(kernel, case)
    assert plan is not None
    sides = plan.launches[-1].tile["block_m"], plan.launches[-1].tile["block_n"]
    (tile,) = (one for one in TILES if (one.block_m, one.block_n) == sides)
    blocks = 2 * 16 * 32 // tile.block_m * 64 // tile.block_n
    predicted = operand_bytes(tile, blocks * 128, 4)
    assert 0.75 < predicted / (128 * shared.passes) <= 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_depthwise_moves_vectors(dtype: str, tmp_path: Path) -> None:
    """Channels last: sixteen bytes a thread, whole sectors, filters without conflicts."""
    case = ConvCase(
        "vectors",
        (1, 10, 18),
        (1, 3, 3),
        c=64,
        k=64,
        groups=64,
        memory="last",
        dtype=dtype,
    )
    x, _, _, _, y, shared = _logged("depthwise", case, tmp_path)
    for array in (x, y):
        assert array.sectors * SECTOR == array.bytes
        assert array.bytes == array.requests * 32 * 16
    assert shared.passes - shared.least_passes <= shared.requests // 8


def test_depthwise_rows_are_coalesced(tmp_path: Path) -> None:
    """Channels first: neighbouring threads take neighbouring columns."""
    case = ConvCase("rows", (1, 16, 32), (1, 3, 1), c=4, k=4, groups=4)
    x, weight, _, _, y, _ = _logged("depthwise", case, tmp_path)
    assert x.sectors * SECTOR == x.bytes
    assert y.sectors * SECTOR == y.bytes
    assert weight.sectors == weight.requests  # one filter for a whole warp
    assert x.bytes * 14 == y.bytes * (10 + 8)  # strips of 8 and 6 rows with two more
