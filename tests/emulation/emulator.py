"""Build the emulator's library for a set of plans, and run plans in it.

One library holds every plan's entry point, so that a test session compiles once. Arrays
are plain NumPy; the packed problem crosses as it crosses to a GPU.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pyconv.cuda import source
from pyconv.cuda.kernel import Constant, Launch, element_type, weight_type
from pyconv.cuda.launch import CudaPlan, names_of
from pyconv.problem import PoolProblem
from tests.emulation.elements import byte_bounds

HERE = Path(__file__).resolve().parent
# Not unique: of two libraries with the same kernels each has its own shared memory.
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fno-gnu-unique", "-Wno-unknown-pragmas")
# Calls of ours at every load, store and basic block, whose order in the code is kept. What
# a call passes by value is not seen, so small functions must be inlined.
HOOKS = (
    "-fsanitize=thread",
    "-fsanitize-coverage=trace-pc",
    "-fno-reorder-blocks",
    "-finline-small-functions",
)
# A fault ends the process, and names a line of the device code.
SANITIZERS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g1",
)
_KEPT: list[Any] = []  # folders that go with the process
PARTS = ("emulate", "address_log", "hooks", "shared_memory")
NOTHING = 0xFF  # a byte of a NaN
GUARD = 2048  # bytes on each side of a workspace
LINE = 128
# A pointer to whatever the parameter it is given to points to.
ANY_POINTER = """
struct Any {
    void* pointer;
    template <class T>
    operator T*() const {
        return static_cast<T*>(pointer);
    }
};
"""


def compiler() -> str | None:
    """Find g++, the one compiler the emulator is tested with."""
    return shutil.which("g++")


def launch_name(plan: CudaPlan, launch: Launch) -> str:
    """Name a launch's entry point after what decides its text."""
    call = f"{launch.call}_{element_type(plan.problem)}"
    return "e" + "".join(c if c.isalnum() else "_" for c in call)


def entry_name(plan: CudaPlan) -> str:
    """Name the entry point of the launch that makes a plan's result."""
    return launch_name(plan, plan.launch)


def _entry(plan: CudaPlan, launch: Launch) -> str:
    """Write a launch's entry point, and a way to it from an array of pointers."""
    name = launch_name(plan, launch)
    types = (element_type(plan.problem), weight_type(plan.problem))
    text = source.entry(
        plan.kernel.operation, name, launch.call, types, launch.arguments
    )
    passed = ", ".join(
        f"Any{{pointers[{i}]}}" for i, _ in enumerate(names_of(plan, launch))
    )
    struct = "PoolProblem" if isinstance(plan.problem, PoolProblem) else "ConvProblem"
    return text + (
        f'extern "C" void {name}_from(const void* problem, void* const* pointers) {{'
        f"\n    {name}(*static_cast<const pyconv::"
        f"{struct}*>(problem), {passed});\n}}\n"
    )


def kernel_text(plans: Iterable[CudaPlan]) -> str:
    """Flatten the plans' files together, with one entry point for each instance."""
    listed = list(plans)
    files = tuple(dict.fromkeys(plan.kernel.file for plan in listed))
    entries = {
        launch_name(plan, launch): _entry(plan, launch)
        for plan in listed
        for launch in plan.launches
    }
    return source.flatten(files) + ANY_POINTER + "".join(entries.values())


def _compile(*arguments: str) -> None:
    """Call the compiler."""
    command = [compiler() or "g++", *FLAGS, *arguments]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"the emulator did not compile:\n{built.stderr}")


def _texts(plans: list[CudaPlan]) -> list[str]:
    """Write a text for each kernel's file: they are compiled side by side."""
    files = dict.fromkeys(plan.kernel.file for plan in plans)
    return [
        kernel_text(plan for plan in plans if plan.kernel.file == file)
        for file in files
    ]


def _object(hooks: tuple[str, ...], index_bits: int, text: str, target: Path) -> None:
    """Compile one text."""
    kernels = target.with_suffix(".inc")
    kernels.write_text(text, encoding="ascii")
    _compile(
        *hooks,
        f"-DPYCONV_INDEX_BITS={index_bits}",
        f'-DPYCONV_KERNELS="{kernels}"',
        "-c",
        str(HERE / "kernels.cpp"),
        "-o",
        str(target),
    )


@lru_cache(maxsize=2)
def _runtime(flags: tuple[str, ...]) -> tuple[Path, ...]:
    """Compile what every library has beside its kernels, once for a process."""
    kept = tempfile.TemporaryDirectory(prefix="pyconv-emulator-")
    _KEPT.append(kept)
    objects = tuple(Path(kept.name) / f"{name}.o" for name in PARTS)
    for name, target in zip(PARTS, objects, strict=True):
        _compile(*flags, "-c", str(HERE / f"{name}.cpp"), "-o", str(target))
    return objects


