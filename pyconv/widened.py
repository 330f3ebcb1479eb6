"""Halves and small integers by way of floats: widen, run, narrow.

The arrays are widened into scratch, the quickest float algorithm runs there, and its
result is rounded once on the way out: sums of halves are float32's, whatever makes a
float32 convolution or pooling fast makes these fast, and integers (of which only maxima
are taken this way) are exact. What it costs is two passes more through memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import _core, compiled
from pyconv.problem import (
    DTYPES,
    FLOATS,
    Col2imProblem,
    ConvProblem,
    Im2colProblem,
    PoolProblem,
    Triple,
)
from pyconv.protocols import Candidate, Problem
from pyconv.selection import quickest

__all__ = [
    "NAME",
    "OPERATIONS",
    "SUMMARY",
    "WidenedPlan",
    "candidate",
    "inner_problem",
    "plan",
]

NAME = "widened"
SUMMARY = (
    "halves and integers widened to floats, the quickest float algorithm, narrowed"
)
OPERATIONS = (
    "conv_weight",
    "conv_bias",
    "im2col",
    "col2im",
    "pool",
    "pool_grad",
)

# Widening or narrowing one element, on all cores, in nanoseconds: measured from L3.
ELEMENT_NS = 0.3
CALL_US = 60.0  # of several calls into the compiled module

Array = NDArray[Any]

_C_ORDER = (4, 3, 2, 1, 0)  # pitches that fall from axis to axis
_HALVES = tuple(DTYPES[name] for name in FLOATS if name.endswith("16"))
# Integers that a float holds exactly.
_WIDE = {
    **dict.fromkeys(_HALVES, "float32"),
    **dict.fromkeys(
        (DTYPES[f"{u}int{b}"] for u in ("", "u") for b in (8, 16)), "float32"
    ),
    **dict.fromkeys((DTYPES["int32"], DTYPES["uint32"]), "float64"),
}


def _order(pitches: tuple[int, ...]) -> tuple[int, ...]:
    """List five axes from slowest to fastest."""
    return tuple(sorted(range(5), key=lambda axis: -abs(pitches[axis])))


def _dense(extents: tuple[int, ...], pitches: tuple[int, ...]) -> Any:
    """Pitches of an array without gaps whose axes lie in the same order."""
    steps, step = [0] * 5, 1
    for axis in reversed(_order(pitches)):
        steps[axis] = step
        step *= max(extents[axis], 1)
    return tuple(steps)


def _shapes(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Extents of x and of y with five axes."""
    filters = problem.k if isinstance(problem, ConvProblem) else problem.c
    return (problem.n, problem.c, *problem.input), (problem.n, filters, *problem.output)


