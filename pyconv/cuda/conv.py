"""The ladder's first rungs, one thread an output: limits, launch, movement, cost.

Source of the cost model: time is the largest of arithmetic, L1/shared, L2 and device
memory time (a roofline), plus the launch. Each factor below says what it stands for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

from pyconv.cuda.counts import products
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    SECTOR_BYTES,
    Ceilings,
    Constant,
    Kernel,
    Launch,
    Movement,
    ceil_div,
    channels_last,
    element_type,
    outputs,
    roofline_us,
    sum_bytes,
    weight_type,
)
from pyconv.problem import DTYPES, ConvProblem, itemsize_of, result_type

__all__ = [
    "CACHED_WEIGHTS",
    "COALESCED",
    "NAIVE",
    "activation",
    "epilogue_bytes",
    "has_gaps",
    "multiply_adds",
    "of_float32",
]

THREADS = 256
WARP = 32
PASS_BYTES = 128
CONSTANT_BYTES = 64 * 1024
# These kernels spend about as many instructions on indices as on multiply-adds. naive
# took twice as long as that on an H100, and so did coalesced where it is not: channels
# last, its neighbouring threads read other filters.
SLOWDOWN = 2.0
NAIVE_SLOWDOWN = 3.8
# What an output takes beside its products, finding its place above all, in operations:
# measured where there are nine products an output.
OUTPUT_FLOPS = 2900


def multiply_adds(problem: ConvProblem) -> int:
    """Count the taps of all outputs, padding included."""
    return outputs(problem) * (problem.c // problem.groups) * prod(problem.kernel)


def activation(problem: ConvProblem) -> str:
    """Write the activation as a C++ template argument."""
    return f"static_cast<pyconv::Activation>({problem.activation})"


def of_float32(problem: ConvProblem) -> str:
    """Refuse what would only show a rung's idea once more."""
    is_float32 = problem.dtype == DTYPES["float32"]
    return "" if is_float32 else "the ladder's rungs are float32"


def epilogue_bytes(problem: ConvProblem) -> int:
    """Count what is loaded and stored where each output is finished."""
    result = itemsize_of(result_type(problem.dtype))
    bias = problem.has_bias * sum_bytes(problem)
    return outputs(problem) * (result * (1 + problem.has_residual) + bias)


# ---- naive and coalesced ------------------------------------------------------------


def _supports(problem: ConvProblem) -> str:
    """Everything, up to the size of a grid."""
    if ceil_div(outputs(problem), THREADS) > MAX_BLOCKS:
        return f"{outputs(problem)} outputs need more blocks than a grid has"
    return ""


def _launch(problem: ConvProblem, name: str) -> Launch:
    """One thread an output, numbered against y's memory or along it."""
    last = "true" if channels_last(problem.y_pitch) else "false"
    types = (element_type(problem), weight_type(problem))
    arguments = (*types, activation(problem), last)
    return Launch(
        call=f"pyconv::conv_{name}::run<{', '.join(arguments)}>",
        tile={"threads": THREADS},
        blocks=ceil_div(outputs(problem), THREADS),
        threads=THREADS,
        shared_bytes=0,
    )


