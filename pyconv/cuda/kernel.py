"""What a CUDA kernel is to the rest of pyconv: its name, file, limits, launch and cost.

A kernel's device code lives in ``csrc/cuda/<file>``; everything the host must know
about it is one `Kernel` entry in kernels.py. The same pure functions choose the
algorithm, fill ``explain()``, size the launch and are held against measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from pyconv.problem import (
    DTYPES,
    FLOATS,
    ConvProblem,
    PoolProblem,
    itemsize_of,
    sum_type,
)

__all__ = [
    "MAX_BLOCKS",
    "MULTIPROCESSORS",
    "SECTOR_BYTES",
    "SHARED_BYTES",
    "Ceilings",
    "Constant",
    "Kernel",
    "Launch",
    "Movement",
    "Problem",
    "added",
    "ceil_div",
    "channels_last",
    "element_type",
    "no_launches",
    "no_workspace",
    "of_floats",
    "of_reals",
    "outputs",
    "roofline_us",
    "sector_bytes",
    "sum_bytes",
    "weight_type",
]

Problem = ConvProblem | PoolProblem

# Blocks along grid.x, the only grid axis used: y and z stop at 65535.
MAX_BLOCKS = 2**31 - 1
# Multiprocessors that want blocks, for choosing tiles and kernels: an H100's, an H200's.
MULTIPROCESSORS = 132
SECTOR_BYTES = 32  # the least that L2 gives
# Static shared memory of a block on every architecture, without opting in to more.
SHARED_BYTES = 48 * 1024


@dataclass(frozen=True, slots=True)
class Constant:
    """A part of an array that is copied to constant memory before a launch."""

    symbol: str  # the device code's extern "C" __constant__ array
    array: str  # one of the operation's
    first_byte: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How one problem is launched: the template instance, the tile, the grid."""

    call: str  # the C++ device function with its template arguments fixed
    tile: dict[str, int]
    blocks: int
    threads: int
    shared_bytes: int  # static or dynamic
    # Of several launches: what this one is for, and which arrays it takes; of one, all
    # of its operation's (source.PARAMETERS).
    step: str = ""
    arguments: tuple[str, ...] = ()
    # Shared memory comes with the launch, not with the code: more than 48 KB must.
    is_dynamic: bool = False
    # Blocks that are to share a multiprocessor: what registers a thread may have.
    blocks_together: int = 1
    # The same where indices are wide and take registers of their own; 0: as many.
    wide_blocks_together: int = 0
    constant: Constant | None = None
    # Of a part of the problem: that part, and where it begins in each array, in bytes.
    part: Problem | None = None
    first_bytes: tuple[tuple[str, int], ...] = ()

    @property
    def bounds(self) -> str:
        """What the compiler is to know of the launch."""
        together = str(self.blocks_together)
        if self.wide_blocks_together:
            wide = self.wide_blocks_together
            together = f"PYCONV_INDEX_BITS == 64 ? {wide} : {together}"
        return f"__launch_bounds__({self.threads}, {together})"


@dataclass(frozen=True, slots=True)
class Movement:
    """Floating-point operations and predicted bytes at each level.

    ``global_bytes`` is what the loads and stores of all threads ask of global memory,
    exactly; most of it L1 serves. ``l1_bytes`` leave L1 or shared memory for
    registers, ``l2_bytes`` leave L2 for the multiprocessors, ``dram_bytes`` cross the
    device memory's bus.
    """

    flops: int
    global_bytes: int
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


def added(movements: Iterable[Movement]) -> Movement:
    """Add launches up."""
    listed = list(movements)
    totals = {
        one.name: sum(getattr(movement, one.name) for movement in listed)
        for one in fields(Movement)
    }
    return Movement(**totals)


def sector_bytes(pitch: tuple[int, ...], channels: int, size: int) -> float:
    """Bytes that an element takes out of L2, which gives whole sectors of 32.

    Channels last, what a group lacks of a sector belongs to its neighbours.
    """
    return max(size, SECTOR_BYTES / channels) if channels_last(pitch) else size


def roofline_us(movement: Movement, ceilings: Ceilings, slowdown: float = 1.0) -> float:
    """Estimate microseconds: the slowest of four levels, and the launch.

    `slowdown` is of what happens on the chip: arithmetic and L1.
    """
    on_chip = max(
        movement.flops / ceilings.flops, movement.l1_bytes / ceilings.l1_bytes
    )
    memory = max(
        movement.l2_bytes / ceilings.l2_bytes,
        movement.dram_bytes / ceilings.dram_bytes,
    )
    return ceilings.launch_us + 1e6 * max(on_chip * slowdown, memory)


def no_launches(_: Problem) -> tuple[Launch, ...]:
    """Give nothing: most kernels are one launch."""
    return ()


def no_workspace(_: Problem) -> dict[str, int]:
    """Give nothing: most kernels need no memory of their own."""
    return {}


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
    # Launches that come before the one that makes the result, in order, and the
    # arrays of bytes that they leave things in for each other.
    before: Callable[[Any], tuple[Launch, ...]] = no_launches
    workspace: Callable[[Any], dict[str, int]] = no_workspace
    # Whose bits it returns: what is not the same must not be exchanged freely. "direct"
    # is the definition's order, tap by tap, channels inside.
    rounding: str = "direct"


def ceil_div(value: int, divisor: int) -> int:
    """Round the quotient of two non-negative integers up."""
    return -(-value // divisor)


_CPP = {
    "float32": "float",
    "float64": "double",
    "float16": "pyconv::Half",
    "bfloat16": "pyconv::BFloat16",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned",
    "int64": "pyconv::int64",
    "uint64": "pyconv::uint64",
    "complex64": "pyconv::Complex<float>",
    "complex128": "pyconv::Complex<double>",
}
_CPP_OF_CODE = {DTYPES[name]: cpp for name, cpp in _CPP.items()}
_FLOAT_CODES = tuple(DTYPES[name] for name in FLOATS)


def element_type(problem: Problem) -> str:
    """Name the C++ type of one element."""
    return _CPP_OF_CODE[problem.dtype]


def weight_type(problem: Problem) -> str:
    """Name the C++ type of one weight: x's, but for bytes, and where there is none."""
    if isinstance(problem, ConvProblem):
        return _CPP_OF_CODE[problem.weight_dtype]
    return _CPP_OF_CODE[problem.dtype]


def of_floats(problem: Problem) -> str:
    """Refuse, with a reason, what is not float32, float64 or a half; else ""."""
    is_float = problem.dtype in _FLOAT_CODES
    return "" if is_float else "integers and complex numbers have none of this"


def of_reals(problem: Problem) -> str:
    """Refuse complex numbers, with a reason; else ""."""
    is_complex = "Complex" in element_type(problem)
    return "complex numbers have no order" if is_complex else ""


def sum_bytes(problem: Problem) -> int:
    """Bytes of what products are summed in."""
    return itemsize_of(sum_type(problem.dtype))


def channels_last(pitch: tuple[int, ...]) -> bool:
    """Whether neighbouring channels are neighbours in memory, and columns are not."""
    return abs(pitch[1]) == 1 and abs(pitch[4]) > 1


def outputs(problem: Problem) -> int:
    """Count the elements of y."""
    channels = problem.k if isinstance(problem, ConvProblem) else problem.c
    return problem.n * channels * prod(problem.output)
