"""Every CUDA kernel through NVRTC, for every architecture; needs no GPU.

Also what stands between the host and the kernels: struct layouts, the flattened text,
the tile arithmetic that Python repeats, and the cubin cache.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv.cuda import KERNELS, module, source
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernel import SHARED_BYTES, Kernel
from pyconv.cuda.launch import (
    CudaPlan,
    entry_of,
    index_bits,
    make_plan,
    source_of,
)
from pyconv.problem import (
    CONV_RECORD,
    DTYPES,
    POOL_RECORD,
    Col2imProblem,
    Im2colProblem,
)
from tests.emulation import emulator
from tests.emulation.elements import arranged, dtype_of
from tests.emulation.problems import (
    ConvCase,
    PoolCase,
    bias_problem,
    columns_problem,
    conv_problem,
    pool_grad_problem,
    pool_problem,
    weight_problem,
)

COLUMNS = {"im2col": Im2colProblem, "col2im": Col2imProblem}
# sm_90 is what all cases are compiled for.
ARCHITECTURES = (
    "sm_75",
    "sm_80",
    "sm_86",
    "sm_89",
    "sm_90a",
    "sm_100",
    "sm_120",
)

# One of each way to sum; the emulator runs all types.
OTHER_TYPES = ("float16", "bfloat16", "int16", "uint64", "complex64", "complex128")

# One case for each tile, memory order, element type, activation that changes the code.
PAD: dict[str, Any] = {"before": (0, 1, 1), "after": (0, 1, 1)}
CONV_CASES = (
    ConvCase("wide", (1, 56, 64), (1, 3, 3), c=64, k=64, bias=True, **PAD),
    ConvCase("square", (1, 16, 16), (1, 3, 3), c=64, k=32, **PAD),
    ConvCase("small", (1, 7, 7), (1, 3, 3), c=64, k=64, memory="last", **PAD),
    ConvCase("flat", (1, 1, 4096), (1, 1, 5), c=16, k=32, activation=6),
    ConvCase("first_layer", (1, 224, 224), (1, 7, 7), k=64, stride=(1, 2, 2)),
    ConvCase("depthwise", (1, 28, 28), (1, 3, 3), c=32, k=32, groups=32, **PAD),
    *(
        ConvCase(
            f"depthwise_{size}_{dtype}_{memory}",
            (1, 28, 28),
            (1, size, size),
            c=32,
            k=32,
            groups=32,
            stride=(1, stride, stride),
            dtype=dtype,
            memory=memory,
            bias=True,
            **PAD,
        )
        for size, stride, dtype, memory in (
            (7, 1, "float32", "first"),
            (7, 1, "float32", "last"),
            (7, 1, "bfloat16", "last"),
            (5, 2, "float16", "first"),
            (3, 1, "float32", "last"),
            (7, 2, "float64", "first"),
        )
    ),
    ConvCase("float64", (1, 28, 28), (1, 3, 3), c=8, k=32, dtype="float64"),
    ConvCase("three_dimensions", (8, 8, 8), (3, 3, 3), c=4, k=4),
    ConvCase("many_filters", (1, 56, 56), (1, 1, 1), n=32, c=64, k=256),
    ConvCase("many_pixels", (1, 56, 56), (1, 3, 3), n=32, c=64, k=64, **PAD),
    ConvCase("few_pixels", (1, 14, 14), (1, 3, 3), n=32, c=256, k=256, **PAD),
    ConvCase("few_filters", (1, 112, 112), (1, 1, 1), n=8, c=32, k=16, memory="last"),
    *(
        ConvCase(dtype, (1, 28, 28), (1, 3, 3), c=8, k=32, dtype=dtype, bias=True)
        for dtype in OTHER_TYPES
    ),
    ConvCase(
        "bytes", (1, 8, 8), (1, 3, 3), dtype="uint8", weight_dtype="int8", activation=1
    ),
)
POOL_CASES = (
    *(
        PoolCase(
            f"{memory}_{dtype}",
            kind,
            (1, 8, 8),
            (1, 2, 2),
            (1, 7, 7),
            dtype=dtype,
            memory=memory,
        )
        for kind in (0, 1, 2)
        for memory in ("first", "last")
        for dtype in ("float32", "float64", "float16", "bfloat16", "uint8")
        if kind == 0 or "int" not in dtype
    ),
    *(
        PoolCase(
            f"wide_{taps}_{dtype}_{memory}",
            kind,
            (1, 32, 32),
            (1, taps, taps),
            (1, 16, 16),
            c=32,
            stride=(1, 2, 2),
            dtype=dtype,
            memory=memory,
            **PAD,
        )
        for kind, taps, dtype, memory in (
            (0, 3, "float32", "first"),
            (0, 3, "float32", "last"),
            (0, 3, "bfloat16", "first"),
            (0, 3, "float16", "last"),
            (0, 8, "uint8", "last"),
            (1, 3, "float16", "last"),
            (2, 16, "bfloat16", "last"),
            (2, 16, "float64", "first"),
        )
    ),
    *(
        PoolCase(
            f"plane_{dtype}_{memory}",
            kind,
            (1, 14, 14),
            (1, 14, 14),
            (1, 1, 1),
            c=32,
            norm=3.0,
            dtype=dtype,
            memory=memory,
        )
        for kind, dtype, memory in (
            (0, "float32", "first"),
            (0, "uint8", "last"),
            (1, "float16", "last"),
            (2, "float64", "first"),
            (2, "bfloat16", "last"),
        )
    ),
)


def _zeros(shape: tuple[int, ...], dtype: str, memory: str) -> Any:
    """Make an array whose pitches a problem is described with."""
    return arranged(np.zeros(shape, dtype_of(dtype)), memory)


def _columns_problem(case: ConvCase, x: Any, kind: type[Im2colProblem]) -> Any:
    """Describe the columns of a case's patches."""
    rows = case.c * int(np.prod(case.kernel))
    columns = _zeros((case.n, rows, *case.output()), case.dtype, "first")
    return columns_problem(case, x, columns, kind)


