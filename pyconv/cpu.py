"""The CPU backend: one language border, crossed once a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pyconv import _core, fft
from pyconv.problem import ConvProblem
from pyconv.protocols import Candidate, Problem

__all__ = ["CPU", "CpuBackend"]


class CpuBackend:
    """The compiled kernels of pyconv._core."""

    name = "cpu"

    def variant(self) -> str:
        """Name the instruction set in use."""
        return _core.active_isa()

    def algorithms(self, operation: str) -> Sequence[tuple[str, str]]:
        """List (name, summary), in registry order."""
        if operation == "conv":
            return (*_core.conv_algorithms(), (fft.NAME, fft.SUMMARY))
        return _core.pool_algorithms()

    def candidates(self, problem: Problem) -> list[Candidate]:
        """Ask every algorithm about a problem."""
        record = problem.to_record().tobytes()
        if isinstance(problem, ConvProblem):
            own = [Candidate(**cast("Any", e)) for e in _core.conv_candidates(record)]
            return [*own, fft.candidate(problem)]
        return [Candidate(**cast("Any", e)) for e in _core.pool_candidates(record)]

    def plan(self, problem: Problem, algorithm: str) -> Any:
        """Plan a problem with a named algorithm."""
        record = problem.to_record().tobytes()
        if isinstance(problem, ConvProblem):
            if algorithm == fft.NAME:
                return fft.plan(problem, _core.conv_plan(record, "direct"))
            return _core.conv_plan(record, algorithm)
        return _core.pool_plan(record, algorithm)

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

    def run_pool(self, plan: Any, x: Any, y: Any, indices: Any) -> None:
        """Run a pooling on five-axis views."""
        _core.pool_run(plan, x, y, indices)


CPU = CpuBackend()
