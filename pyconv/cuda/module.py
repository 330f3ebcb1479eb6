"""From source text to a loaded kernel: NVRTC, a cubin cache on disk, CuPy's loader.

Compilation is ours, through cupy.cuda.nvrtc: CuPy's own compiler appends -ftz=true
last, which flushes subnormals, and keys its cache without the headers (cupy#941).
The key is a hash of everything that decides the cubin: text, options, NVRTC version.
NVRTC needs no driver, so `compile_cubin` also runs on machines without a GPU.
"""

# ruff: noqa: PLC0415 - CuPy is imported only where a GPU is used

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pyconv.cuda.kernel import Constant

__all__ = [
    "CompileError",
    "Loaded",
    "cache_directory",
    "cached",
    "compile_cubin",
    "cubin_file",
    "cubin_key",
    "load",
    "options_for",
]

# More shared memory for a block must be asked for, once for each kernel.
OPT_IN_BYTES = 48 * 1024
# One cubin takes 30 to 150 kB; the oldest go when there are more.
MAX_CACHED_FILES = 512


class CompileError(RuntimeError):
    """A kernel did not compile; the message holds the compiler's log."""


def options_for(architecture: str, index_bits: int) -> tuple[str, ...]:
    """Give NVRTC's options: IEEE arithmetic, subnormals kept, fused multiply-adds.

    Parameters
    ----------
    architecture : str
        For example "sm_90".
    index_bits : int
        32, or 64 where an offset would overflow.
    """
    return (
        f"--gpu-architecture={architecture}",
        "--std=c++17",
        "--ftz=false",
        "--prec-div=true",
        "--prec-sqrt=true",
        "--fmad=true",
        "--generate-line-info",
        "--ptxas-options=-v",
        f"-DPYCONV_INDEX_BITS={index_bits}",
    )


@lru_cache(maxsize=1)
def _nvrtc_version() -> tuple[int, int]:
    """Ask NVRTC for its version."""
    from cupy.cuda import nvrtc

    major, minor = nvrtc.getVersion()
    return int(major), int(minor)


def cubin_key(
    source: str, options: tuple[str, ...], version: tuple[int, int] | None = None
) -> str:
    """Hash everything a cubin depends on.

    Parameters
    ----------
    source : str
        The flattened text with its entry point.
    options : tuple of str
        The compiler's options; the architecture is one of them.
    version : (int, int), optional
        NVRTC's version; by default the installed one's.
    """
    major, minor = _nvrtc_version() if version is None else version
    text = "\0".join((f"{major}.{minor}", *options, source))
    return hashlib.sha256(text.encode()).hexdigest()


def compile_cubin(source: str, options: tuple[str, ...]) -> tuple[bytes, str]:
    """Compile a text to a cubin.

    Returns
    -------
    (bytes, str)
        The cubin and the compiler's log (registers and spills of each entry).

    Raises
    ------
    CompileError
        With the log, if it does not compile.
    """
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "pyconv.cu", [], [])
    try:
        try:
            nvrtc.compileProgram(program, list(options))
        except nvrtc.NVRTCError as error:
            log = nvrtc.getProgramLog(program)
            raise CompileError(f"{error}\n{' '.join(options)}\n{log}") from error
        # CuPy takes the last byte for a terminator and drops it; it is a zero of the last
        # program header, without which nvdisasm refuses the file.
        cubin = bytes(nvrtc.getCUBIN(program)) + b"\0"
        return cubin, str(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)


@lru_cache(maxsize=1)
def _private_directory() -> Path:
    """Make a cache for this process alone, where the shared one cannot be written."""
    return Path(tempfile.mkdtemp(prefix="pyconv-cubin-"))


def cache_directory() -> Path:
    """Give the cubin cache: PYCONV_CACHE_DIR, or pyconv in the user's cache."""
    chosen = os.environ.get("PYCONV_CACHE_DIR")
    if chosen:
        directory = Path(chosen).expanduser() / "cubin"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        directory = Path(base).expanduser() / "pyconv" / "cubin"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _private_directory()
    return directory if os.access(directory, os.W_OK) else _private_directory()


