"""The pooling kernels of one window a thread, as the host sees them.

Device memory bounds them, so the cost is the compulsory bytes at the device's bandwidth
unless L1, a thread's own arithmetic or its chain of loads is slower.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from pyconv.cuda.counts import window_taps
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
    of_reals,
    outputs,
    roofline_us,
)
from pyconv.problem import POOL_KINDS, PoolProblem

__all__ = [
    "AVERAGE",
    "KINDS",
    "LP",
    "MAX",
    "THREADS",
    "of_kind",
    "pool_cost_us",
    "request_bytes",
]

THREADS = 256
KINDS = ("max", "average", "lp")
LINE_BYTES = 128
# Placeholders, from the instructions of a few divisions of indices and from the latency
# of device memory with a few loads in flight; no GPU has been asked.
SETUP_FLOPS = 200
STEP_US = 0.15


def of_kind(problem: PoolProblem) -> str:
    """Refuse, with a reason, element types that a kind of pooling has no sense for."""
    is_max = problem.kind == POOL_KINDS["max"]
    return of_reals(problem) if is_max else of_floats(problem)


def request_bytes(loaded: int, apart: int) -> int:
    """Bytes of L1's passes for a load whose neighbour's begins some bytes apart.

    A pass gives a warp what lies in one line.
    """
    return max(loaded, min(apart, LINE_BYTES))


def pool_cost_us(
    movement: Movement, threads: int, steps: int, ceilings: Ceilings
) -> float:
    """Estimate microseconds: the roofline, each thread's setup, or its chain of loads."""
    chain = ceilings.launch_us + steps * STEP_US
    setup = 1e6 * threads * SETUP_FLOPS / ceilings.flops
    return max(roofline_us(movement, ceilings) + setup, chain)


def _supports(kind: int) -> Callable[[PoolProblem], str]:
    """Make the limits of one kind of pooling."""

    def supports(problem: PoolProblem) -> str:
        if problem.kind != kind:
            return f"computes {KINDS[kind]} pooling, not {KINDS[problem.kind]} pooling"
        if ceil_div(outputs(problem), THREADS) > MAX_BLOCKS:
            return f"{outputs(problem)} outputs need more blocks than a grid has"
        return of_kind(problem)

    return supports


def _launch(kind: str) -> Callable[[PoolProblem], Launch]:
    """Make the launch of one kind: one thread an output."""

    def launch(problem: PoolProblem) -> Launch:
        last = "true" if channels_last(problem.y_pitch) else "false"
        return Launch(
            call=f"pyconv::pool_{kind}::run<{element_type(problem)}, {last}>",
            tile={"threads": THREADS},
            blocks=ceil_div(outputs(problem), THREADS),
            threads=THREADS,
            shared_bytes=0,
        )

    return launch


def _movement(problem: PoolProblem) -> Movement:
    """One operation and one load a tap; neighbours' overlap is served by L1."""
    taps = outputs(problem) * prod(problem.kernel)
    size = problem.itemsize
    compulsory = problem.compulsory_bytes
    # Rows of a window lie in other blocks' lines: L2 sees x once a window row.
    rows = ceil_div(problem.kernel[1], max(problem.stride[1], 1))
    loads = problem.n * problem.c * window_taps(problem)
    # Neighbouring threads begin a channel apart, or a stride, or a plane.
    apart = size if channels_last(problem.y_pitch) else problem.stride[2] * size
    if problem.output[2] == 1 and not channels_last(problem.y_pitch):
        apart = problem.input[2] * size
    stored = outputs(problem) * (size + 8 * problem.return_indices)
    return Movement(
        flops=taps,
        global_bytes=loads * size + stored,
        l1_bytes=taps * request_bytes(size, apart),
        l2_bytes=compulsory * max(rows, 1),
        dram_bytes=compulsory,
    )


def _cost_us(problem: PoolProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    return pool_cost_us(
        _movement(problem), outputs(problem), prod(problem.kernel), ceilings
    )


MAX = Kernel(
    name="max",
    operation="pool",
    summary="one thread finds the maximum of one window",
    file="pool/max.cuh",
    supports=_supports(0),
    launch=_launch("max"),
    movement=_movement,
    cost_us=_cost_us,
)

AVERAGE = Kernel(
    name="average",
    operation="pool",
    summary="one thread averages one window",
    file="pool/average.cuh",
    supports=_supports(1),
    launch=_launch("average"),
    movement=_movement,
    cost_us=_cost_us,
)

LP = Kernel(
    name="lp",
    operation="pool",
    summary="one thread takes the norm of one window",
    file="pool/lp.cuh",
    supports=_supports(2),
    launch=_launch("lp"),
    movement=_movement,
    cost_us=_cost_us,
)
