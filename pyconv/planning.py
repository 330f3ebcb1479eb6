"""From a problem to a plan: every algorithm is asked, the cheapest that can is taken.

Plans depend on the problem, the algorithm asked for, the device and its instruction set,
never on array contents or the thread count, and are kept in a bounded cache.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

from pyconv.errors import UnsupportedAlgorithm
from pyconv.protocols import Backend, Candidate, Problem
from pyconv.selection import quickest

__all__ = ["Choice", "candidates", "choose", "plan_cache_info"]


class Choice(NamedTuple):
    """A plan and the candidate it was made from."""

    plan: Any
    candidate: Candidate


@lru_cache(maxsize=512)
def _candidates(
    problem: Problem, backend: Backend, variant: str
) -> tuple[Candidate, ...]:
    """Ask every algorithm once; `variant` is part of the key."""
    del variant
    return tuple(backend.candidates(problem))


def _at_least_one(problem: Problem) -> Problem:
    """Plan an empty batch like a single sample: models divide by the batch."""
    return problem if problem.n > 0 else replace(problem, n=1)


def candidates(
    problem: Problem, backend: Backend, keeps_weights: bool = False
) -> tuple[Candidate, ...]:
    """List every algorithm's answer about the problem, in registry order.

    A layer that keeps its packed weights is told what that changes.
    """
    found = _candidates(_at_least_one(problem), backend, backend.variant())
    return tuple(one.of_layer or one for one in found) if keeps_weights else found


def pick(
    problem: Problem, backend: Backend, algorithm: str, keeps_weights: bool = False
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Choose among the candidates; UnsupportedAlgorithm with every reason if none can.

    A layer that keeps its packed weights does not count the packing.
    """
    ask = partial(candidates, backend=backend, keeps_weights=keeps_weights)
    found = ask(problem)
    if algorithm == "auto":
        best = quickest(problem, ask, keeps_weights, backend.usual_batch)
        if best is None:
            raise UnsupportedAlgorithm(
                f"no {backend.name} algorithm can do this:{_reasons(found)}"
            )
        return best, found
    for one in found:
        if one.name == algorithm:
            if one.supported:
                return one, found
            raise UnsupportedAlgorithm(
                f"algorithm={algorithm!r} cannot do this: {one.reason}. "
                f"The others:{_reasons(o for o in found if o is not one)}"
            )
    names = ", ".join(repr(one.name) for one in found)
    raise UnsupportedAlgorithm(
        f"algorithm must be 'auto' or one of {names}, got {algorithm!r:.60}"
    )


def _reasons(found: Any) -> str:
    """One line per candidate."""
    return "".join(f"\n  {one.name}: {one.reason or 'can do it'}" for one in found)


@lru_cache(maxsize=512)
def _choose(
    problem: Problem,
    backend: Backend,
    algorithm: str,
    keeps_weights: bool,
    variant: str,
) -> Choice:
    """Plan once; `variant` is part of the key."""
    del variant
    candidate, _ = pick(problem, backend, algorithm, keeps_weights)
    return Choice(backend.plan(problem, candidate.name), candidate)


def choose(
    problem: Problem, backend: Backend, algorithm: str, keeps_weights: bool = False
) -> Choice:
    """Return the plan for a problem, from the cache where it has been made before."""
    return _choose(
        _at_least_one(problem), backend, algorithm, keeps_weights, backend.variant()
    )


def plan_cache_info() -> dict[str, int]:
    """Count the plans held, the bound, hits and misses."""
    info = _choose.cache_info()
    return {
        "entries": info.currsize,
        "limit": info.maxsize or 0,
        "hits": info.hits,
        "misses": info.misses,
    }