def _movement(problem: ConvProblem, lane_bytes: int) -> Movement:
    """Two loads a multiply-add from L1; L2 sees a block's distinct lines.

    Of a warp's two loads one is a single address for all of it, and of the other and
    the store every thread asks for `lane_bytes`: its element, or a sector of its own.
    """
    size = problem.itemsize + itemsize_of(problem.weight_dtype)
    loads = multiply_adds(problem) * size
    # A warp's load takes a pass of L1's 128 bytes, however few it asks for.
    passes = multiply_adds(problem) * (lane_bytes + PASS_BYTES // WARP)
    # A block's outputs lie in a row: its x lines are shared R ways at best, its one
    # filter is read once a block. Channels-last blocks share the pixel, not the filter.
    l2 = loads // (2 * max(problem.kernel[2], 1)) + loads // (2 * THREADS)
    return Movement(
        flops=2 * multiply_adds(problem),
        global_bytes=products(problem) * size + epilogue_bytes(problem),
        l1_bytes=passes,
        l2_bytes=l2,
        dram_bytes=problem.compulsory_bytes,
    )


def _naive_movement(problem: ConvProblem) -> Movement:
    """Every thread's load and store is a sector of its own."""
    movement = _movement(problem, SECTOR_BYTES)
    return replace(
        movement, l2_bytes=movement.l2_bytes + outputs(problem) * SECTOR_BYTES
    )


def _coalesced_movement(problem: ConvProblem) -> Movement:
    """Neighbours' elements lie in the same sectors."""
    return _movement(problem, max(problem.itemsize, PASS_BYTES // WARP))


def _naive_cost(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    return roofline_us(_naive_movement(problem), ceilings, NAIVE_SLOWDOWN)


def _coalesced_cost(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    if channels_last(problem.y_pitch):
        return _naive_cost(problem, ceilings)
    alone = roofline_us(_coalesced_movement(problem), ceilings, SLOWDOWN)
    return alone + 1e6 * outputs(problem) * OUTPUT_FLOPS / ceilings.flops


NAIVE = Kernel(
    name="naive",
    operation="conv",
    summary="one thread computes one output, against y's memory; any problem",
    file="conv/01_naive.cuh",
    supports=_supports,
    launch=partial(_launch, name="naive"),
    movement=_naive_movement,
    cost_us=_naive_cost,
)

COALESCED = Kernel(
    name="coalesced",
    operation="conv",
    summary="one thread computes one output, along y's memory; any problem",
    file="conv/02_coalesced.cuh",
    supports=_supports,
    launch=partial(_launch, name="coalesced"),
    movement=_coalesced_movement,
    cost_us=_coalesced_cost,
)


# ---- cached_weights -----------------------------------------------------------------


def _filter_bytes(problem: ConvProblem) -> int:
    """Bytes of one filter."""
    elements = problem.c // problem.groups * prod(problem.kernel)
    return elements * itemsize_of(problem.weight_dtype)


def has_gaps(problem: ConvProblem) -> bool:
    """Whether the weights are not one piece of memory in their own order."""
    step = 1
    extents = (problem.k, problem.c // problem.groups, *problem.kernel)
    for extent, pitch in zip(extents[::-1], problem.w_pitch[::-1], strict=True):
        if extent > 1 and pitch != step:
            return True
        step *= extent
    return False


def _cached_supports(problem: ConvProblem) -> str:
    """float32, channels first, filters that fit constant memory."""
    size = _filter_bytes(problem)
    if of_float32(problem):
        return of_float32(problem)
    if channels_last(problem.y_pitch):
        return "channels last, a warp's threads would want different weights"
    if has_gaps(problem):
        return "weights are copied to constant memory in one piece, and have gaps"
    if size * (1 if problem.groups == 1 else problem.k) > CONSTANT_BYTES:
        return (
            f"a filter of {size} bytes, or those of several groups together, must fit "
            f"{CONSTANT_BYTES} bytes of constant memory"
        )
    return _supports(problem)


def _cached_launches(problem: ConvProblem) -> tuple[Launch, ...]:
    """As many filters a launch as fit constant memory."""
    size = _filter_bytes(problem)
    together = min(CONSTANT_BYTES // size, problem.k)
    arguments = (element_type(problem), weight_type(problem), activation(problem))
    found = []
    for first in range(0, problem.k, together):
        filters = min(together, problem.k - first)
        part = problem if filters == problem.k else replace(problem, k=filters)
        y = first * problem.y_pitch[1] * itemsize_of(result_type(problem.dtype))
        bias = first * sum_bytes(problem)
        found.append(
            Launch(
                call=f"pyconv::conv_cached_weights::run<{', '.join(arguments)}>",
                tile={"threads": THREADS, "filters": together},
                blocks=ceil_div(outputs(part), THREADS),
                threads=THREADS,
                shared_bytes=0,
                arguments=("x", "bias", "residual", "y"),
                constant=Constant(
                    "pyconv_cached_weights", "weight", first * size, filters * size
                ),
                part=part,
                first_bytes=(("bias", bias), ("residual", y), ("y", y)),
            )
        )
    return tuple(found)


def _cached_before(problem: ConvProblem) -> tuple[Launch, ...]:
    """All launches but the last."""
    return _cached_launches(problem)[:-1]


def _cached_launch(problem: ConvProblem) -> Launch:
    """Give the last of the launches."""
    return _cached_launches(problem)[-1]


def _cached_movement(problem: ConvProblem) -> Movement:
    """As coalesced, without the weights."""
    usual = _coalesced_movement(problem)
    weights = products(problem) * itemsize_of(problem.weight_dtype)
    passes = multiply_adds(problem) * PASS_BYTES // WARP
    return replace(
        usual,
        global_bytes=usual.global_bytes - weights,
        l1_bytes=usual.l1_bytes - passes,
    )


def _cached_cost(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds: every launch comes with a copy."""
    launches = 2 * len(_cached_launches(problem)) - 1
    movement = _cached_movement(problem)
    alone = roofline_us(movement, ceilings, SLOWDOWN)
    placing = 1e6 * outputs(problem) * OUTPUT_FLOPS / ceilings.flops
    return alone + placing + launches * ceilings.launch_us


CACHED_WEIGHTS = Kernel(
    name="cached_weights",
    operation="conv",
    summary="one thread an output, weights in constant memory; channels first",
    file="conv/03_cached_weights.cuh",
    supports=_cached_supports,
    launch=_cached_launch,
    movement=_cached_movement,
    cost_us=_cached_cost,
    before=_cached_before,
)
