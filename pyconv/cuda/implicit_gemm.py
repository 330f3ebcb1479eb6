"""The implicit GEMM as the host sees it: limits, tiles, movement, cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from pyconv.cuda.conv import activation, epilogue_bytes
from pyconv.cuda.counts import window_taps
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    MULTIPROCESSORS,
    Ceilings,
    Kernel,
    Launch,
    Movement,
    ceil_div,
    channels_last,
    element_type,
    outputs,
    roofline_us,
    sector_bytes,
    sum_bytes,
    weight_type,
)
from pyconv.problem import ConvProblem, itemsize_of, result_type

__all__ = [
    "IMPLICIT_GEMM",
    "TILES",
    "GemmTile",
    "blocks_together",
    "chain_us",
    "gemm_blocks",
    "gemm_shared_bytes",
    "operand_bytes",
    "pixels",
    "slowdown",
]

WARP = 32
BLOCK_K = 8
VECTOR_BYTES = 16
INDEX_BYTES = 4  # the wide build's are 8
# Bytes a pass of shared memory's 32 banks gives.
PASS_BYTES = 128
PAIRED_BELOW = 64  # sums of a thread
# Sums of a thread: 64 registers, which leaves room for operands and loads in flight.
MAX_SUM_BYTES = 256
# Blocks of so many threads share a multiprocessor by two: 128 registers a thread, which
# hold sums of four bytes; wider ones would be spilled.
LARGE_BLOCK = 256
# Warps of a multiprocessor that keep its arithmetic fed, and the part of that speed
# which is left with hardly any: fitted to ten tiles on an H100, within a fifth.
ENOUGH_WARPS = 12
LEAST_SPEED = 0.45
# From one step's products to the next one's where a block is alone: a load, two barriers.
STEP_US = 0.45


@dataclass(frozen=True, slots=True)
class GemmTile:
    """Tile constants of the implicit GEMM.

    ``efficiency`` is the part of the arithmetic peak that was reached on an H100 where
    blocks were many: forward, channels first, in float32.
    """

    name: str
    block_m: int
    block_n: int
    thread_m: int
    thread_n: int
    efficiency: float

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.block_m // self.thread_m) * (self.block_n // self.thread_n)


TILES = (
    GemmTile("large", 128, 128, 8, 8, 0.47),
    GemmTile("wide", 64, 128, 8, 8, 0.45),
    GemmTile("tall", 128, 64, 8, 4, 0.40),
    GemmTile("medium", 64, 64, 8, 4, 0.40),
    GemmTile("narrow", 128, 16, 4, 4, 0.29),
    GemmTile("small", 32, 32, 4, 4, 0.29),
)


def pixels(problem: ConvProblem) -> int:
    """Count the rows of the product."""
    return problem.n * prod(problem.output)


def gemm_blocks(problem: ConvProblem, tile: GemmTile) -> tuple[int, int]:
    """Count the blocks along the rows, and along the filters of a group."""
    return (
        ceil_div(pixels(problem), tile.block_m),
        ceil_div(problem.k // problem.groups, tile.block_n),
    )


def gemm_shared_bytes(problem: ConvProblem, tile: GemmTile) -> int:
    """Bytes of `Shared` in conv/gemm/product.cuh; a test holds the two together.

    The operands' two buffers, then a pass of sums in their place; and the rows' offsets.
    """
    size = sum_bytes(problem)
    vector = VECTOR_BYTES // size
    operands = 2 * BLOCK_K * (tile.block_m + tile.block_n + 2 * vector)
    rows = tile.block_m // tile.thread_m * vector
    is_last = channels_last(problem.x_pitch)
    slow, fast = (rows, tile.block_n) if is_last else (tile.block_n, rows)
    return max(operands, slow * (fast + vector)) * size + INDEX_BYTES * tile.block_m


def _shared_bytes(problem: ConvProblem, tile: GemmTile) -> int:
    """Add where each row's window begins: four indices, channels last alone."""
    windows = tile.block_m if channels_last(problem.x_pitch) else 0
    return gemm_shared_bytes(problem, tile) + 4 * INDEX_BYTES * windows


def blocks_together(problem: ConvProblem, tile: GemmTile) -> int:
    """Give the blocks that are to share a multiprocessor."""
    return 1 + (tile.threads == LARGE_BLOCK and sum_bytes(problem) == 4)


def operand_bytes(tile: GemmTile, products: int, size: int) -> int:
    """Count what a tile's operands take of shared memory, in whole passes.

    A vector of a warp is two passes where threads share it by pairs, and four of the
    side along which they follow each other where there are 64 sums a thread
    (`gemm_thread` of gemm_tile.cuh); before that, every element is stored once.

    Parameters
    ----------
    tile : GemmTile
        The tile.
    products : int
        How deep it is, times the number of blocks.
    size : int
        Bytes of a sum.
    """
    warps = tile.threads / WARP
    vectors = (tile.thread_m + tile.thread_n) * size // VECTOR_BYTES
    passes = 2 if tile.thread_m * tile.thread_n < PAIRED_BELOW else 3  # of 2 and 4
    stored = (tile.block_m + tile.block_n) * size
    return int(products * (warps * vectors * passes * PASS_BYTES + stored))