def _write(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees a part of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _evict(directory: Path) -> None:
    """Drop the oldest cubins; another process may do the same at the same time."""
    aged: list[tuple[float, Path]] = []
    for path in directory.glob("*.cubin"):
        try:
            aged.append((path.stat().st_mtime, path))
        except OSError:
            continue
    aged.sort(reverse=True)
    for _, path in aged[MAX_CACHED_FILES:]:
        path.unlink(missing_ok=True)


def _place(source: str, options: tuple[str, ...]) -> Path:
    """Say where a text's cubin lies, if it is there."""
    return cache_directory() / f"{cubin_key(source, options)}.cubin"


def cached(source: str, options: tuple[str, ...]) -> Path | None:
    """Find a text's cubin in the cache; None if it is not there."""
    path = _place(source, options)
    return path if path.is_file() else None


def cubin_file(source: str, options: tuple[str, ...]) -> Path:
    """Find a text's cubin in the cache, or compile it into the cache."""
    path = _place(source, options)
    if path.is_file():
        return path
    cubin, _ = compile_cubin(source, options)
    try:
        _write(path, cubin)
    except OSError:  # a full or read-only disk must not stop the computation
        path = _private_directory() / path.name
        _write(path, cubin)
    _evict(path.parent)
    return path


class Loaded:
    """An entry point on a device, ready to launch.

    Parameters
    ----------
    module : cupy.RawModule
        That holds it.
    entry : str
        Its name.
    dynamic_bytes : int
        Shared memory that comes with each launch.
    """

    def __init__(self, module: Any, entry: str, dynamic_bytes: int) -> None:
        self._module = module
        kernel = module.get_function(entry)
        if dynamic_bytes > OPT_IN_BYTES:
            kernel.max_dynamic_shared_size_bytes = dynamic_bytes
        # The current device's own; read now, so that a bad file shows here.
        self._function = kernel.kernel
        self._dynamic_bytes = dynamic_bytes
        self._lock = threading.Lock()
        self._last: Any = None  # event after the launch that reads the constants

    def launch(self, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        """Launch on CuPy's current stream."""
        self._function((blocks,), (threads,), arguments, self._dynamic_bytes)

    def launch_with(
        self,
        constant: Constant,
        array: Any,
        blocks: int,
        threads: int,
        arguments: tuple[Any, ...],
    ) -> None:
        """Copy a part of an array to constant memory, then launch.

        A module has one constant memory for all streams: the copy waits for the launch
        before, whatever its stream.

        Raises
        ------
        RuntimeError
            If the stream is being captured: a graph cannot own constant memory.
        """
        import cupy

        stream = cupy.cuda.get_current_stream()
        if stream.is_capturing():
            raise RuntimeError(
                "weights in constant memory cannot be captured in a CUDA graph: "
                "choose another algorithm"
            )
        with self._lock:
            if self._last is None:
                self._last = cupy.cuda.Event(disable_timing=True)
            else:
                stream.wait_event(self._last)
            target = self._module.get_global(constant.symbol)
            target.copy_from_device_async(
                array.data + constant.first_byte, constant.byte_count, stream
            )
            self.launch(blocks, threads, arguments)
            self._last.record(stream)


@cache  # CuPy keeps the modules in any case
def load(
    source: str,
    options: tuple[str, ...],
    entry: str,
    device: int,
    dynamic_bytes: int = 0,
) -> Loaded:
    """Load an entry point onto a device.

    Returns
    -------
    Loaded
        Kept for the process's life, one for each device.
    """
    import cupy

    with cupy.cuda.Device(device):
        path = cubin_file(source, options)
        try:
            return Loaded(cupy.RawModule(path=str(path)), entry, dynamic_bytes)
        except (OSError, cupy.cuda.driver.CUDADriverError):
            path.unlink(missing_ok=True)  # damaged or evicted: compile once more
            path = cubin_file(source, options)
            return Loaded(cupy.RawModule(path=str(path)), entry, dynamic_bytes)
