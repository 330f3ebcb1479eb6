"""The CPU backend: one language border, crossed once a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from pyconv import _core, fft
from pyconv.problem import ConvProblem
from pyconv.protocols import Candidate, Problem

__all__ = ["CPU", "CpuBackend"]


class _Operation(NamedTuple):
    """What the compiled module offers for one operation."""

    algorithms: Callable[[], tuple[tuple[str, str], ...]]
    candidates: Callable[[bytes], Sequence[Any]]
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


class CpuBackend:
    """The compiled kernels of pyconv._core."""

    name = "cpu"

    def variant(self) -> str:
        """Name the instruction set in use."""
        return _core.active_isa()

    def algorithms(self, operation: str) -> Sequence[tuple[str, str]]:
        """List (name, summary), in registry order."""
        own = _OPERATIONS[operation].algorithms()
        return (*own, (fft.NAME, fft.SUMMARY)) if operation == "conv" else own

    def candidates(self, problem: Problem) -> list[Candidate]:
        """Ask every algorithm about a problem."""
        asked = _OPERATIONS[problem.operation].candidates
        found = [
            Candidate(**cast("Any", one))
            for one in asked(problem.to_record().tobytes())
        ]
        if isinstance(problem, ConvProblem) and problem.operation == "conv":
            found.append(fft.candidate(problem))
        return found

    def plan(self, problem: Problem, algorithm: str) -> Any:
        """Plan a problem with a named algorithm."""
        record = problem.to_record().tobytes()
        if isinstance(problem, ConvProblem) and algorithm == fft.NAME:
            return fft.plan(problem, _core.conv_plan(record, "direct"))
        return _OPERATIONS[problem.operation].plan(record, algorithm)

    def empty(
        self,
        shape: tuple[int, ...],
        order: tuple[int, ...] | None,
        dtype: Any,
        like: Any,
    ) -> Any:
        """Allocate an array; large ones come from the output pool."""
        del like
        return _core.empty(shape, order, dtype)

    def pack(self, plan: Any, weight: Any) -> Any:
        """Rearrange weights as the plan reads them; None where it reads them as is."""
        if isinstance(plan, fft.FftPlan):
            return None
        return _core.conv_pack(plan, weight)

    def run_conv(
        self,
        plan: Any,
        x: Any,
        weight: Any,
        bias: Any,
        residual: Any,
        y: Any,
        packed: Any,
    ) -> None:
        """Run a convolution on five-axis views."""
        if isinstance(plan, fft.FftPlan):
            fft.run(plan, x, weight, bias, residual, y)
        else:
            _core.conv_run(plan, x, weight, bias, residual, y, packed)

    def run_input(
        self, plan: Any, grad: Any, weight: Any, bias: Any, residual: Any, x: Any
    ) -> None:
        """Run an input gradient on five-axis views."""
        _core.input_run(plan, grad, weight, bias, residual, x)

    def run_weight(self, plan: Any, x: Any, grad: Any, weight: Any) -> None:
        """Run a weight gradient on five-axis views."""
        _core.weight_run(plan, x, grad, weight)

    def run_pool_grad(
        self, plan: Any, grad: Any, indices: Any, x: Any, y: Any, dx: Any
    ) -> None:
        """Run a pooling's gradient on five-axis views."""
        _core.pool_grad_run(plan, grad, indices, x, y, dx)

    def run_unary(self, plan: Any, source: Any, target: Any) -> None:
        """Run an operation that makes `target` of `source`."""
        _core.unary_run(plan, source, target)

    def run_pool(self, plan: Any, x: Any, y: Any, indices: Any) -> None:
        """Run a pooling on five-axis views."""
        _core.pool_run(plan, x, y, indices)


CPU = CpuBackend()
