"""A call between reading and result: what is known of it, and its run on a backend.

explain() stops at a Call; a public function goes on to plan it, allocate the output, run
it and record it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyconv import compiled
from pyconv.arrays import Array, Layout, Road, five_axes
from pyconv.backends import backend_for, is_cupy, requested_device
from pyconv.planning import Choice, choose
from pyconv.problem import PoolProblem
from pyconv.protocols import Backend, Event, Problem
from pyconv.recording import record, recording

__all__ = [
    "Call",
    "place",
    "run_conv",
    "run_input",
    "run_pool",
    "run_pool_grad",
    "run_unary",
    "run_weight",
    "to_backend",
]


@dataclass(slots=True)
class Call:
    """One call, read and ready to plan."""

    name: str
    problem: Problem
    backend: Backend
    algorithm: str
    road: Road
    dtype: np.dtype[Any]  # of the result
    layout: Layout
    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    out: Array | None
    operands: dict[str, Array | None]  # five-axis views in the backend's memory
    shapes: dict[str, tuple[int, ...]]
    lent: bool

    def may_be_remembered(self, choice: Choice) -> bool:
        """Whether the same raw arguments may take the short road next time."""
        copies = [event for event in self.road.events if event.kind != "fallback"]
        runs_compiled = isinstance(choice.plan, compiled.PLANS)
        return runs_compiled and not copies and self.problem.n > 0

    def choose(self, keeps_weights: bool = False) -> Choice:
        """Pick the algorithm and make its plan, or find it."""
        return choose(self.problem, self.backend, self.algorithm, keeps_weights)

    def allocate(self, dtype: Any) -> Array:
        """Allocate an array of the output's shape and memory order."""
        return self.backend.empty(self.shape, self.order, dtype, self.operands["x"])

    def finish(self, choice: Choice, y: Array) -> Array:
        """Bring a result home from a lent device, and record the call."""
        if self.lent:
            self.road.events.append(
                Event("transfer", "y", int(y.nbytes), "from the GPU")
            )
            y = self.backend.to_host(y)  # type: ignore[attr-defined]
            if self.out is not None:
                self.out[...] = y
                y = self.out
        if recording():
            worked = choice.candidate
            if self.problem.n == 0:  # planned like one sample, but nothing ran
                worked = replace(worked, flops=0, bytes=dict.fromkeys(worked.bytes, 0))
            record(
                self.name,
                self.backend.name,
                worked,
                self.shapes,
                self.problem.compulsory_bytes,
                tuple(self.road.events),
            )
        return y


def place(arrays: dict[str, Array | None], road: Road) -> tuple[Backend, bool]:
    """Choose the backend for the arrays; an "auto" that found no GPU is an event."""
    given = [a for a in arrays.values() if a is not None]
    backend, is_lent = backend_for(given)
    if backend.name == "cpu" and requested_device() == "auto":
        road.events.append(Event("fallback", "device", 0, "no GPU: the CPU is used"))
    return backend, is_lent


def to_backend(
    backend: Backend, road: Road, arrays: dict[str, Array | None]
) -> dict[str, Array | None]:
    """Copy NumPy arrays to the device that is lent to them."""
    moved: dict[str, Array | None] = {}
    for name, a in arrays.items():
        moved[name] = a
        if a is None or is_cupy(a):
            continue
        road.events.append(Event("transfer", name, int(a.nbytes), "to the GPU"))
        if road.dry:  # a copy keeps the order of axes, not gaps
            moved[name] = np.empty_like(a)
        else:
            moved[name] = backend.to_device(a)  # type: ignore[attr-defined]
    return moved


def _target(call: Call) -> Array:
    """Take or allocate the array that the kernel writes."""
    if call.out is not None and not call.lent:
        return call.out
    return call.allocate(call.dtype)


def run_conv(call: Call, choice: Choice, packed: Any = None) -> Array:
    """Run a planned convolution, `packed` its packed weights; returns the result."""
    y = _target(call)
    operands = call.operands
    if call.problem.n > 0:
        call.backend.run_conv(
            choice.plan,
            operands["x"],
            operands["weight"],
            operands["bias"],
            operands["residual"],
            call.layout.view(y),
            packed,
        )
    return call.finish(choice, y)


def run_input(call: Call, choice: Choice) -> Array:
    """Run a planned input gradient, which is the CPU's alone; returns the result."""
    x = _target(call)
    operands = call.operands
    call.backend.run_input(  # type: ignore[attr-defined]
        choice.plan,
        operands["x"],
        operands["weight"],
        operands["bias"],
        operands["residual"],
        call.layout.view(x),
    )
    return call.finish(choice, x)


def run_weight(call: Call, choice: Choice) -> Array:
    """Run a planned weight gradient; returns the result."""
    weight = _target(call)
    if call.problem.n > 0:
        call.backend.run_weight(
            choice.plan,
            call.operands["x"],
            call.operands["grad_output"],
            five_axes(weight),
        )
    else:
        weight[...] = 0
    return call.finish(choice, weight)


def run_pool_grad(call: Call, choice: Choice) -> Array:
    """Run a planned gradient of a pooling; returns the result."""
    dx = _target(call)
    operands = call.operands
    if call.problem.n > 0:
        call.backend.run_pool_grad(
            choice.plan,
            operands["grad_output"],
            operands["indices"],
            operands["x"],
            operands["y"],
            call.layout.view(dx),
        )
    return call.finish(choice, dx)


def run_unary(call: Call, choice: Choice) -> Array:
    """Run a planned operation that makes one array of one other; returns the result."""
    target = _target(call)
    if call.problem.n > 0:
        call.backend.run_unary(choice.plan, call.operands["x"], target)
    else:  # of nothing, whatever is not empty is a sum
        target[...] = 0
    return call.finish(choice, target)


def run_pool(call: Call, choice: Choice) -> Array | tuple[Array, Array]:
    """Run a planned pooling; returns the user's result, and indices if asked for."""
    problem = call.problem
    indexed = isinstance(problem, PoolProblem) and problem.return_indices
    y = _target(call)
    indices = call.allocate(np.dtype(np.int64)) if indexed else None
    if problem.n > 0:
        call.backend.run_pool(
            choice.plan,
            call.operands["x"],
            call.layout.view(y),
            None if indices is None else call.layout.view(indices),
        )
    y = call.finish(choice, y)
    if indices is None:
        return y
    if call.lent:
        indices = call.backend.to_host(indices)  # type: ignore[attr-defined]
    return y, indices
