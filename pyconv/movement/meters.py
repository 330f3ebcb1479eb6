"""How calls are timed and counted on each device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from pyconv import _core
from pyconv.backends import cuda_backend
from pyconv.movement.ceilings import Ceilings, ceilings, l3_count
from pyconv.movement.counters import Count, count
from pyconv.movement.events import QUANTITIES

__all__ = ["CpuMeter", "GpuMeter", "Meter", "meter_of"]

Run = Callable[[], object]

LEAST_SAMPLE_SECONDS = 1e-4  # a shorter call is timed several times at once
MOST_SAMPLES = 1000
COLD_CALLS = 9
COUNTED_CALLS = 5
MOST_QUEUED = 200  # calls between two events


class Meter(Protocol):
    """Times and counts calls on one device."""

    def ceilings(self) -> Ceilings:
        """Measure what the device can do at most."""
        ...

    def warm(self, run: Run, seconds: float) -> list[float]:
        """Time calls in a row: seconds of each sample."""
        ...

    def cold(self, run: Run) -> list[float]:
        """Time calls with all caches emptied before each."""
        ...

    def count(self, run: Run) -> dict[str, Count]:
        """Count operations and bytes of a call, caches empty before it."""
        ...


def _warm(
    time: Callable[[int], float], once: float, seconds: float, most: int
) -> list[float]:
    """Time calls in a row, several at once where one is too short for the clock.

    `time` takes how many and gives the seconds of each.
    """
    together = min(most, max(1, int(LEAST_SAMPLE_SECONDS / max(once, 1e-7))))
    samples: list[float] = []
    end = perf_counter() + seconds
    while len(samples) < 3 or (perf_counter() < end and len(samples) < MOST_SAMPLES):
        samples.append(time(together))
    return samples


class CpuMeter:
    """The host's clock, and the processor's counters."""

    def __init__(self) -> None:
        self._evict: Run | None = None

    def ceilings(self) -> Ceilings:
        """Measure the instruction set in use on all threads."""
        return ceilings()

    def warm(self, run: Run, seconds: float) -> list[float]:
        """Time calls in a row: seconds of each sample."""

        def time(calls: int) -> float:
            before = perf_counter()
            for _ in range(calls):
                run()
            return (perf_counter() - before) / calls

        run()
        return _warm(time, time(1), seconds, 1 << 30)

    def cold(self, run: Run) -> list[float]:
        """Time calls with all caches emptied before each."""
        evict = self._evictor()
        samples = []
        for _ in range(COLD_CALLS):
            evict()
            before = perf_counter()
            run()
            samples.append(perf_counter() - before)
        return samples

    def count(self, run: Run) -> dict[str, Count]:
        """Count operations and bytes of a call, caches empty before it."""
        return count(run, COUNTED_CALLS, self._evictor())

    def _evictor(self) -> Run:
        """Make what empties every cache: each thread reads its part of other memory.

        That memory is made once for a meter: its pages cost more than the reading.
        """
        if self._evict is None:
            host = _core.machine()
            own = 2 * host["l2_bytes"] * _core.get_num_threads()
            size = max(5 * host["l3_bytes"] * l3_count() // 4, 2 * own)
            memory = np.ones(size // 4, np.float32)
            self._evict = partial(_core.load_sweep, memory)
        return self._evict


class GpuMeter:
    """Events on the current stream; the counters are Nsight Compute's."""

    NOT_COUNTED = "Nsight Compute counts on a GPU: python -m pyconv profile --ncu"

    def __init__(self) -> None:
        self._measuring: Any = cuda_backend().measuring

    def ceilings(self) -> Ceilings:
        """Measure the current device."""
        return ceilings(device="cuda")

    def warm(self, run: Run, seconds: float) -> list[float]:
        """Time calls in a row: seconds of each sample, on the device alone."""
        run()  # compiled, loaded, memory in the pool
        time = self._measuring.seconds_of
        return _warm(lambda calls: time(run, calls), time(run), seconds, MOST_QUEUED)

    def cold(self, run: Run) -> list[float]:
        """Time calls with L2 filled with other memory before each."""
        evict = self._measuring.evictor()
        samples = []
        for _ in range(COLD_CALLS):
            evict()
            samples.append(self._measuring.seconds_of(run))
        return samples

    def count(self, run: Run) -> dict[str, Count]:
        """Say who counts."""
        del run
        return dict.fromkeys(QUANTITIES, Count(None, self.NOT_COUNTED))


def meter_of(device: str) -> Meter:
    """Find what times calls on a device."""
    return GpuMeter() if device == "cuda" else CpuMeter()
