"""Build the emulator's library for a set of plans, and run plans in it.

One library holds every plan's entry point, so that a test session compiles once. Arrays
are plain NumPy; the packed problem crosses as it crosses to a GPU.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pyconv.cuda import source
from pyconv.cuda.kernel import element_type, weight_type
from pyconv.cuda.launch import CudaPlan
from tests.emulation.elements import byte_bounds

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-Wno-unknown-pragmas")
# Calls of ours at every load, store and basic block, whose order in the code is kept. What
# a call passes by value is not seen, so small functions must be inlined.
HOOKS = (
    "-fsanitize=thread",
    "-fsanitize-coverage=trace-pc",
    "-fno-reorder-blocks",
    "-finline-small-functions",
)


def compiler() -> str | None:
    """Find g++, the one compiler the emulator is tested with."""
    return shutil.which("g++")


def entry_name(plan: CudaPlan) -> str:
    """Name an entry point after what decides its text."""
    call = f"{plan.launch.call}_{element_type(plan.problem)}"
    return "e" + "".join(c if c.isalnum() else "_" for c in call)


def kernel_text(plans: Iterable[CudaPlan]) -> str:
    """Flatten the plans' files together, with one entry point for each instance."""
    listed = list(plans)
    files = tuple(dict.fromkeys(plan.kernel.file for plan in listed))
    entries: dict[str, str] = {}
    for plan in listed:
        name = entry_name(plan)
        entries[name] = source.entry(
            plan.kernel.operation,
            name,
            plan.launch.call,
            element_type(plan.problem),
            weight_type(plan.problem),
        )
    return source.flatten(files) + "".join(entries.values())


def _compile(*arguments: str) -> None:
    """Call the compiler."""
    command = [compiler() or "g++", *FLAGS, *arguments]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"the emulator did not compile:\n{built.stderr}")


def build(
    plans: Iterable[CudaPlan],
    directory: Path,
    index_bits: int,
    text: str | None = None,
    logged: bool = False,
) -> ctypes.CDLL:
    """Compile the plans' kernels for the host and load the library.

    With `logged` they call the address log at every access, for `traffic`.
    """
    kernels = directory / f"kernels_{index_bits}.inc"
    kernels.write_text(text or kernel_text(plans), encoding="ascii")
    compiled = directory / f"kernels_{index_bits}.o"
    _compile(
        *(HOOKS if logged else ()),
        f"-DPYCONV_INDEX_BITS={index_bits}",
        f'-DPYCONV_KERNELS="{kernels}"',
        "-c",
        str(HERE / "kernels.cpp"),
        "-o",
        str(compiled),
    )
    library = directory / f"libemulated_{index_bits}.so"
    _compile(
        f"-I{source.device_directory()}",
        "-shared",
        str(HERE / "emulate.cpp"),
        str(HERE / "address_log.cpp"),
        str(compiled),
        "-o",
        str(library),
        "-ldl",
    )
    return ctypes.CDLL(str(library))


def _pointer(array: np.ndarray[Any, Any] | None) -> ctypes.c_void_p:
    """Give the address of an array's first logical element; null for None."""
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def run(
    library: ctypes.CDLL,
    plan: CudaPlan,
    *arrays: np.ndarray[Any, Any] | None,
    seed: int = 1,
) -> None:
    """Run a plan in the emulator, with the arrays its entry point takes.

    Raises
    ------
    RuntimeError
        If a barrier is reached by a part of a block only.
    """
    entry = ctypes.cast(getattr(library, entry_name(plan)), ctypes.c_void_p)
    record = np.ascontiguousarray(plan.record)
    named = f"emulate_{plan.kernel.operation}"
    launch = getattr(library, named if hasattr(library, named) else "emulate_unary")
    status = launch(
        entry,
        ctypes.c_uint(plan.launch.blocks),
        ctypes.c_uint(plan.launch.threads),
        ctypes.c_uint(seed),
        ctypes.c_void_p(record.ctypes.data),
        *(_pointer(array) for array in arrays),
    )
    if status:
        raise RuntimeError(f"deadlock: a barrier in {plan!r} is not reached by all")


class Traffic(ctypes.Structure):
    """What a launch asked of one array, or of shared memory (address_log.hpp)."""

    _fields_ = [
        (name, ctypes.c_longlong)
        for name in (
            "requests",
            "bytes",
            "sectors",
            "block_sectors",
            "launch_sectors",
            "passes",
            "least_passes",
        )
    ]


def traffic(
    library: ctypes.CDLL, plan: CudaPlan, *arrays: np.ndarray[Any, Any] | None
) -> list[Traffic]:
    """Run a plan of a `logged` library, warps in step.

    Returns
    -------
    list of Traffic
        One for each array, in order, and one for shared memory.
    """
    bounds = [byte_bounds(a) for a in arrays]
    begins = (ctypes.c_void_p * len(arrays))(*(low for low, _ in bounds))
    sizes = (ctypes.c_longlong * len(arrays))(*(high - low for low, high in bounds))
    library.emulate_watch(begins, sizes, len(arrays))
    try:
        run(library, plan, *arrays)
        found = [Traffic() for _ in range(len(arrays) + 1)]
        for region, one in enumerate(found):
            library.emulate_traffic(region, ctypes.byref(one))
    finally:
        library.emulate_watch(None, None, 0)
    return found
