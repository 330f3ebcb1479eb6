"""The gradient kernels as the host sees them: limits, launch, movement, cost."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from pyconv.cuda.counts import products, window_taps
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
    outputs,
    roofline_us,
)
from pyconv.cuda.pool import pool_cost_us
from pyconv.problem import POOL_KINDS, ConvProblem, PoolProblem

__all__ = ["GRADIENT", "SCATTERED", "WEIGHT", "gather_cost_us"]

THREADS = 128
# About as many instructions on indices as on multiply-adds.
SLOWDOWN = 2.0
# From one pixel of a thread's chain to the next: a load that L1 serves, and an addition.
# Fitted to 14 layers on an H100: 0.05 to 0.13.
PIXEL_US = 0.09


def _elements(problem: ConvProblem) -> int:
    """Count the weights."""
    return problem.k * (problem.c // problem.groups) * prod(problem.kernel)


def _supports(problem: ConvProblem) -> str:
    """Everything, up to the size of a grid."""
    if ceil_div(_elements(problem), THREADS) > MAX_BLOCKS:
        return f"{_elements(problem)} weights need more blocks than a grid has"
    return of_floats(problem)


def _launch(problem: ConvProblem) -> Launch:
    """One thread a weight, numbered along its memory."""
    return Launch(
        call=f"pyconv::conv_weight_naive::run<{element_type(problem)}>",
        tile={"threads": THREADS},
        blocks=ceil_div(_elements(problem), THREADS),
        threads=THREADS,
        shared_bytes=0,
    )


def _movement(problem: ConvProblem) -> Movement:
    """Two loads a multiply-add from L1; a block's threads share most of them."""
    taps = outputs(problem) * _elements(problem) // problem.k
    loads = 2 * taps * problem.itemsize
    return Movement(
        flops=2 * taps,
        global_bytes=(2 * products(problem) + _elements(problem)) * problem.itemsize,
        l1_bytes=loads,
        l2_bytes=max(loads // THREADS, problem.compulsory_bytes),
        dram_bytes=problem.compulsory_bytes,
    )


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds: the roofline, or a thread's chain of pixels."""
    pixels = problem.n * prod(problem.output)
    chain = ceilings.launch_us + pixels * PIXEL_US
    return max(roofline_us(_movement(problem), ceilings, SLOWDOWN), chain)


WEIGHT = Kernel(
    name="naive",
    operation="conv_weight",
    summary="one thread sums the gradient of one weight",
    file="conv_backward/weight.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)


# ---- pooling ------------------------------------------------------------------------

# Of finding a window and dividing by its taps: a placeholder, as pool.SETUP_FLOPS is.
WINDOW_FLOPS = 60
SCATTERED = (0, 3)  # maxima and unpooling, by their indices


def _inputs(problem: PoolProblem) -> int:
    """Count the elements of dx."""
    return problem.n * problem.c * prod(problem.input)


def _gathers(problem: PoolProblem) -> str:
    """Means and norms, up to the size of a grid."""
    if problem.kind in SCATTERED:
        return "gathers means and norms; maxima have indices"
    if ceil_div(_inputs(problem), THREADS) > MAX_BLOCKS:
        return f"{_inputs(problem)} elements need more blocks than a grid has"
    return of_floats(problem)


def _gather_launch(problem: PoolProblem) -> Launch:
    """One thread an element of dx."""
    last = "true" if channels_last(problem.x_pitch) else "false"
    return Launch(
        call=f"pyconv::pool_gradient::run<{element_type(problem)}, {last}>",
        tile={"threads": THREADS},
        blocks=ceil_div(_inputs(problem), THREADS),
        threads=THREADS,
        shared_bytes=0,
    )


def _gathered_bytes(problem: PoolProblem) -> int:
    """Count grad, and a norm's y, once for each tap; a norm's x, and dx."""
    is_norm = problem.kind == POOL_KINDS["lp"]
    taps = problem.n * problem.c * window_taps(problem)
    elements = taps * (1 + is_norm) + _inputs(problem) * (1 + is_norm)
    return elements * problem.itemsize


def _gather_movement(problem: PoolProblem) -> Movement:
    """Each element meets the windows that hold it, through L1."""
    met = outputs(problem) * prod(problem.kernel)
    compulsory = problem.compulsory_bytes
    return Movement(
        flops=met,
        global_bytes=_gathered_bytes(problem),
        l1_bytes=met * problem.itemsize,
        l2_bytes=compulsory,
        dram_bytes=compulsory,
    )


def gather_cost_us(
    movement: Movement, threads: int, met: int, steps: int, ceilings: Ceilings
) -> float:
    """Estimate microseconds of threads that look at `met` windows in all."""
    flops = movement.flops + met * WINDOW_FLOPS
    return pool_cost_us(replace(movement, flops=flops), threads, steps, ceilings)


def _gather_cost_us(problem: PoolProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    met = problem.n * problem.c * window_taps(problem)
    steps = ceil_div(met, _inputs(problem))
    return gather_cost_us(
        _gather_movement(problem), _inputs(problem), met, steps, ceilings
    )


GRADIENT = Kernel(
    name="gradient",
    operation="pool_grad",
    summary="one thread gathers one element from the windows that hold it",
    file="pool/gradient.cuh",
    supports=_gathers,
    launch=_gather_launch,
    movement=_gather_movement,
    cost_us=_gather_cost_us,
)