def build(
    plans: Iterable[CudaPlan],
    directory: Path,
    index_bits: int,
    text: str | None = None,
    logged: bool = False,
    sanitized: bool = False,
) -> ctypes.CDLL:
    """Compile the plans' kernels for the host and load the library.

    With `logged` they call the address log at every access, for `traffic`; what is
    `sanitized` is checked at every access, and needs a process started for it.
    """
    hooks = HOOKS if logged else SANITIZERS if sanitized else ()
    texts = [text] if text else _texts(list(plans))
    objects = [directory / f"kernels_{index_bits}_{i}.o" for i, _ in enumerate(texts)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_object, hooks, index_bits), texts, objects))
    library = directory / f"libemulated_{index_bits}.so"
    flags = SANITIZERS if sanitized else ()
    parts = (*_runtime(flags), *objects)
    _compile(*flags, "-shared", *map(str, parts), "-o", str(library), "-ldl")
    loaded = ctypes.CDLL(str(library))
    loaded.emulate.restype = ctypes.c_char_p
    return loaded


def _address(array: np.ndarray[Any, Any] | None, first_byte: int) -> int | None:
    """Give the address of an array's first logical element; null for None."""
    return None if array is None else array.ctypes.data + first_byte


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
        If a barrier is reached by a part of a block only, a vector is not aligned, or
        something is written outside the plan's workspace.
    """
    buffers = workspace(plan)
    _run(library, plan, (*arrays, *buffers.values()), tuple(buffers), seed)
    for name, buffer in buffers.items():
        around = buffer.base
        start = buffer.ctypes.data - around.ctypes.data
        ends = np.concatenate((around[:start], around[start + buffer.size :]))
        if (ends != NOTHING).any():
            raise RuntimeError(f"{plan!r} wrote outside its workspace {name!r}")


def workspace(plan: CudaPlan) -> dict[str, np.ndarray[Any, Any]]:
    """Make the arrays that a plan's launches share, NaN in them and around them."""
    return {name: _buffer(size) for name, size in plan.workspace.items()}


def _buffer(size: int) -> np.ndarray[Any, Any]:
    """Make bytes that begin where a line does, as allocators' do."""
    around = np.full(size + 2 * GUARD + LINE, NOTHING, np.uint8)
    start = GUARD + -(around.ctypes.data + GUARD) % LINE
    return around[start : start + size]


def _run(
    library: ctypes.CDLL,
    plan: CudaPlan,
    arrays: tuple[np.ndarray[Any, Any] | None, ...],
    buffers: tuple[str, ...],
    seed: int,
) -> None:
    """Run a plan's launches one after the other."""
    names = (*source.PARAMETERS[plan.kernel.operation], *buffers)
    named = dict(zip(names, arrays, strict=True))
    for launch, packed in zip(plan.launches, plan.records, strict=True):
        first = dict(launch.first_bytes)
        chosen = names_of(plan, launch)
        pointers = (ctypes.c_void_p * len(chosen))(
            *(_address(named[name], first.get(name, 0)) for name in chosen)
        )
        if launch.constant is not None:
            fill(library, launch.constant, named[launch.constant.array])
        trouble = launch_entry(
            library,
            f"{launch_name(plan, launch)}_from",
            (launch.blocks, launch.threads),
            launch.shared_bytes if launch.is_dynamic else 0,
            np.ascontiguousarray(packed),
            pointers,
            seed,
        )
        if trouble:
            raise RuntimeError(f"{plan!r}: {trouble}")


def launch_entry(
    library: ctypes.CDLL,
    entry: str,
    size: tuple[int, int],
    dynamic_bytes: int,
    record: np.ndarray[Any, Any],
    pointers: ctypes.Array[Any],
    seed: int,
) -> str:
    """Run one launch of blocks and threads; say what went wrong, or nothing."""
    trouble: bytes | None = library.emulate(
        ctypes.cast(getattr(library, entry), ctypes.c_void_p),
        ctypes.c_uint(size[0]),
        ctypes.c_uint(size[1]),
        ctypes.c_ulong(dynamic_bytes),
        ctypes.c_uint(seed),
        ctypes.c_void_p(record.ctypes.data),
        pointers,
    )
    return trouble.decode() if trouble else ""


def fill(
    library: ctypes.CDLL, constant: Constant, array: np.ndarray[Any, Any] | None
) -> None:
    """Copy a part of an array to the library's constant memory."""
    target = ctypes.addressof(ctypes.c_char.in_dll(library, constant.symbol))
    ctypes.memmove(target, _address(array, constant.first_byte), constant.byte_count)


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
        One for each array, in order, the plan's own after those of the operation, and
        one for shared memory.
    """
    buffers = workspace(plan)
    arrays = (*arrays, *buffers.values())
    bounds = [byte_bounds(a) for a in arrays]
    begins = (ctypes.c_void_p * len(arrays))(*(low for low, _ in bounds))
    sizes = (ctypes.c_longlong * len(arrays))(*(high - low for low, high in bounds))
    library.emulate_watch(begins, sizes, len(arrays))
    try:
        _run(library, plan, arrays, tuple(buffers), seed=1)
        found = [Traffic() for _ in range(len(arrays) + 2)]
        for region, one in enumerate(found):
            library.emulate_traffic(region, ctypes.byref(one))
        dynamic = found.pop()
        for field, _ in Traffic._fields_:
            both = getattr(found[-1], field) + getattr(dynamic, field)
            setattr(found[-1], field, both)
    finally:
        library.emulate_watch(None, None, 0)
    return found
