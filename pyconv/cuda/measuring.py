"""Timing calls on a GPU by events, and what the GPU can do at most.

A launch takes the host longer than a short kernel runs. So a spinning kernel keeps the
device busy while calls are queued behind it, and the events around them see the device's
time alone.
"""

# ruff: noqa: PLC0415 - CuPy is imported only where a GPU is used

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np

from pyconv.cuda import device, module
from pyconv.cuda.source import flatten

__all__ = ["ENTRIES", "FILE", "evictor", "mark", "name", "rates", "seconds_of", "spin"]

FILE = "measure/ceilings.cuh"
THREADS = 256  # these six as in the file
CHAINS = 8
STEPS = 32
LOADS = 16
BLOCKS_A_PROCESSOR = 8
ROUNDS = 512  # of a loop whose bytes do not bound it

ENTRIES = (
    "pyconv_peak_float32",
    "pyconv_peak_float64",
    "pyconv_load_shared",
    "pyconv_load_global",
    "pyconv_store_global",
    "pyconv_copy_global",
    "pyconv_spin",
    "pyconv_marker",
)
SAMPLES = 7
L2_SHARE = 0.25  # of L2: far from what another stream could push out
MEMORY_BYTES = 1 << 30  # or an eighth of what is free
SPIN_CYCLES = 200_000  # about 100 us for each queued call


@lru_cache(maxsize=64)
def _kernel(entry: str, number: int) -> module.Loaded:
    """Compile and load one of the file's entry points."""
    options = module.options_for(device.architecture(number), 64)
    return module.load(flatten((FILE,)), options, entry, number)


def _launch(entry: str, blocks: int, *arguments: Any) -> None:
    """Launch on the current device and stream."""
    threads = 1 if entry in ("pyconv_spin", "pyconv_marker") else THREADS
    _kernel(entry, device.current_device()).launch(blocks, threads, arguments)


def name() -> str:
    """Name the current device."""
    import cupy

    found = cupy.cuda.runtime.getDeviceProperties(device.current_device())["name"]
    return found.decode() if isinstance(found, bytes) else str(found)


def mark() -> None:
    """Launch an empty kernel, to be found between others."""
    _launch("pyconv_marker", 1)


def spin(cycles: int) -> None:
    """Keep the device busy for some cycles of its clock."""
    _launch("pyconv_spin", 1, np.int64(cycles))


def seconds_of(run: Callable[[], object], calls: int = 1) -> float:
    """Seconds that one of several calls in a row takes on the device.

    Parameters
    ----------
    run : callable
        Launches on the current stream.
    calls : int
        How many are queued between two events.
    """
    import cupy

    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    spin(SPIN_CYCLES * calls)
    start.record()
    for _ in range(calls):
        run()
    stop.record()
    stop.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, stop)) * 1e-3 / calls


def _attribute(attribute: str) -> int:
    """Ask the driver about the current device."""
    import cupy

    return int(cupy.cuda.Device().attributes[attribute])


def evictor() -> Callable[[], object]:
    """Make what empties L2: other memory is read into it, twice its size.

    Read, not written: lines that have to be written back would hold the next call up.
    """
    import cupy

    memory = cupy.zeros(2 * _attribute("L2CacheSize") // 16 * 4, cupy.float32)
    sink = cupy.zeros(1, cupy.float32)
    vectors = np.int64(memory.size // 4)
    blocks = BLOCKS_A_PROCESSOR * _attribute("MultiProcessorCount")

    def evict() -> None:
        _launch("pyconv_load_global", blocks, memory, sink, vectors, np.int32(1))

    return evict


def rates() -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Measure what the current device can do at most.

    Returns
    -------
    (dict, dict)
        Floating-point operations a second by element type, a multiply-add counting two;
        and bytes a second by where the data lies ("l1", which is shared memory, "l2",
        "memory") and what is done ("load", "store", "copy", of which half are read and
        half written).
    """
    import cupy

    blocks = BLOCKS_A_PROCESSOR * _attribute("MultiProcessorCount")
    count = blocks * THREADS
    free, _ = cupy.cuda.Device().mem_info
    l2_bytes = _attribute("L2CacheSize")
    half = min(MEMORY_BYTES, max(2 * l2_bytes, free // 8)) // 16 * 16
    # From a pool of their own, which goes with them.
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        source = cupy.zeros(half // 4, cupy.float32)
        target = cupy.empty_like(source)
    sink = cupy.zeros(2, cupy.float64)
    from_l2 = int(L2_SHARE * l2_bytes) // 16
    from_memory = half // 16
    rounds = np.int32(ROUNDS)
    sweeps = max(1, half // 4 // (16 * from_l2))

    def best(entry: str, *arguments: Any) -> float:
        def run() -> None:
            _launch(entry, blocks, *arguments)

        run()
        return median(seconds_of(run) for _ in range(SAMPLES))

    products = 2 * count * CHAINS * STEPS * ROUNDS
    flops = {
        kind: products / best(f"pyconv_peak_{kind}", sink, rounds, one(0.5), one(0.25))
        for kind, one in (("float32", np.float32), ("float64", np.float64))
    }
    shared = 16 * count * LOADS * ROUNDS / best("pyconv_load_shared", sink, rounds)
    l2 = 16 * from_l2 * sweeps
    load = "pyconv_load_global"
    bandwidth = {
        "l1": {"load": shared},
        "l2": {
            "load": l2 / best(load, source, sink, np.int64(from_l2), np.int32(sweeps))
        },
        "memory": {
            "load": half / best(load, source, sink, np.int64(from_memory), np.int32(1)),
            "store": half / best("pyconv_store_global", target, np.int64(from_memory)),
            "copy": 2
            * half
            / best("pyconv_copy_global", source, target, np.int64(from_memory)),
        },
    }
    return flops, bandwidth
