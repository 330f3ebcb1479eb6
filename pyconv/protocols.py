"""What a backend is: the road's last step before a language border.

Both backends answer the same questions about a problem and run the same plans; planning
and the public functions know no more of them than this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyconv.problem import ConvProblem, PoolProblem

__all__ = ["Backend", "Candidate", "Event", "Plan", "Problem"]

Problem = ConvProblem | PoolProblem


@dataclass(frozen=True, slots=True)
class Event:
    """A copy, cast, transfer or fallback on the road of one call.

    Parameters
    ----------
    kind : str
        "cast", "copy", "transfer" or "fallback".
    argument : str
        The argument it happened to.
    bytes : int
        Bytes written by it.
    reason : str
        Why.
    """

    kind: str
    argument: str
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One algorithm's answer about one problem.

    Parameters
    ----------
    name, summary : str
        The algorithm.
    rounding : str
        Algorithms that agree here return the same bits.
    reason : str
        Why it refuses; empty when it can.
    cost_us : float
        Estimated time in microseconds on this machine, packing of weights excepted.
    pack_us : float
        Estimated time to pack the weights: paid at every functional call, once by a
        layer that keeps them (`Conv2d`).
    workspace_bytes : int
        Scratch memory.
    flops : int
        Operations it executes.
    bytes : mapping of str to int
        Predicted bytes by level: "l1" (L2 to L1), "l2" (L3 to L2), "dram".
    of_layer : Candidate, optional
        The answer to a layer that keeps packed weights, where it is another one than
        this without `pack_us`.
    """

    name: str
    summary: str
    rounding: str
    reason: str
    cost_us: float
    pack_us: float
    workspace_bytes: int
    flops: int
    bytes: Mapping[str, int]
    of_layer: Candidate | None = None

    @property
    def supported(self) -> bool:
        """Whether the algorithm can do the problem."""
        return not self.reason


class Plan(Protocol):
    """Everything decided about a problem."""

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        ...

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory in bytes."""
        ...


class Backend(Protocol):
    """A device's algorithms and how to run them."""

    name: str
    usual_batch: int  # for which the rounding of every batch is chosen

    def __hash__(self) -> int:
        """Backends are keys of the plan cache, each by its identity."""
        ...

    def variant(self) -> str:
        """Name what plans depend on beside the problem: the instruction set."""
        ...

    def algorithms(self, operation: str) -> Sequence[tuple[str, str]]:
        """List (name, summary), in registry order."""
        ...

    def candidates(self, problem: Problem) -> list[Candidate]:
        """Ask every algorithm about a problem."""
        ...

    def plan(self, problem: Problem, algorithm: str) -> Any:
        """Plan a problem with a named algorithm."""
        ...

    def empty(
        self,
        shape: tuple[int, ...],
        order: tuple[int, ...] | None,
        dtype: Any,
        like: Any,
    ) -> Any:
        """Allocate an array beside `like`; `order` lists axes from slowest to fastest."""
        ...

    def pack(self, plan: Any, weight: Any) -> Any:
        """Rearrange a five-axis weight as the plan reads it; None where it does not."""
        ...

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
        """Run a convolution on five-axis views; `packed` is pack()'s, or None."""
        ...

    def run_weight(self, plan: Any, x: Any, grad: Any, weight: Any) -> None:
        """Run a weight gradient on five-axis views; `weight` takes it."""
        ...

    def run_pool_grad(
        self, plan: Any, grad: Any, indices: Any, x: Any, y: Any, dx: Any
    ) -> None:
        """Run a pooling's gradient on five-axis views; `dx` takes it."""
        ...

    def run_unary(self, plan: Any, source: Any, target: Any) -> None:
        """Run an operation that makes `target` of `source`."""
        ...

    def run_pool(self, plan: Any, x: Any, y: Any, indices: Any) -> None:
        """Run a pooling on five-axis views."""
        ...
