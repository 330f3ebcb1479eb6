"""The emulator's own tests: what is broken on purpose must be noticed."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_ceilings
from pyconv.cuda import KERNELS, implicit_gemm, module
from pyconv.cuda.halo import ASYNC_PIPELINE
from tests.emulation import emulator, primitives
from tests.emulation.cases import check_conv, conv_arrays, conv_plan
from tests.emulation.problems import ConvCase
from tests.emulation.tables import CONV_CASES, SAME

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)


def test_thread_order_changes_nothing(tmp_path: Path) -> None:
    kernel = next(kernel for kernel in KERNELS if kernel.name == "bank_padding")
    case = next(case for case in CONV_CASES if case.name == "one_by_one")
    plan = conv_plan(kernel, case)
    assert plan is not None
    library = emulator.build([plan], tmp_path, 32)
    results = []
    for seed in (1, 2, 3):
        arrays = conv_arrays(case)
        emulator.run(library, plan, *arrays, seed=seed)
        results.append(arrays[-1])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("barrier", [0, 1])
def test_a_removed_barrier_is_noticed(barrier: int, tmp_path: Path) -> None:
    """The emulator's own test: without either barrier the answer must be wrong."""
    kernel = next(kernel for kernel in KERNELS if kernel.name == "bank_padding")
    case = ConvCase("many_channels", (1, 10, 12), (1, 3, 3), c=20, k=34)
    plan = conv_plan(kernel, case)
    assert plan is not None
    parts = emulator.kernel_text([plan]).split("__syncthreads();")
    assert len(parts) == 3
    glue = ["__syncthreads();", "__syncthreads();"]
    glue[barrier] = ""
    text = parts[0] + glue[0] + parts[1] + glue[1] + parts[2]
    library = emulator.build([plan], tmp_path, 32, text)
    arrays = conv_arrays(case)
    emulator.run(library, plan, *arrays, seed=1)
    with pytest.raises(AssertionError):
        check_conv(case, arrays)


def test_a_partial_barrier_is_a_deadlock(tmp_path: Path) -> None:
    kernel = next(kernel for kernel in KERNELS if kernel.name == "bank_padding")
    case = ConvCase("partial_barrier", (1, 4, 4), (1, 2, 2))
    plan = conv_plan(kernel, case)
    assert plan is not None
    text = emulator.kernel_text([plan]).replace(
        "__syncthreads();", "if (threadIdx.x != 0) __syncthreads();"
    )
    library = emulator.build([plan], tmp_path, 32, text)
    file = r"cuda/conv/halo/tile\.cuh"
    where = (
        rf"deadlock: block 0: 63 threads wait at {file}:\d+; 1 threads wait at {file}"
    )
    with pytest.raises(RuntimeError, match=where):
        emulator.run(library, plan, *conv_arrays(case))


def test_a_vector_that_is_not_aligned_is_noticed(tmp_path: Path) -> None:
    """On a GPU it would be the end of the context."""
    kernel = implicit_gemm.IMPLICIT_GEMM
    case = ConvCase("misaligned", (1, 4, 4), (1, 2, 2))
    plan = conv_plan(kernel, case)
    assert plan is not None
    text = emulator.kernel_text([plan])
    place = "m + k * Memory::M_PITCH"
    assert text.count(place) == 1
    text = text.replace(place, f"1 + {place}")
    library = emulator.build([plan], tmp_path, 32, text)
    with pytest.raises(RuntimeError, match="vector of 16 bytes is not aligned"):
        emulator.run(library, plan, *conv_arrays(case))


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("wait_copies<1>();", "wait_copies<2>();"),
        ("__syncthreads();  // the tiles are whole", "// the tiles are whole"),
        ("__syncthreads(); // everyone has read", "// everyone has read"),
    ],
    ids=["wait", "first_barrier", "second_barrier"],
)
def test_a_copy_that_is_not_waited_for_is_noticed(
    place: str, fault: str, tmp_path: Path
) -> None:
    """Copies come early or late: neither the wait nor a barrier can be left out.

    Reflected: with padding of zeros, weights that are not there yet would count as not
    finite, and the block would sum again.
    """
    case = ConvCase("many_channels", (1, 10, 12), (1, 3, 3), c=40, k=34, mode=1, **SAME)
    plan = conv_plan(ASYNC_PIPELINE, case)
    assert plan is not None
    text = emulator.kernel_text([plan])
    before, after = text.rsplit(place, 1)
    library = emulator.build([plan], tmp_path, 32, before + fault + after)
    arrays = conv_arrays(case)
    emulator.run(library, plan, *arrays)
    with pytest.raises(AssertionError):
        check_conv(case, arrays)


def test_a_copy_that_nobody_waits_for_is_reported(tmp_path: Path) -> None:
    case = ConvCase("few_channels", (1, 6, 6), (1, 2, 2))
    plan = conv_plan(ASYNC_PIPELINE, case)
    assert plan is not None
    text = emulator.kernel_text([plan]).replace("wait_copies<1>();", "")
    text = text.replace("wait_copies<0>();", "")
    library = emulator.build([plan], tmp_path, 32, text)
    with pytest.raises(RuntimeError, match="a copy is never waited for"):
        emulator.run(library, plan, *conv_arrays(case))


@pytest.mark.parametrize("logged", [False, True], ids=["apart", "in_step"])
def test_primitives_are_what_they_are_defined_to_be(
    logged: bool, tmp_path: Path
) -> None:
    library = emulator.build([], tmp_path, 32, primitives.text(), logged=logged)
    made = primitives.arrays()
    emulator.fill(library, primitives.CONSTANT, made["constants"])
    taken = [array for name, array in made.items() if name != "constants"]
    pointers = (ctypes.c_void_p * len(taken))(*(one.ctypes.data for one in taken))
    trouble = emulator.launch_entry(
        library,
        f"{primitives.ENTRY}_from",
        (1, primitives.THREADS),
        primitives.DYNAMIC_BYTES,
        np.zeros(1),
        pointers,
        seed=1,
    )
    assert not trouble
    primitives.check(made)


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_primitives_compile(architecture: str) -> None:
    options = module.options_for(architecture, 32)
    cubin, _ = module.compile_cubin(primitives.text(), options)
    assert cubin[:4] == b"\x7fELF"


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("name", gpu_ceilings.KERNELS)
def test_kernels_of_the_benchmark_compile(name: str) -> None:
    options = module.options_for("sm_90", 32)
    cubin, _ = module.compile_cubin(gpu_ceilings.KERNELS[name], options)
    assert cubin[:4] == b"\x7fELF"
