"""profile(): run a call, and hold what it did against the model and the machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median, quantiles
from typing import Any

from pyconv.inspection import Explanation, explain
from pyconv.movement import ncu
from pyconv.movement.ceilings import Ceilings
from pyconv.movement.counters import Count
from pyconv.movement.events import LEVELS
from pyconv.movement.meters import meter_of
from pyconv.problem import DTYPES
from pyconv.protocols import Candidate

__all__ = ["LevelBytes", "Profile", "Times", "profile"]

# What the measured bytes are, by device.
COUNTED = {
    "cpu": "filled lines only: lines that were written leave the cache again, uncounted",
    "cuda": "by Nsight Compute, every launch alone, from empty caches",
}


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
    """Bytes of one call that crossed into one level, or on a GPU out of it.

    Parameters
    ----------
    level : str
        "l1" (from L2), "l2" (from L3 or memory) or "dram" (from memory); on a GPU "l1"
        (out of L1 and shared memory), "l2" (out of L2) or "dram".
    predicted : int
        The model's, what is written back included.
    measured : Count
        By the hardware's counters, caches empty before the call; or the reason why there
        is no figure. On a CPU lines filled: written ones leave again uncounted.
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
    flops_us : float or None
        How long the executed operations take at this machine's rate; None where that
        was not measured: for integers on a GPU, and where no instruction is theirs.
    ceilings : Ceilings
        What the machine can do at most, measured in this process.
    launches : tuple of ncu.Launch
        On a GPU what Nsight Compute counted, launch by launch; empty unless it was asked.
    """

    explanation: Explanation
    warm: Times
    cold: Times
    flops: int
    predicted_flops: int
    measured_flops: Count
    levels: tuple[LevelBytes, ...]
    flops_us: float | None
    ceilings: Ceilings
    launches: tuple[ncu.Launch, ...] = ()

    @property
    def gflops(self) -> float:
        """Operations of the definition in a nanosecond, caches warm."""
        return self.flops / self.warm.median_us / 1e3

    @property
    def predicted_us(self) -> float:
        """The model's estimate of one call, packing included."""
        chosen = _chosen(self.explanation)
        return chosen.cost_us + chosen.pack_us

    @property
    def redundancy(self) -> float:
        """Bytes that the model moves into L1 for every compulsory byte."""
        return self.explanation.redundancy(self.explanation.chosen)

    @property
    def _parts(self) -> dict[str, float]:
        """How long operations, where known, and each level's bytes take."""
        parts = {one.level: one.us for one in self.levels}
        return parts if self.flops_us is None else {"flops": self.flops_us, **parts}

    @property
    def bound(self) -> str:
        """What takes longest at the machine's rates: "flops" or a level."""
        parts = self._parts
        return max(parts, key=lambda name: parts[name])

    @property
    def bound_us(self) -> float:
        """How long that takes, if the model's bytes are right, from cold caches."""
        return max(self._parts.values())

    def counted(self, launches: Sequence[ncu.Launch]) -> Profile:
        """Put in what Nsight Compute counted of the same call."""
        counts = ncu.totals(launches)
        return replace(
            self,
            measured_flops=counts["flops"],
            levels=tuple(
                replace(one, measured=counts[one.level]) for one in self.levels
            ),
            launches=tuple(launches),
        )

    def not_counted(self, reason: str) -> Profile:
        """Say why Nsight Compute counted nothing."""
        none = Count(None, reason)
        return replace(
            self,
            measured_flops=none,
            levels=tuple(replace(one, measured=none) for one in self.levels),
        )

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
            "launches": [asdict(one) for one in self.launches],
        }

    def to_json(self) -> str:
        """Return JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        told = self.explanation
        lines = [
            (
                f"{told.operation} by {told.chosen} on {told.device}, "
                f"{self.ceilings.title}"
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
            + (f"{'-':>10}" if self.flops_us is None else f"{self.flops_us:>10.4g}"),
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
            lines.append(f"  measured bytes: {COUNTED[told.device]}")
        lines += [f"  {_launch_line(one)}" for one in self.launches]
        return "\n".join(lines)


def _launch_line(one: ncu.Launch) -> str:
    """Write a launch's time, and how busy its pipes were."""
    pipes = ", ".join(
        f"{name} pipe {percent:.3g} %"
        for name, percent in (("FMA", one.fma_percent), ("tensor", one.tensor_percent))
        if percent is not None
    )
    return f"{one.kernel}: {one.us:.4g} us alone from empty caches, {pipes}"


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


def _rate(told: Explanation, limits: Ceilings) -> float | None:
    """Give the arithmetic's ceiling for a call; None where none was measured."""
    names = {code: name for name, code in DTYPES.items()}
    kind = names[told.problem.dtype].removeprefix("u")  # bytes with and without signs
    if "int" in kind or told.chosen == "dot_product":
        return limits.flops.get(kind)
    # Halves are summed in float32, complex numbers in what they are pairs of.
    return limits.flops["float64" if kind in ("float64", "complex128") else "float32"]


def profile(
    function: Callable[..., Any], *args: Any, seconds: float = 0.2, **kwargs: Any
) -> Profile:
    """Run a call and report its time, and bytes and operations, predicted and counted.

    Parameters
    ----------
    function : callable
        What `explain` takes: a convolution, a pooling, a gradient, a layer ...
    *args, **kwargs
        Its arguments: NumPy arrays, or CuPy's.
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
        What `explain` and the call itself raise.

    Notes
    -----
    On a CPU, counters are read through perf_event_open for the caller and the threads of
    the pool; other work of the process on these threads is counted as well. On a GPU,
    events take the time on the current stream, where transfers count too if NumPy arrays
    are lent to the GPU, and Nsight Compute counts: ``python -m pyconv profile --ncu``.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, w = np.ones((1, 8, 32, 32), np.float32), np.ones((8, 8, 3, 3), np.float32)
    >>> told = pc.profile(pc.conv2d, x, w, padding=1, seconds=0.01)
    >>> told.flops, told.bound in ("flops", "l1", "l2", "dram")
    (1179648, True)
    """
    told = explain(function, *args, **kwargs)
    meter = meter_of(told.device)
    limits = meter.ceilings()
    run = partial(function, *args, **kwargs)
    warm = meter.warm(run, seconds)
    cold = meter.cold(run)
    counted = meter.count(run)
    chosen = _chosen(told)
    rate = _rate(told, limits)
    return Profile(
        explanation=told,
        warm=_times(warm),
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
        flops_us=None if rate is None else chosen.flops / rate * 1e6,
        ceilings=limits,
    )
