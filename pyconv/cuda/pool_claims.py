"""What maxima hand back, and unpooling, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pyconv.cuda.gradient import SCATTERED
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    SECTOR_BYTES,
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
    sum_bytes,
)
from pyconv.problem import PoolProblem

__all__ = ["CLAIMS"]

THREADS = 256
PER_THREAD = 4
OWNERS = 4096
INDEX_BYTES = 8
OWNER_BYTES = 4
SUM_BYTES = 32 * 1024  # with the owners as much as a block has without asking for more
# Of one batch of outputs, its loads and a few rounds of three barriers, on each of the
# multiprocessors' blocks; placeholders until measured on a device.
BATCH_US = 0.8
BLOCKS_TOGETHER = 4 * 132


@dataclass(frozen=True, slots=True)
class _Tile:
    """What a block keeps sums of: a chunk of some channels' planes."""

    planes: int
    places: int


def _tile(problem: PoolProblem) -> _Tile:
    """Channels last, as many as make their indices fill a sector."""
    beside = SECTOR_BYTES // INDEX_BYTES
    last = channels_last(problem.x_pitch) and problem.c >= beside
    planes = beside if last else 1
    return _Tile(planes, SUM_BYTES // sum_bytes(problem) // planes)


def _chunks(problem: PoolProblem) -> int:
    """Count the chunks of a plane."""
    return ceil_div(prod(problem.input), _tile(problem).places)


def _blocks(problem: PoolProblem) -> int:
    """Count the chunks of all planes."""
    groups = ceil_div(problem.c, _tile(problem).planes)
    return problem.n * groups * _chunks(problem)


def _supports(problem: PoolProblem) -> str:
    """Whatever has indices, up to the size of a grid."""
    if problem.kind not in SCATTERED:
        return "means and norms have no indices"
    if _blocks(problem) > MAX_BLOCKS:
        return f"{_blocks(problem)} chunks of planes need more blocks than a grid has"
    return of_floats(problem)


def _launch(problem: PoolProblem) -> Launch:
    """One block a chunk of a plane, or of a few neighbouring channels'."""
    tile = _tile(problem)
    constants = (THREADS, PER_THREAD, tile.planes, tile.places, OWNERS)
    arguments = (element_type(problem), *map(str, constants))
    return Launch(
        call=f"pyconv::pool_claims::run<{', '.join(arguments)}>",
        tile={
            "planes": tile.planes,
            "places": tile.places,
            "batch": THREADS * PER_THREAD,
        },
        blocks=_blocks(problem),
        threads=THREADS,
        shared_bytes=tile.planes * tile.places * sum_bytes(problem)
        + OWNERS * OWNER_BYTES,
    )


def _movement(problem: PoolProblem) -> Movement:
    """Each index once for each chunk of its plane; gradients and dx once.

    As if every index were in its plane: a window of padding alone has none.
    """
    asked = outputs(problem) * _chunks(problem)
    elements = problem.n * problem.c * prod(problem.input)
    moved = (outputs(problem) + elements) * problem.itemsize
    # Channels last a sector holds some channels of one place, of which a block has few.
    tile, apart = _tile(problem), channels_last(problem.x_pitch)
    side = tile.planes * problem.itemsize
    of_moved = max(SECTOR_BYTES // side, 1) if apart else 1
    of_asked = max(SECTOR_BYTES // (tile.planes * INDEX_BYTES), 1) if apart else 1
    sectors = INDEX_BYTES * asked * of_asked + moved * of_moved
    return Movement(
        flops=outputs(problem),
        global_bytes=INDEX_BYTES * asked + moved,
        l1_bytes=sectors,
        l2_bytes=sectors,
        dram_bytes=problem.compulsory_bytes,
    )


def _cost_us(problem: PoolProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds: the roofline, or the batches of a block, wave by wave."""
    batches = ceil_div(
        prod(problem.output) * _tile(problem).planes, THREADS * PER_THREAD
    )
    waves = max(_blocks(problem) / BLOCKS_TOGETHER, 1.0)
    chain = ceilings.launch_us + waves * batches * BATCH_US
    return max(roofline_us(_movement(problem), ceilings), chain)


CLAIMS = Kernel(
    name="claims",
    operation="pool_grad",
    summary="outputs claim the places of their maxima and add in order; unpooling",
    file="pool/claims.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)
