"""What the compiled module offers for each operation: algorithms, answers, plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pyconv import _core
from pyconv.protocols import Candidate, Problem

__all__ = ["PLANS", "Host", "algorithms", "candidates", "plan"]

PLANS = (
    _core.ConvPlan,
    _core.InputPlan,
    _core.WeightPlan,
    _core.PoolPlan,
    _core.PoolGradPlan,
    _core.UnaryPlan,
)


Host = tuple[int, int, int, int]


class _Operation(NamedTuple):
    """The functions of one operation."""

    algorithms: Callable[[], tuple[tuple[str, str], ...]]
    candidates: Callable[..., Sequence[Any]]
    plan: Callable[[bytes, str], Any]


def _unary(operation: str) -> _Operation:
    """Look an operation that makes one array of one other up by its name."""
    return _Operation(
        partial(_core.unary_algorithms, operation),
        partial(_core.unary_candidates, operation),
        partial(_core.unary_plan, operation),
    )


_OPERATIONS = {
    "conv": _Operation(_core.conv_algorithms, _core.conv_candidates, _core.conv_plan),
    "conv_input": _Operation(
        _core.input_algorithms, _core.input_candidates, _core.input_plan
    ),
    "conv_weight": _Operation(
        _core.weight_algorithms, _core.weight_candidates, _core.weight_plan
    ),
    "pool_grad": _Operation(
        _core.pool_grad_algorithms, _core.pool_grad_candidates, _core.pool_grad_plan
    ),
    "pool": _Operation(_core.pool_algorithms, _core.pool_candidates, _core.pool_plan),
    "conv_bias": _unary("conv_bias"),
    "im2col": _unary("im2col"),
    "col2im": _unary("col2im"),
}


def algorithms(operation: str) -> tuple[tuple[str, str], ...]:
    """List (name, summary), in registry order."""
    return _OPERATIONS[operation].algorithms()


def candidates(problem: Problem, host: Host | None = None) -> list[Candidate]:
    """Ask every compiled algorithm about a problem, here or on another machine.

    `host` is the other machine's cores, and bytes of its L1, L2 and L3.
    """
    asked = _OPERATIONS[problem.operation].candidates
    record = problem.to_record().tobytes()
    return [_candidate(one) for one in asked(record, host=host)]


def _candidate(facts: Mapping[str, Any]) -> Candidate:
    """Read one algorithm's answer, and its answer to a layer within it."""
    of_layer = facts["of_layer"]
    within = None if of_layer is None else _candidate(of_layer)
    return Candidate(**{**facts, "of_layer": within})


def plan(problem: Problem, algorithm: str) -> Any:
    """Plan a problem with a named compiled algorithm."""
    return _OPERATIONS[problem.operation].plan(problem.to_record().tobytes(), algorithm)
