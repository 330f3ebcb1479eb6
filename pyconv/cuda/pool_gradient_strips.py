"""The gradient of means and norms in strips, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pyconv.cuda.counts import taps_along
from pyconv.cuda.gradient import gather_cost_us
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    Ceilings,
    Kernel,
    Launch,
    Movement,
    ceil_div,
    channels_last,
    element_type,
    of_floats,
)
from pyconv.cuda.pool_strips import NORM_ORDERS, are_vectors
from pyconv.problem import POOL_KINDS, PoolProblem

__all__ = ["GRADIENT_STRIPS"]

THREADS = 128
VECTOR_BYTES = 16
MAX_SUMS = 8  # of a thread


@dataclass(frozen=True, slots=True)
class _Strip:
    """Neighbours along a row, and channels."""

    elements: int
    lanes: int


def _strip(problem: PoolProblem) -> _Strip:
    """Choose sixteen bytes that lie side by side, and channels last a neighbour too."""
    size = VECTOR_BYTES // problem.itemsize
    pitches = (problem.x_pitch, problem.y_pitch)
    if channels_last(problem.x_pitch):
        whole = all(are_vectors(pitch, 1, size) for pitch in pitches)
        lanes = size if whole and problem.c % size == 0 else 1
        elements = max(MAX_SUMS // lanes, 1) if lanes > 1 else 2
        return _Strip(min(elements, 2), lanes)
    # Elsewhere than in whole vectors, neighbouring threads store neighbours.
    return _Strip(size if are_vectors(problem.x_pitch, 4, size) else 1, 1)


def _threads(problem: PoolProblem) -> int:
    """Count the strips."""
    strip = _strip(problem)
    rows = problem.n * (problem.c // strip.lanes) * prod(problem.input[:2])
    return rows * ceil_div(problem.input[2], strip.elements)


def _windows(problem: PoolProblem) -> int:
    """Count the pairs of a window and a strip of one row that meet."""
    elements = _strip(problem).elements
    width, taps, stride = problem.input[2], problem.kernel[2], problem.stride[2]
    count = 0
    for first in range(0, width, elements):
        start = first + problem.pad_before[2]
        end = min(first + elements, width) - 1 + problem.pad_before[2]
        lowest = max(ceil_div(start - taps + 1, stride), 0)
        highest = min(end // stride, problem.output[2] - 1)
        count += max(highest - lowest + 1, 0)
    return count


def _supports(problem: PoolProblem) -> str:
    """Means, and norms without powers, of dense rows."""
    if problem.kind not in (POOL_KINDS["average"], POOL_KINDS["lp"]):
        return "gathers means and norms; maxima have indices and no windows"
    if problem.adaptive:
        return "adaptive windows differ in size"
    if problem.dilation[2] != 1 and problem.kernel[2] != 1:
        return "dilated rows share no windows"
    if problem.kind == POOL_KINDS["lp"] and problem.norm_bits not in NORM_ORDERS:
        return "norms of other orders than 1 and 2 are bound by their powers"
    if ceil_div(_threads(problem), THREADS) > MAX_BLOCKS:
        return f"{_threads(problem)} strips need more blocks than a grid has"
    return of_floats(problem)


def _launch(problem: PoolProblem) -> Launch:
    """One thread a strip of dx."""
    strip = _strip(problem)
    is_norm = problem.kind == POOL_KINDS["lp"]
    order = NORM_ORDERS[problem.norm_bits] if is_norm else 0
    last = "true" if channels_last(problem.x_pitch) else "false"
    numbers = (str(number) for number in (order, strip.elements, strip.lanes))
    arguments = (element_type(problem), *numbers, last)
    return Launch(
        call=f"pyconv::pool_gradient_strips::run<{', '.join(arguments)}>",
        tile={"elements": strip.elements, "lanes": strip.lanes, "threads": THREADS},
        blocks=ceil_div(_threads(problem), THREADS),
        threads=THREADS,
        shared_bytes=0,
    )


def _loads(problem: PoolProblem) -> int:
    """Count the elements of grad that strips load."""
    rows = problem.n * problem.c * taps_along(problem, 0) * taps_along(problem, 1)
    return rows * _windows(problem)


def _movement(problem: PoolProblem) -> Movement:
    """Each window once for every strip it meets; a norm's x and y too."""
    arrays = 1 + (problem.kind == POOL_KINDS["lp"])
    inputs = problem.n * problem.c * prod(problem.input)
    moved = (_loads(problem) + inputs) * arrays * problem.itemsize
    compulsory = problem.compulsory_bytes
    return Movement(
        flops=problem.flops,
        global_bytes=moved,
        l1_bytes=moved,
        l2_bytes=compulsory,
        dram_bytes=compulsory,
    )


def _cost_us(problem: PoolProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds: the loads of a strip's windows follow each other."""
    windows = (
        ceil_div(kernel, stride)
        for kernel, stride in zip(problem.kernel, problem.stride, strict=True)
    )
    met = _loads(problem) // _strip(problem).lanes
    return gather_cost_us(
        _movement(problem), _threads(problem), met, prod(windows), ceilings
    )


GRADIENT_STRIPS = Kernel(
    name="gradient_strips",
    operation="pool_grad",
    summary="one thread gathers neighbouring elements from windows loaded once",
    file="pool/gradient_strips.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)
