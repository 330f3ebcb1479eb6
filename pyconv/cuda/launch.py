"""Plans and launches: from a problem to a kernel on the producer's stream.

A plan is made of shapes only and needs no device memory; compiling waits for `run`. The
problem crosses to the device by value, as one packed struct: a NumPy structured scalar
with the layout of core/problem.hpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from pyconv.cuda import device, module, source
from pyconv.cuda.kernel import (
    Kernel,
    Launch,
    Problem,
    element_type,
    outputs,
    weight_type,
)
from pyconv.cuda.kernels import find
from pyconv.problem import ConvProblem

__all__ = ["CudaPlan", "index_bits", "make_plan", "run", "source_of"]

# 32-bit indices hold below this; the slack is for the last block's idle threads and for
# tiles and windows that reach past an axis's end.
INDEX_LIMIT = 2**31 - 2**16


@dataclass(frozen=True, slots=True, eq=False)
class CudaPlan:
    """A problem, the kernel chosen for it and how it is launched; immutable."""

    problem: Problem
    kernel: Kernel
    launch: Launch
    index_bits: int
    record: (
        Any  # the problem as a 0-dimensional NumPy array, the kernel's first argument
    )

    @property
    def algorithm(self) -> str:
        """The kernel's name."""
        return self.kernel.name

    @property
    def isa(self) -> str:
        """What executes the plan."""
        return "cuda"

    @property
    def workspace_bytes(self) -> int:
        """Device memory needed beside the arguments: no kernel here needs any."""
        return 0

    @property
    def blocking(self) -> dict[str, int]:
        """Tile constants, and the launch: blocks, threads, shared bytes, index bits."""
        return {
            **self.launch.tile,
            "blocks": self.launch.blocks,
            "block_threads": self.launch.threads,
            "shared_bytes": self.launch.shared_bytes,
            "index_bits": self.index_bits,
        }

    def __repr__(self) -> str:
        """Show the algorithm and its numbers."""
        numbers = ", ".join(f"{name}={value}" for name, value in self.blocking.items())
        return f"CudaPlan({self.kernel.operation} {self.kernel.name}: {numbers})"


def _reach(extents: tuple[int, ...], pitch: tuple[int, ...]) -> int:
    """Largest offset, in elements and in magnitude, that a pitched array reaches."""
    pairs = zip(extents, pitch, strict=True)
    return sum((extent - 1) * abs(step) for extent, step in pairs)


def index_bits(problem: Problem) -> int:
    """Choose 32-bit indices where every offset and thread number fits, else 64."""
    padded = [
        extent + before + after + kernel * dilation
        for extent, before, after, kernel, dilation in zip(
            problem.input,
            problem.pad_before,
            problem.pad_after,
            problem.kernel,
            problem.dilation,
            strict=True,
        )
    ]
    plane = prod(problem.input)
    channels = problem.k if isinstance(problem, ConvProblem) else problem.c
    reaches = [
        outputs(problem),
        plane,
        *padded,
        _reach((problem.n, problem.c, *problem.input), tuple(problem.x_pitch)),
        _reach((problem.n, channels, *problem.output), tuple(problem.y_pitch)),
    ]
    if isinstance(problem, ConvProblem):
        weight = (problem.k, problem.c // problem.groups, *problem.kernel)
        reaches.append(_reach(weight, tuple(problem.w_pitch)))
    return 32 if max(reaches) < INDEX_LIMIT else 64


def make_plan(problem: Problem, algorithm: str) -> CudaPlan:
    """Plan one problem with one algorithm; makes no CUDA call.

    Raises
    ------
    ValueError
        If there is no such algorithm, or it refuses the problem (with its reason).
    """
    kernel = find(problem.operation, algorithm)
    reason = kernel.supports(problem)
    if reason:
        raise ValueError(f"CUDA algorithm {algorithm!r} refuses the problem: {reason}")
    return CudaPlan(
        problem=problem,
        kernel=kernel,
        launch=kernel.launch(problem),
        index_bits=index_bits(problem),
        record=np.asarray(problem.to_record()).reshape(()),
    )


def entry_of(plan: CudaPlan) -> str:
    """Name the plan's entry point as a profiler shows it."""
    return f"pyconv_{plan.kernel.operation}_{plan.kernel.name}"


@lru_cache(maxsize=512)
def _text(
    file: str, operation: str, entry: str, call: str, element: str, weight: str
) -> str:
    """Flatten a kernel and append its entry point."""
    return source.flatten((file,)) + source.entry(
        operation, entry, call, element, weight
    )


def source_of(plan: CudaPlan) -> str:
    """Give the whole text the compiler gets for a plan."""
    return _text(
        plan.kernel.file,
        plan.kernel.operation,
        entry_of(plan),
        plan.launch.call,
        element_type(plan.problem),
        weight_type(plan.problem),
    )


def run(plan: CudaPlan, *arrays: Any) -> None:
    """Launch on x's device and CuPy's current stream; returns before it has finished.

    Parameters
    ----------
    plan : CudaPlan
        From `make_plan`.
    arrays : cupy.ndarray or None
        The kernel's pointers in order; None crosses as a null pointer.
    """
    if outputs(plan.problem) == 0:
        return
    with arrays[0].device:
        number = device.current_device()
        options = module.options_for(device.architecture(number), plan.index_bits)
        kernel = module.load(source_of(plan), options, entry_of(plan), number)
        pointers = (np.uintp(0) if array is None else array for array in arrays)
        kernel((plan.launch.blocks,), (plan.launch.threads,), (plan.record, *pointers))
