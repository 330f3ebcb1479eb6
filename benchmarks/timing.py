"""Fair timing: contenders take turns, and each rests and warms up before its turn.

Why the rest: a thread pool that spins after its work (OpenMP's default for some 0.2 s,
ONNX Runtime's too) would otherwise steal the cores of whoever comes next. Why turns: a
clock that drifts, or a neighbour on the machine, then hits everyone alike. Caches are
warm on purpose: the same arrays, back to back, as in a running program.

Contenders of one library share its thread pool and cannot slow each other, so the rest
is between libraries; without `families` each contender counts as a library of its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Run = Callable[[], object]

REST_SECONDS = 0.25
LONG_SECONDS = 0.5


@dataclass(frozen=True)
class Sample:
    """Seconds per call: best, quartiles and median over `calls` timed samples.

    `round` is the best round's median: what a contender can do when nothing disturbs
    it, without resting on one lucky call.
    """

    round: float
    best: float
    first_quartile: float
    median: float
    third_quartile: float
    calls: int

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return asdict(self)


def summarise(rounds: list[list[float]]) -> Sample:
    """Order statistics of the times of every round."""
    seconds = [value for values in rounds for value in values]
    best_round = min(statistics.median(values) for values in rounds)
    if len(seconds) < 2:
        (only,) = seconds
        return Sample(only, only, only, only, only, 1)
    first, median, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return Sample(best_round, min(seconds), first, median, third, len(seconds))


def rest(seconds: float = REST_SECONDS) -> None:
    """Let spinning threads of the contender before fall asleep."""
    time.sleep(seconds)


def warm_up(run: Run, seconds: float) -> float:
    """Call until `seconds` have passed; returns the fastest call's seconds."""
    fastest = float("inf")
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        run()
        stop = time.perf_counter()
        fastest = min(fastest, stop - start)
        if stop >= end:
            return fastest


def one_turn(
    run: Run, *, turn_seconds: float, rest_seconds: float, fastest: float = 0.0
) -> list[float]:
    """Rest, warm up, then time calls for about `turn_seconds`: seconds per call.

    Calls shorter than 50 us are timed in loops, so that the clock does not show. A call
    known (`fastest`) to take LONG_SECONDS is not warmed up again: it does so by itself.
    """
    if rest_seconds:
        rest(rest_seconds)
    if fastest < LONG_SECONDS:
        fastest = warm_up(run, turn_seconds / 4)
    inner = max(1, int(50e-6 / max(fastest, 1e-9)))
    samples = max(1, min(200, int(turn_seconds / max(fastest * inner, 1e-9))))
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(inner):
            run()
        times.append((time.perf_counter() - start) / inner)
    return times


def alternate(
    contenders: Mapping[str, Run],
    *,
    rounds: int = 5,
    turn_seconds: float = 0.1,
    rest_seconds: float = REST_SECONDS,
    families: Mapping[str, str] | None = None,
    first_calls: Mapping[str, float] | None = None,
) -> dict[str, Sample]:
    """Time every contender in turn, `rounds` times over.

    Parameters
    ----------
    contenders
        Name to a call without arguments.
    rounds
        Turns each contender gets; every other round walks them backwards.
    turn_seconds
        Seconds of timed calls in a turn (at least one call).
    rest_seconds
        Sleep before each turn that follows one of another library.
    families
        Name to library; without it each contender is a library.
    first_calls
        Name to seconds of a call made before. One of LONG_SECONDS or more was warm-up
        enough.

    Returns
    -------
    dict of str to Sample
        Over all turns of a contender.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in contenders}
    known = {
        name: seconds
        for name, seconds in (first_calls or {}).items()
        if seconds >= LONG_SECONDS
    }
    before = None
    for index in range(rounds):
        names = list(contenders)
        for name in names if index % 2 == 0 else reversed(names):
            family = name if families is None else families[name]
            turn = one_turn(
                contenders[name],
                turn_seconds=turn_seconds,
                rest_seconds=0.0 if family == before else rest_seconds,
                fastest=known.get(name, 0.0),
            )
            times[name].append(turn)
            known[name] = min(value for values in times[name] for value in values)
            before = family if families is not None else None
    return {name: summarise(values) for name, values in times.items()}