def _weight_shape(problem: ConvProblem) -> tuple[int, ...]:
    """Extents of the weight with five axes."""
    kernel: Triple = problem.kernel
    return (problem.k, problem.c // problem.groups, *kernel)


def inner_problem(problem: Problem) -> Any:
    """Describe the same in floats, over arrays without gaps."""
    code = DTYPES[_WIDE[problem.dtype]]
    x, y = _shapes(problem)
    changes: dict[str, Any] = {
        "dtype": code,
        "x_pitch": _dense(x, problem.x_pitch),
        "y_pitch": _dense(y, problem.y_pitch),
    }
    if isinstance(problem, ConvProblem):
        changes["weight_dtype"] = code
        changes["w_pitch"] = _dense(_weight_shape(problem), problem.w_pitch)
    if isinstance(problem, Im2colProblem):  # matrices of columns have axes of their own
        changes["y_pitch"] = _dense(y, _C_ORDER)
    if isinstance(problem, Col2imProblem):
        changes["x_pitch"] = _dense(x, _C_ORDER)
    return replace(problem, **changes)


def _elements(problem: Problem) -> int:
    """Count the elements that are widened or narrowed."""
    x, y = _shapes(problem)
    count = prod(x) + prod(y)
    if isinstance(problem, ConvProblem):
        count += prod(_weight_shape(problem)) + prod(y) * problem.has_residual
    return count


def _reason(problem: Problem) -> str:
    """Say why it refuses, or ""."""
    if problem.dtype not in _WIDE:
        return "float16, bfloat16 and, for maxima, integers of up to 32 bits only"
    if isinstance(problem, PoolProblem) or problem.dtype in _HALVES:
        return ""
    return "sums of integers are not exact in floats"


def candidate(problem: Problem) -> Candidate:
    """Judge the detour on a problem."""
    reason, inner = _reason(problem), None
    if not reason:
        inner = quickest(inner_problem(problem), compiled.candidates)
        reason = "" if inner else "no float algorithm can do this"
    if inner is None:
        nothing = dict.fromkeys(("l1", "l2", "dram"), 0)
        return Candidate(NAME, SUMMARY, NAME, reason, 0.0, 0.0, 0, 0, nothing)
    elements = _elements(problem)
    wide = np.dtype(_WIDE[problem.dtype]).itemsize
    passed = elements * (problem.itemsize + wide)
    # What is widened stays in the last cache as long as it fits there.
    moved = {"l1": passed, "l2": passed, "dram": 0}
    return Candidate(
        name=NAME,
        summary=SUMMARY,
        rounding=NAME,
        reason="",
        cost_us=CALL_US + inner.cost_us + elements * ELEMENT_NS / 1e3,
        pack_us=inner.pack_us,
        workspace_bytes=inner.workspace_bytes + elements * wide,
        flops=inner.flops,
        bytes={level: inner.bytes[level] + moved[level] for level in moved},
    )


@dataclass(frozen=True)
class WidenedPlan:
    """A float plan, and the arrays' types and memory orders around it."""

    problem: Problem
    inner_problem: Problem
    inner: Any
    workspace_bytes: int
    algorithm: str = NAME

    @property
    def isa(self) -> str:
        """Instruction set of the float plan."""
        name: str = self.inner.isa
        return name

    @property
    def blocking(self) -> dict[str, int]:
        """The float plan's."""
        numbers: dict[str, int] = self.inner.blocking
        return numbers

    def _empty(self, shape: tuple[int, ...], pitches: tuple[int, ...]) -> Array:
        """Allocate floats whose axes lie in an order."""
        return _core.empty(shape, _order(pitches), _WIDE[self.problem.dtype])

    def _widened(self, a: Array | None, pitches: tuple[int, ...]) -> Any:
        """Widen an array into one without gaps."""
        if a is None:
            return None
        target = self._empty(a.shape, pitches)
        _core.widen(self.problem.dtype, a, target)
        return target

    def _narrow(self, a: Array, target: Array) -> None:
        """Write a result where it belongs, rounded."""
        _core.narrow(self.problem.dtype, a, target)

    def run_weight(self, x: Array, grad: Array, weight: Array) -> None:
        """Run a weight gradient on five-axis views."""
        problem = self.problem
        assert isinstance(problem, ConvProblem)
        wide = self._empty(weight.shape, problem.w_pitch)
        _core.weight_run(
            self.inner,
            self._widened(x, problem.x_pitch),
            self._widened(grad, problem.y_pitch),
            wide,
        )
        self._narrow(wide, weight)

    def run_unary(self, source: Array, target: Array) -> None:
        """Run an operation that makes `target` of `source`."""
        problem = self.problem
        if isinstance(problem, Col2imProblem):
            wide = _core.empty(source.shape, None, _WIDE[problem.dtype])
            _core.widen(problem.dtype, source, wide)
        elif isinstance(problem, Im2colProblem):
            wide = self._widened(source, problem.x_pitch)
        else:  # the gradient of a bias
            wide = self._widened(source, problem.y_pitch)
        result = _core.empty(target.shape, None, _WIDE[problem.dtype])
        _core.unary_run(self.inner, wide, result)
        self._narrow(result, target)

    def run_pool(self, x: Array, y: Array, indices: Any) -> None:
        """Run a pooling on five-axis views."""
        problem = self.problem
        wide = self._empty(y.shape, problem.y_pitch)
        _core.pool_run(self.inner, self._widened(x, problem.x_pitch), wide, indices)
        self._narrow(wide, y)

    def run_pool_grad(
        self, grad: Array, indices: Any, x: Any, y: Any, dx: Array
    ) -> None:
        """Run a pooling's gradient on five-axis views."""
        problem = self.problem
        if indices is not None and self.inner_problem.y_pitch != problem.y_pitch:
            beside = _core.empty(grad.shape, _order(problem.y_pitch), np.int64)
            beside[...] = indices
            indices = beside
        wide = self._empty(dx.shape, problem.x_pitch)
        _core.pool_grad_run(
            self.inner,
            self._widened(grad, problem.y_pitch),
            indices,
            self._widened(x, problem.x_pitch),
            self._widened(y, problem.y_pitch),
            wide,
        )
        self._narrow(wide, dx)


def plan(problem: Problem) -> WidenedPlan:
    """Plan a problem that `candidate` took."""
    single = inner_problem(problem)
    inner = quickest(single, compiled.candidates)
    assert inner is not None, "candidate() was not asked"
    return WidenedPlan(
        problem=problem,
        inner_problem=single,
        inner=compiled.plan(single, inner.name),
        workspace_bytes=candidate(problem).workspace_bytes,
    )
