"""The CPU backend: one language border, crossed once a call.

Beside the compiled algorithms stand a few that are composed of them, or of a library, in
Python: `fft`, `widened` and `real_channels`. Their plans run themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyconv import _core, compiled, fft, real_channels, widened
from pyconv.protocols import Candidate, Problem

__all__ = ["CPU", "CpuBackend"]

_COMPOSED: tuple[Any, ...] = (fft, widened, real_channels)


def _composed(operation: str) -> list[Any]:
    """List what is composed for an operation."""
    return [one for one in _COMPOSED if operation in one.OPERATIONS]


class CpuBackend:
    """The compiled kernels of pyconv._core."""

    name = "cpu"
    usual_batch = 1

    def variant(self) -> str:
        """Name the instruction set in use."""
        return _core.active_isa()

    def algorithms(self, operation: str) -> Sequence[tuple[str, str]]:
        """List (name, summary), in registry order."""
        composed = ((one.NAME, one.SUMMARY) for one in _composed(operation))
        return (*compiled.algorithms(operation), *composed)

    def candidates(self, problem: Problem) -> list[Candidate]:
        """Ask every algorithm about a problem."""
        composed = [one.candidate(problem) for one in _composed(problem.operation)]
        return compiled.candidates(problem) + composed

    def plan(self, problem: Problem, algorithm: str) -> Any:
        """Plan a problem with a named algorithm."""
        for one in _composed(problem.operation):
            if algorithm == one.NAME:
                return one.plan(problem)
        return compiled.plan(problem, algorithm)

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
        if isinstance(plan, _core.ConvPlan):
            return _core.conv_pack(plan, weight)
        return plan.pack(weight)

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
        if isinstance(plan, _core.ConvPlan):
            _core.conv_run(plan, x, weight, bias, residual, y, packed)
        else:
            plan.run_conv(x, weight, bias, residual, y, packed)

    def run_input(
        self, plan: Any, grad: Any, weight: Any, bias: Any, residual: Any, x: Any
    ) -> None:
        """Run an input gradient on five-axis views."""
        _core.input_run(plan, grad, weight, bias, residual, x)

    def run_weight(self, plan: Any, x: Any, grad: Any, weight: Any) -> None:
        """Run a weight gradient on five-axis views."""
        if isinstance(plan, _core.WeightPlan):
            _core.weight_run(plan, x, grad, weight)
        else:
            plan.run_weight(x, grad, weight)

    def run_pool_grad(
        self, plan: Any, grad: Any, indices: Any, x: Any, y: Any, dx: Any
    ) -> None:
        """Run a pooling's gradient on five-axis views."""
        if isinstance(plan, _core.PoolGradPlan):
            _core.pool_grad_run(plan, grad, indices, x, y, dx)
        else:
            plan.run_pool_grad(grad, indices, x, y, dx)

    def run_unary(self, plan: Any, source: Any, target: Any) -> None:
        """Run an operation that makes `target` of `source`."""
        if isinstance(plan, _core.UnaryPlan):
            _core.unary_run(plan, source, target)
        else:
            plan.run_unary(source, target)

    def run_pool(self, plan: Any, x: Any, y: Any, indices: Any) -> None:
        """Run a pooling on five-axis views."""
        if isinstance(plan, _core.PoolPlan):
            _core.pool_run(plan, x, y, indices)
        else:
            plan.run_pool(x, y, indices)


CPU = CpuBackend()