def _plan(kernel: Kernel, case: ConvCase | PoolCase) -> CudaPlan | None:
    """Plan a case; None if the kernel refuses it."""
    x = _zeros((case.n, case.c, *case.input), case.dtype, case.memory)
    if isinstance(case, ConvCase):
        weight = _zeros(
            (case.k, case.c // case.groups, *case.kernel), case.dtype, "first"
        )
        y = _zeros((case.n, case.k, *case.output()), case.dtype, case.memory)
        if kernel.operation in COLUMNS:
            problem: Any = _columns_problem(case, x, COLUMNS[kernel.operation])
        elif kernel.operation == "conv_bias":
            problem = bias_problem(case, y)
        else:
            of_weight = kernel.operation == "conv_weight"
            describe = weight_problem if of_weight else conv_problem
            problem = describe(case, x, weight, y)
    else:
        y = _zeros((case.n, case.c, *case.output), case.dtype, case.memory)
        of_grad = kernel.operation == "pool_grad"
        problem = (
            pool_grad_problem(case, x, y)
            if of_grad
            else pool_problem(case, x, y, indices=False)
        )
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


def _cases(kernel: Kernel) -> tuple[ConvCase | PoolCase, ...]:
    """The cases of a kernel's operation."""
    return POOL_CASES if kernel.operation.startswith("pool") else CONV_CASES


PLANS = [
    pytest.param(plan, id=f"{kernel.name}-{case.name}")
    for kernel in KERNELS
    for case in _cases(kernel)
    if (plan := _plan(kernel, case)) is not None
]


# One of those that share their text.
COMPILED = list(
    {source_of(one.values[0]): one for one in reversed(PLANS)}.values()  # type: ignore[arg-type]
)[::-1]


def registers_and_shared(log: str) -> dict[str, tuple[int, int]]:
    """Read registers and bytes of shared memory of each entry; none may spill."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", part), part
        used = re.search(r"Used (\d+) registers", part)
        assert used is not None
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.split("'")[0]] = (int(used[1]), int(shared[1]) if shared else 0)
    return found


def compiled(plan: CudaPlan) -> dict[str, tuple[int, int]]:
    """Compile a plan, check what holds of every cubin, and read its log."""
    options = module.options_for("sm_90", plan.index_bits)
    cubin, log = module.compile_cubin(source_of(plan), options)
    assert cubin[:4] == b"\x7fELF"
    assert len(cubin) < 600_000  # more is code that should not have been unrolled
    assert "warning" not in log, log
    used = registers_and_shared(log)
    assert len(used) == len({launch.step for launch in plan.launches})
    for launch in plan.launches:
        registers, _ = used[entry_of(plan, launch)]
        # A block must fit a multiprocessor: 65536 registers, in steps of 8 a thread.
        assert -(-registers // 8) * 8 * launch.threads <= 65536
    return used


@pytest.mark.parametrize("plan", COMPILED)
@pytest.mark.usefixtures("nvrtc")
def test_kernel_compiles_without_spills(plan: CudaPlan) -> None:
    used = compiled(plan)
    for launch in plan.launches:
        if not launch.is_dynamic:
            _, counted = used[entry_of(plan, launch)]
            # Arrays are rounded up to 16 bytes each.
            assert 0 <= counted - launch.shared_bytes < 32
            assert counted <= SHARED_BYTES


def _wide() -> list[Any]:
    """Three of a kernel: wide indices meet tiles, not element types or activations."""
    of_kernel: dict[Kernel, list[Any]] = {}
    for one in COMPILED:
        plan = one.values[0]
        assert isinstance(plan, CudaPlan)
        if plan.problem.dtype == DTYPES["float32"]:
            of_kernel.setdefault(plan.kernel, []).append(one)
    return [
        one for found in of_kernel.values() for one in found[:: -(-len(found) // 3)]
    ]


WIDE = _wide()


@pytest.mark.parametrize("plan", WIDE)
@pytest.mark.usefixtures("nvrtc")
def test_kernel_compiles_with_wide_indices(plan: CudaPlan) -> None:
    compiled(replace(plan, index_bits=64))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.usefixtures("nvrtc")
def test_kernel_compiles_for_each_architecture(
    kernel: Kernel, architecture: str
) -> None:
    plan = next(
        plan for case in _cases(kernel) if (plan := _plan(kernel, case)) is not None
    )
    options = module.options_for(architecture, 32)
    cubin, log = module.compile_cubin(source_of(plan), options)
    assert cubin[:4] == b"\x7fELF"
    assert registers_and_shared(log)


def test_subnormals_are_not_flushed(nvrtc: Any) -> None:
    plan = PLANS[0].values[0]
    assert isinstance(plan, CudaPlan)
    options = module.options_for("sm_80", 32)
    assert "--ftz=false" in options
    program = nvrtc.createProgram(source_of(plan), "pyconv.cu", [], [])
    nvrtc.compileProgram(program, ["--gpu-architecture=compute_80", *options[1:]])
    assert ".ftz" not in nvrtc.getPTX(program).decode()


def _layout_asserts() -> str:
    """Write static_asserts that the structs lie as the NumPy records say."""
    lines = []
    for struct, record in (("ConvProblem", CONV_RECORD), ("PoolProblem", POOL_RECORD)):
        assert record.names is not None
        assert record.fields is not None
        lines.append(f"static_assert(sizeof(pyconv::{struct}) == {record.itemsize});")
        lines += [
            f"static_assert(__builtin_offsetof(pyconv::{struct}, {name}) == "
            f"{record.fields[name][1]});"
            for name in record.names
        ]
    return "\n".join(lines)


def _problem_header() -> str:
    """Give the text of core/problem.hpp."""
    return (source.device_directory() / "core" / "problem.hpp").read_text("ascii")


@pytest.mark.skipif(emulator.compiler() is None, reason="needs g++")
def test_records_lie_as_the_host_compiler_lays_them(tmp_path: Path) -> None:
    text = tmp_path / "layout.cpp"
    header = _problem_header().replace("#pragma once", "")
    text.write_text(f"{header}\n{_layout_asserts()}\n", encoding="ascii")
    command = ["g++", "-std=c++17", "-fsyntax-only", str(text)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


@pytest.mark.usefixtures("nvrtc")
def test_records_lie_as_nvrtc_lays_them() -> None:
    header = _problem_header().replace("#pragma once", "")
    module.compile_cubin(
        f"{header}\n{_layout_asserts()}\n", module.options_for("sm_80", 32)
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_flattening_takes_each_header_once_and_first(kernel: Kernel) -> None:
    text = source.flatten((kernel.file,))
    assert "#include" not in text
    assert "#pragma once" not in text
    assert text.count("struct ConvProblem {") == 1
    openings = re.findall(r'^#line 1 "(.*)"$', text, re.MULTILINE)
    assert len(openings) == len(set(openings))
    bodies = [
        text.index("struct ConvProblem {"),
        text.index("using Index"),
        text.index("namespace pyconv::"),
    ]
    assert bodies == sorted(bodies)


@pytest.mark.parametrize(
    ("n", "step", "bits"), [(2, 64, 32), (2, 2**31, 64), (2**25, 64, 64)]
)
def test_index_width_follows_the_largest_offset(n: int, step: int, bits: int) -> None:
    case = ConvCase("plain", (1, 8, 8), (1, 3, 3), c=1, k=2)
    plan = _plan(KERNELS[0], case)
    assert plan is not None
    fields = {name: getattr(plan.problem, name) for name in CONV_RECORD.names or ()}
    fields.update(n=n, x_pitch=(step, *fields["x_pitch"][1:]))
    assert index_bits(type(plan.problem)(**fields)) == bits


@pytest.mark.parametrize("plan", PLANS)
def test_movement_and_cost_are_within_reason(plan: CudaPlan) -> None:
    """The model's own laws; measurements hold it on a GPU."""
    movement = plan.kernel.movement(plan.problem)
    arrays = {name: getattr(plan.problem, name) for name in ("n", "c", "input")}
    read = int(np.prod([arrays["n"], arrays["c"], *arrays["input"]]))
    assert movement.dram_bytes > read * plan.problem.itemsize
    assert movement.l1_bytes > 0
    assert movement.l2_bytes > 0
    cost = plan.kernel.cost_us(plan.problem, NOMINAL)
    arithmetic = 1e6 * movement.flops / NOMINAL.flops
    memory = 1e6 * movement.dram_bytes / NOMINAL.dram_bytes
    roof = NOMINAL.launch_us + max(arithmetic, memory)
    assert cost >= roof * (1 - 1e-12)