def _window_positions(problem: ConvProblem, tile: GemmTile) -> int:
    """Estimate the positions of x that a block's pixels meet, each once."""
    _, height, width = problem.output
    rows = ceil_div(min(tile.block_m, height * width), width)
    positions = problem.kernel[0]
    for axis, size in ((1, rows), (2, min(tile.block_m, width))):
        span = (problem.kernel[axis] - 1) * problem.dilation[axis]
        reach = (size - 1) * problem.stride[axis] + span + 1
        positions *= min(reach, problem.input[axis])
    return min(positions, tile.block_m * prod(problem.kernel))


def _padded(problem: ConvProblem, tile: GemmTile) -> Movement:
    """Give the movement of whole tiles: sums past the end cost as much as any."""
    along_m, along_n = gemm_blocks(problem, tile)
    blocks = problem.groups * along_m * along_n
    channels = problem.c // problem.groups
    taps = prod(problem.kernel)
    depth = ceil_div(channels, BLOCK_K) * BLOCK_K * taps
    weight_size = itemsize_of(problem.weight_dtype)
    pairs = problem.n * problem.c * window_taps(problem) * along_n
    weights = along_m * problem.k * channels * taps
    x = blocks * channels * _window_positions(problem, tile)
    filters = problem.k // problem.groups
    result = itemsize_of(result_type(problem.dtype))
    stored = outputs(problem) * sector_bytes(problem.y_pitch, filters, result)
    loaded = x * sector_bytes(problem.x_pitch, channels, problem.itemsize)
    gathered = pairs * problem.itemsize + weights * weight_size
    return Movement(
        flops=2 * blocks * tile.block_m * tile.block_n * depth,
        global_bytes=gathered + epilogue_bytes(problem),
        l1_bytes=gathered + operand_bytes(tile, blocks * depth, sum_bytes(problem)),
        l2_bytes=int(loaded + weights * weight_size + stored),
        dram_bytes=problem.compulsory_bytes,
    )


def slowdown(blocks: int, tile: GemmTile) -> float:
    """Give the time on the chip over that at the arithmetic's peak.

    Whole waves of blocks take as long as their last one, and a multiprocessor with few
    warps waits for what each of them needs.
    """
    waves = ceil_div(blocks, MULTIPROCESSORS)
    warps = waves * tile.threads / WARP
    speed = min(1.0, LEAST_SPEED + (1 - LEAST_SPEED) * warps / ENOUGH_WARPS)
    return waves * MULTIPROCESSORS / blocks / (speed * tile.efficiency)


def chain_us(steps: int, ceilings: Ceilings) -> float:
    """Estimate microseconds of one block alone: its steps wait for each other."""
    return ceilings.launch_us + steps * STEP_US


def _tile_us(problem: ConvProblem, tile: GemmTile, ceilings: Ceilings) -> float:
    """Estimate microseconds with a tile."""
    blocks = problem.groups * prod(gemm_blocks(problem, tile))
    together = roofline_us(_padded(problem, tile), ceilings, slowdown(blocks, tile))
    steps = ceil_div(problem.c // problem.groups, BLOCK_K) * prod(problem.kernel)
    return max(together, chain_us(steps, ceilings))


@lru_cache(maxsize=1024)
def _tile(problem: ConvProblem) -> GemmTile | None:
    """Choose the tile with the least estimated time; None if no sums fit a thread."""
    size = sum_bytes(problem)
    fitting = [
        tile for tile in TILES if tile.thread_m * tile.thread_n * size <= MAX_SUM_BYTES
    ]
    return min(fitting, key=lambda tile: _tile_us(problem, tile, NOMINAL), default=None)


def _chosen(problem: ConvProblem) -> GemmTile:
    """Give the tile of a supported problem."""
    tile = _tile(problem)
    assert tile is not None, "supports() was not asked"
    return tile


def _supports(problem: ConvProblem) -> str:
    """Everything, up to the size of a grid."""
    tile = _tile(problem)
    if tile is None:
        return f"sums of {sum_bytes(problem)} bytes do not fit a thread's registers"
    blocks = problem.groups * prod(gemm_blocks(problem, tile))
    return "" if blocks <= MAX_BLOCKS else f"{blocks} tiles are more than a grid has"


def _launch(problem: ConvProblem) -> Launch:
    """One block a tile of the product."""
    tile = _chosen(problem)
    space = "pyconv::conv_implicit_gemm"
    constants = (tile.block_m, tile.block_n, tile.thread_m, tile.thread_n)
    arguments = (
        element_type(problem),
        weight_type(problem),
        f"pyconv::GemmTile<{', '.join(map(str, constants))}>",
        f"static_cast<pyconv::PaddingMode>({problem.padding_mode})",
        activation(problem),
        "true" if channels_last(problem.x_pitch) else "false",
    )
    return Launch(
        call=f"{space}::run<{', '.join(arguments)}>",
        tile={
            "block_m": tile.block_m,
            "block_n": tile.block_n,
            "block_k": BLOCK_K,
            "thread_m": tile.thread_m,
            "thread_n": tile.thread_n,
        },
        blocks=problem.groups * prod(gemm_blocks(problem, tile)),
        threads=tile.threads,
        shared_bytes=_shared_bytes(problem, tile),
        blocks_together=blocks_together(problem, tile),
    )


def _movement(problem: ConvProblem) -> Movement:
    """Give the movement with the chosen tile."""
    return _padded(problem, _chosen(problem))


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    return _tile_us(problem, _chosen(problem), ceilings)


IMPLICIT_GEMM = Kernel(
    name="implicit_gemm",
    operation="conv",
    summary="one matrix product over pixels, filters, channels and taps; any problem",
    file="conv/10_implicit_gemm.cuh",
    rounding="implicit_gemm",  # eight channels at a time, their taps
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)
