"""profile(): run a call, and hold what it did against the model and the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np

from pyconv import _core
from pyconv.inspection import Explanation, explain
from pyconv.movement.ceilings import Ceilings, ceilings, l3_count
from pyconv.movement.counters import Count, count
from pyconv.movement.events import LEVELS
from pyconv.problem import DTYPES
from pyconv.protocols import Candidate

__all__ = ["LevelBytes", "Profile", "Times", "profile"]

LEAST_SAMPLE_SECONDS = 1e-4  # a shorter call is timed several times at once
MOST_SAMPLES = 1000
COLD_CALLS = 9
COUNTED_CALLS = 5
WRITTEN_BACK = (
    "filled lines only: lines that were written leave the cache again, uncounted"
)


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds of one call, over several.

    Parameters
    ----------
    median_us, low_us, high_us : float
        The median and the quartiles around it.
    samples : int
        How many there were.
    """

    median_us: float
    low_us: float
    high_us: float
    samples: int


@dataclass(frozen=True, slots=True)
class LevelBytes:
    """Bytes of one call that crossed into one level.

    Parameters
    ----------
    level : str
        "l1" (from L2), "l2" (from L3 or memory) or "dram" (from memory).
    predicted : int
        The model's, what is written back included.
    measured : Count
        Lines filled by the hardware's counters, caches empty before the call; written
        lines leave again uncounted. Or the reason why there is no figure.
    us : float
        How long the predicted bytes take at this machine's rate of the level.
    """

    level: str
    predicted: int
    measured: Count
    us: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What one call took and moved.

    Parameters
    ----------
    explanation : Explanation
        What the model says; `chosen` is what ran.
    warm, cold : Times
        Of calls in a row, and of calls with all caches emptied before each.
    flops : int
        Operations of the definition: two for each product.
    predicted_flops : int
        Operations that the algorithm executes, by the model.
    measured_flops : Count
        The same by the hardware's counters, or why there is no figure.
    levels : tuple of LevelBytes
        From L1 outwards.
    flops_us : float
        How long the executed operations take at this machine's rate.
    ceilings : Ceilings
        What the machine can do at most, measured in this process.
    """

    explanation: Explanation
    warm: Times
    cold: Times
    flops: int
    predicted_flops: int
    measured_flops: Count
    levels: tuple[LevelBytes, ...]
    flops_us: float
    ceilings: Ceilings

    @property
    def gflops(self) -> float:
        """Operations of the definition in a nanosecond, caches warm."""
        return self.flops / self.warm.median_us / 1e3

    @property
    def redundancy(self) -> float:
        """Bytes that the model moves into L1 for every compulsory byte."""
        return self.explanation.redundancy(self.explanation.chosen)

    @property
    def bound(self) -> str:
        """What takes longest at the machine's rates: "flops" or a level."""
        parts = {"flops": self.flops_us} | {one.level: one.us for one in self.levels}
        return max(parts, key=lambda name: parts[name])

    @property
    def bound_us(self) -> float:
        """How long that takes, if the model's bytes are right, from cold caches."""
        return max(self.flops_us, *(one.us for one in self.levels))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "explanation": self.explanation.to_dict(),
            "warm": asdict(self.warm),
            "cold": asdict(self.cold),
            "flops": self.flops,
            "predicted_flops": self.predicted_flops,
            "measured_flops": asdict(self.measured_flops),
            "levels": [asdict(one) for one in self.levels],
            "flops_us": self.flops_us,
            "gflops": self.gflops,
            "redundancy": self.redundancy,
            "bound": self.bound,
            "bound_us": self.bound_us,
            "ceilings": self.ceilings.to_dict(),
        }

    def to_json(self) -> str:
        """Return JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        told = self.explanation
        lines = [
            (
                f"{told.operation} by {told.chosen} on {told.device}, "
                f"{self.ceilings.isa}, {self.ceilings.threads} threads"
            ),
            _time_line("warm", self.warm),
            _time_line("cold", self.cold),
            (
                f"{self.gflops:.4g} GFLOP/s; bound by {self.bound}, "
                f"{self.bound_us:.4g} us from cold caches at this machine's rates; "
                f"the model's estimate {_chosen(told).cost_us:.4g} us"
            ),
            f"  {'':<8}{'compulsory':>12}{'predicted':>12}{'measured':>12}{'us':>10}",
            _row("MFLOP", self.flops, self.predicted_flops, self.measured_flops)
            + f"{self.flops_us:>10.4g}",
        ]
        lines += [
            _row(f"{one.level} MB", told.compulsory_bytes, one.predicted, one.measured)
            + f"{one.us:>10.4g}"
            for one in self.levels
        ]
        counted = {
            "flops": self.measured_flops,
            **{one.level: one.measured for one in self.levels},
        }
        reasons: dict[str, list[str]] = {}
        for name, one in counted.items():
            if one.value is None:
                reasons.setdefault(one.reason, []).append(name)
        lines += [
            f"  not measured ({', '.join(names)}): {reason}"
            for reason, names in reasons.items()
        ]
        if any(one.measured.value is not None for one in self.levels):
            lines.append(f"  measured bytes: {WRITTEN_BACK}")
        return "\n".join(lines)


def _time_line(name: str, times: Times) -> str:
    return (
        f"{name} {times.median_us:.4g} us ({times.low_us:.4g} to {times.high_us:.4g} "
        f"in the middle half of {times.samples})"
    )


def _row(name: str, least: float, predicted: float, measured: Count) -> str:
    counted = "-" if measured.value is None else f"{measured.value / 1e6:.4g}"
    return f"  {name:<8}{least / 1e6:>12.4g}{predicted / 1e6:>12.4g}{counted:>12}"


def _chosen(told: Explanation) -> Candidate:
    return next(one for one in told.candidates if one.name == told.chosen)


def _times(samples: list[float]) -> Times:
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return Times(median(samples) * 1e6, low * 1e6, high * 1e6, len(samples))


def _timed(run: Callable[[], object]) -> float:
    before = perf_counter()
    run()
    return perf_counter() - before


def _warm_times(run: Callable[[], object], seconds: float) -> Times:
    """Time calls in a row, several at once where one is too short for the clock."""
    run()
    once = _timed(run)
    together = max(1, int(LEAST_SAMPLE_SECONDS / max(once, 1e-7)))
    samples: list[float] = []
    end = perf_counter() + seconds
    while len(samples) < 3 or (perf_counter() < end and len(samples) < MOST_SAMPLES):
        before = perf_counter()
        for _ in range(together):
            run()
        samples.append((perf_counter() - before) / together)
    return _times(samples)


def _evictor() -> Callable[[], object]:
    """Make what empties every cache: each thread reads its part of other memory."""
    host = _core.machine()
    threads = _core.get_num_threads()
    size = 2 * max(host["l3_bytes"] * l3_count(), 2 * host["l2_bytes"] * threads)
    memory = np.ones(size // 4, np.float32)
    return partial(_core.load_sweep, memory)


def profile(
    function: Callable[..., Any], *args: Any, seconds: float = 0.2, **kwargs: Any
) -> Profile:
    """Run a call and report its time, and bytes and operations, predicted and counted.

    Parameters
    ----------
    function : callable
        What `explain` takes: a convolution, a pooling, a gradient, a layer ...
    *args, **kwargs
        Its arguments, on the CPU.
    seconds : float
        How long the call is repeated while it is timed. The counters' passes and the
        calls from empty caches come on top of it, and the ceilings the first time.

    Returns
    -------
    Profile
        Prints as a table. Figures that the system or the processor does not give are
        replaced by the reason.

    Raises
    ------
    TypeError, ValueError
        What `explain` and the call itself raise; NotImplementedError for arrays on a
        GPU.

    Notes
    -----
    Counters are read through perf_event_open for the caller and the threads of the pool;
    other work of the process on these threads is counted as well.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, w = np.ones((1, 8, 32, 32), np.float32), np.ones((8, 8, 3, 3), np.float32)
    >>> told = pc.profile(pc.conv2d, x, w, padding=1, seconds=0.01)
    >>> told.flops, told.bound in ("flops", "l1", "l2", "dram")
    (1179648, True)
    """
    told = explain(function, *args, **kwargs)
    if told.device != "cpu":
        raise NotImplementedError(
            f"profile() measures calls on the CPU; this one would run on {told.device}"
        )
    limits = ceilings()
    run = partial(function, *args, **kwargs)
    warm = _warm_times(run, seconds)
    evict = _evictor()
    cold = []
    for _ in range(COLD_CALLS):
        evict()
        cold.append(_timed(run))
    counted = count(run, COUNTED_CALLS, evict)
    chosen = _chosen(told)
    wide = told.problem.dtype == DTYPES["float64"]
    return Profile(
        explanation=told,
        warm=warm,
        cold=_times(cold),
        flops=told.problem.flops,
        predicted_flops=chosen.flops,
        measured_flops=counted["flops"],
        levels=tuple(
            LevelBytes(
                level,
                chosen.bytes[level],
                counted[level],
                chosen.bytes[level] / limits.bytes_a_second(level) * 1e6,
            )
            for level in LEVELS
        ),
        flops_us=chosen.flops / limits.flops["float64" if wide else "float32"] * 1e6,
        ceilings=limits,
    )
