"""What a CUDA kernel is to the rest of pyconv: its name, file, limits, launch and cost.

A kernel's device code lives in ``csrc/cuda/<file>``; everything the host must know
about it is one `Kernel` entry in kernels.py. The same pure functions choose the
algorithm, fill ``explain()``, size the launch and are held against measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from pyconv.problem import DTYPES, ConvProblem, PoolProblem

__all__ = [
    "MAX_BLOCKS",
    "SHARED_BYTES",
    "Ceilings",
    "Kernel",
    "Launch",
    "Movement",
    "Problem",
    "ceil_div",
    "channels_last",
    "compulsory_bytes",
    "element_bytes",
    "element_type",
    "outputs",
    "refusal",
]

Problem = ConvProblem | PoolProblem

# Blocks along grid.x, the only grid axis used: y and z stop at 65535.
MAX_BLOCKS = 2**31 - 1
# Static shared memory of a block on every architecture, without opting in to more.
SHARED_BYTES = 48 * 1024


@dataclass(frozen=True, slots=True)
class Launch:
    """How one problem is launched: the template instance, the tile, the grid."""

    call: str  # the C++ device function with its template arguments fixed
    tile: dict[str, int]
    blocks: int
    threads: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Movement:
    """Floating-point operations and predicted bytes at each level.

    ``l1_bytes`` leave L1 or shared memory for registers, ``l2_bytes`` leave L2 for the
    multiprocessors, ``dram_bytes`` cross the device memory's bus.
    """

    flops: int
    l1_bytes: int
    l2_bytes: int
    dram_bytes: int


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device can do at most; rates per second."""

    flops: float
    l1_bytes: float
    l2_bytes: float
    dram_bytes: float
    launch_us: float


@dataclass(frozen=True, slots=True)
class Kernel:
    """One CUDA kernel: name = file stem = benchmark row = test id."""

    name: str
    operation: str  # "conv", "pool_grad": one of pyconv.backends.OPERATIONS
    summary: str
    file: str  # below csrc/cuda
    supports: Callable[[Any], str]  # "" or the reason it cannot
    launch: Callable[[Any], Launch]
    movement: Callable[[Any], Movement]
    cost_us: Callable[[Any, Ceilings], float]


def refusal(kernel: Kernel, problem: Problem) -> str:
    """Say why a kernel cannot do a problem, its element type first, or ""."""
    if problem.dtype not in (DTYPES["float32"], DTYPES["float64"]):
        return "float32 and float64 only; other types run on the CPU"
    return kernel.supports(problem)


def ceil_div(value: int, divisor: int) -> int:
    """Round the quotient of two non-negative integers up."""
    return -(-value // divisor)


def element_bytes(problem: Problem) -> int:
    """Bytes of one element of x."""
    return 8 if problem.dtype == 1 else 4


def element_type(problem: Problem) -> str:
    """Name the C++ type of one element."""
    return "double" if problem.dtype == 1 else "float"


def channels_last(pitch: tuple[int, ...]) -> bool:
    """Whether neighbouring channels are neighbours in memory, and columns are not."""
    return abs(pitch[1]) == 1 and abs(pitch[4]) > 1


def outputs(problem: Problem) -> int:
    """Count the elements of y."""
    channels = problem.k if isinstance(problem, ConvProblem) else problem.c
    return problem.n * channels * prod(problem.output)


def compulsory_bytes(problem: Problem) -> int:
    """Count bytes moved if every input is read once and the output written once."""
    elements = problem.n * problem.c * prod(problem.input) + outputs(problem)
    extra = 0
    if isinstance(problem, ConvProblem):
        elements += problem.k * (problem.c // problem.groups) * prod(problem.kernel)
        elements += outputs(problem) * bool(problem.has_residual)
        elements += problem.k * bool(problem.has_bias)
    elif problem.return_indices:
        extra = 8 * outputs(problem)
    return elements * element_bytes(problem) + extra
