"""What both of CUDA's Winograd kernels are to the host: limits, panels, transforms.

Either is several launches, whose times add up: each has its own `Movement`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from pyconv.cuda.counts import tile_positions
from pyconv.cuda.kernel import (
    Ceilings,
    Launch,
    Movement,
    ceil_div,
    roofline_us,
    weight_type,
)
from pyconv.problem import ACCURACIES, DTYPES, ConvProblem, itemsize_of

__all__ = [
    "FLOAT_BYTES",
    "STEP",
    "filters_launch",
    "filters_movement",
    "input_loads",
    "of_winograd",
    "panels",
    "steps",
    "tiles",
    "total_us",
    "transformed_bytes",
]

FLOAT_BYTES = 4
STEP = 8  # channels multiplied at a time: WINOGRAD_STEP of winograd.cuh
FILTER_THREADS = 256
# Transformed filters; also what keeps every offset in them below 2^31.
MAX_FILTER_BYTES = 2**30
# Additions and products of a filter's transform, for F(2 x 2) and F(4 x 4): three
# columns, then a row for each point along an axis.
FILTER_FLOPS = {2: 7 * 6, 4: 9 * 13}
# Part of the arithmetic peak the transforms reach; a placeholder until measured.
TRANSFORM_SLOWDOWN = 2.0


def of_winograd(problem: ConvProblem, outputs: int, block: int) -> str:
    """Refuse, with a reason, what no form of ours can transform; else ""."""
    names = ("float32", "float16", "bfloat16")
    if problem.accuracy == ACCURACIES["strict"]:
        return "accuracy='strict' allows direct sums only"
    if problem.dtype not in [DTYPES[name] for name in names]:
        return f"takes {', '.join(names)}: it is summed in float32"
    window = (problem.kernel, problem.stride, problem.dilation)
    if window != ((1, 3, 3), (1, 1, 1), (1, 1, 1)):
        return "needs a kernel of 3x3, stride 1 and dilation 1"
    if (problem.input[0], problem.pad_before[0], problem.pad_after[0]) != (1, 0, 0):
        return "needs two spatial axes: the input's depth must be 1"
    if problem.groups > 1 and problem.c == problem.groups:
        return "needs more than one channel in a group: depthwise sums are too short"
    needed = transformed_bytes(problem, outputs, block)
    if needed > MAX_FILTER_BYTES:
        return (
            f"transformed filters need {needed} bytes, more than the {MAX_FILTER_BYTES} "
            "taken at most"
        )
    return ""


def steps(problem: ConvProblem) -> int:
    """Count the steps of channels of a group."""
    return ceil_div(problem.c // problem.groups, STEP)


def panels(problem: ConvProblem, block: int) -> int:
    """Count the panels of `block` filters of a group."""
    return ceil_div(problem.k // problem.groups, block)


def tiles(problem: ConvProblem, outputs: int) -> int:
    """Count the tiles of all images."""
    return problem.n * prod(ceil_div(problem.output[axis], outputs) for axis in (1, 2))


def transformed_bytes(problem: ConvProblem, outputs: int, block: int) -> int:
    """Bytes of the transformed filters, whole panels and steps."""
    filters = problem.groups * panels(problem, block) * block
    return filters * steps(problem) * STEP * (outputs + 2) ** 2 * FLOAT_BYTES


def input_loads(problem: ConvProblem, outputs: int) -> int:
    """Count the elements of x that transforming every tile once loads."""
    along = [tile_positions(problem, axis, outputs, outputs + 2) for axis in (1, 2)]
    return problem.n * problem.c * prod(along)


def filters_launch(problem: ConvProblem, outputs: int, block: int) -> Launch:
    """One thread a filter and channel, those past the end too."""
    points = (outputs + 2) ** 2
    arguments = (weight_type(problem), str(outputs + 2), str(block))
    threads = transformed_bytes(problem, outputs, block) // points // FLOAT_BYTES
    return Launch(
        call=f"pyconv::winograd_filters<{', '.join(arguments)}>",
        tile={},
        blocks=ceil_div(threads, FILTER_THREADS),
        threads=FILTER_THREADS,
        shared_bytes=0,
        step="filters",
        arguments=("weight", "filters"),
    )


def filters_movement(problem: ConvProblem, outputs: int, block: int) -> Movement:
    """Every weight is read once, its transform written once."""
    count = problem.k * (problem.c // problem.groups)
    read = 9 * count * itemsize_of(problem.weight_dtype)
    written = transformed_bytes(problem, outputs, block)
    return Movement(
        flops=count * FILTER_FLOPS[outputs],
        global_bytes=read + written,
        l1_bytes=read + written,
        l2_bytes=read + written,
        dram_bytes=read + written,
    )


def total_us(launches: Iterable[tuple[Movement, float]], ceilings: Ceilings) -> float:
    """Estimate microseconds of launches, each with what slows it down."""
    return sum(
        roofline_us(movement, ceilings, slowdown) for movement, slowdown in launches
    )
