"""Which candidate is taken: the quickest of those that round as a usual batch's quickest.

How results are rounded is chosen for one batch size, one sample on the CPU, in one memory
order. Algorithms that round alike may be exchanged for each other freely; between the
others neither the batch nor the order of memory may decide, or it would show in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pyconv.problem import ConvProblem
from pyconv.protocols import Candidate, Problem

__all__ = ["quickest"]

Ask = Callable[[Problem], Sequence[Candidate]]


def quickest(
    problem: Problem, ask: Ask, keeps_weights: bool = False, usual_batch: int = 1
) -> Candidate | None:
    """Choose among what `ask` says of the problem; None where nothing can do it.

    A layer that keeps its packed weights does not count the packing.
    """
    able = [one for one in ask(problem) if one.supported]
    if not able:
        return None
    rounding = _rounding(problem, ask, keeps_weights, usual_batch)
    alike = [one for one in able if one.rounding == rounding] or able
    return min(alike, key=lambda one: _rank(one, keeps_weights))


def _rounding(problem: Problem, ask: Ask, keeps_weights: bool, usual_batch: int) -> str:
    """Choose how results are rounded."""
    if isinstance(problem, ConvProblem):
        problem = problem.sample()
    problem = replace(problem, n=usual_batch)
    able = [one for one in ask(problem) if one.supported]
    if not able:
        return ""
    return min(able, key=lambda one: _rank(one, keeps_weights)).rounding


def _rank(one: Candidate, keeps_weights: bool) -> tuple[bool, bool, float]:
    """Order candidates: cheapest first, the reference and its like last."""
    cost = one.cost_us if keeps_weights else one.cost_us + one.pack_us
    return one.rounding == "reference", one.name == "reference", cost
