"""The weight gradient as a matrix product, as the host sees it."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from pyconv.cuda.counts import window_taps
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.implicit_gemm import (
    BLOCK_K,
    MAX_SUM_BYTES,
    TILES,
    GemmTile,
    blocks_together,
    operand_bytes,
    pixels,
    slowdown,
)
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
    roofline_us,
    sector_bytes,
    sum_bytes,
)
from pyconv.cuda.parts import ADD_THREADS, add_rows, adding_us
from pyconv.problem import ConvProblem

__all__ = ["WEIGHT_GEMM", "WEIGHT_TILES", "parts_of"]

# Few filters in a group, many channels and taps. The wide tile's threads, which load
# more of both sides here, take registers for two of its blocks alone; the tall one is
# slower here than the medium one, by 2 to 16 % on an H200.
WEIGHT_TILES = (
    *(tile for tile in TILES if tile.name not in {"wide", "tall"}),
    GemmTile("tall", 128, 64, 8, 4, 0.36),
    GemmTile("flat", 16, 128, 4, 4, 0.24),
)
ENOUGH_BLOCKS = 528
LEAST_PIXELS = 256
VECTOR_BYTES = 16
INDEX_BYTES = 4  # the wide build's are 8
COLUMN_INDICES = 4
PIXEL_INDICES = 6
SPACE = "pyconv::conv_weight_gemm"


def _columns(problem: ConvProblem) -> int:
    """Count the columns of the product: channels and taps of a group."""
    return problem.c // problem.groups * prod(problem.kernel)


def _blocks(problem: ConvProblem, tile: GemmTile) -> tuple[int, int]:
    """Count the blocks along a group's filters, and along its columns."""
    return (
        ceil_div(problem.k // problem.groups, tile.block_m),
        ceil_div(_columns(problem), tile.block_n),
    )


def parts_of(problem: ConvProblem, tile: GemmTile) -> int:
    """Count the parts of the pixels; `extents_of` in weight_gemm.cuh has the same rule."""
    summed = pixels(problem)
    tiles = problem.groups * prod(_blocks(problem, tile))
    most = ceil_div(summed, LEAST_PIXELS)
    part = ceil_div(summed, min(max(ENOUGH_BLOCKS // tiles, 1), most))
    return ceil_div(summed, ceil_div(part, BLOCK_K) * BLOCK_K)


def _padded(problem: ConvProblem, tile: GemmTile) -> Movement:
    """Give the movement of whole tiles: sums past the end cost as much as any."""
    along_m, along_n = _blocks(problem, tile)
    summed, columns = pixels(problem), _columns(problem)
    parts = parts_of(problem, tile)
    elements = problem.k * columns
    grad = along_n * problem.k * summed
    x = along_m * problem.n * problem.c * window_taps(problem)
    partial = parts * elements * sum_bytes(problem)
    moved = (grad + x + elements) * problem.itemsize + 2 * partial
    of_x = sector_bytes(problem.x_pitch, problem.c // problem.groups, problem.itemsize)
    of_grad = sector_bytes(
        problem.y_pitch, problem.k // problem.groups, problem.itemsize
    )
    blocks = problem.groups * along_m * along_n
    images = along_m * problem.n * problem.c * prod(problem.input)
    return Movement(
        flops=2 * blocks * tile.block_m * tile.block_n * summed,
        global_bytes=moved,
        l1_bytes=moved + operand_bytes(tile, blocks * summed, sum_bytes(problem)),
        l2_bytes=int(grad * of_grad + images * of_x)
        + elements * problem.itemsize
        + 2 * partial,
        dram_bytes=problem.compulsory_bytes + 2 * partial,
    )


@lru_cache(maxsize=1024)
def _tile(problem: ConvProblem) -> GemmTile:
    """Choose the tile with the least estimated time."""
    size = sum_bytes(problem)
    fitting = [
        tile
        for tile in WEIGHT_TILES
        if tile.thread_m * tile.thread_n * size <= MAX_SUM_BYTES
    ]
    return min(fitting, key=lambda tile: _tile_us(problem, tile, NOMINAL))


def _tile_us(problem: ConvProblem, tile: GemmTile, ceilings: Ceilings) -> float:
    """Estimate microseconds of both launches with a tile."""
    parts = parts_of(problem, tile)
    blocks = problem.groups * prod(_blocks(problem, tile)) * parts
    multiplied = roofline_us(_padded(problem, tile), ceilings, slowdown(blocks, tile))
    return multiplied + adding_us(parts, add_rows(parts), ceilings)


def _supports(problem: ConvProblem) -> str:
    """Floats, up to the size of a grid."""
    reason = of_floats(problem)
    if reason:
        return reason
    tile = _tile(problem)
    blocks = problem.groups * prod(_blocks(problem, tile)) * parts_of(problem, tile)
    return "" if blocks <= MAX_BLOCKS else f"{blocks} tiles are more than a grid has"


def _shared_bytes(problem: ConvProblem, tile: GemmTile) -> int:
    """Bytes of `Shared` in weight_gemm.cuh; a test holds the two together."""
    size = sum_bytes(problem)
    vector = VECTOR_BYTES // size
    operands = 2 * BLOCK_K * (tile.block_m + tile.block_n + 2 * vector)
    staging = tile.block_m // tile.thread_m * vector * (tile.block_n + vector)
    indices = COLUMN_INDICES * tile.block_n + 2 * BLOCK_K * PIXEL_INDICES
    return max(operands, staging) * size + indices * INDEX_BYTES


def _type(tile: GemmTile) -> str:
    """Write a tile as a C++ type."""
    constants = (tile.block_m, tile.block_n, tile.thread_m, tile.thread_n)
    return f"pyconv::GemmTile<{', '.join(map(str, constants))}>"


def _before(problem: ConvProblem) -> tuple[Launch, ...]:
    """Sum every part of the pixels: one block a tile and part."""
    tile = _tile(problem)
    arguments = (
        element_type(problem),
        _type(tile),
        f"static_cast<pyconv::PaddingMode>({problem.padding_mode})",
        "true" if channels_last(problem.x_pitch) else "false",
    )
    parts = parts_of(problem, tile)
    return (
        Launch(
            call=f"{SPACE}::sum_parts<{', '.join(arguments)}>",
            tile={"block_m": tile.block_m, "block_n": tile.block_n, "parts": parts},
            blocks=problem.groups * prod(_blocks(problem, tile)) * parts,
            threads=tile.threads,
            shared_bytes=_shared_bytes(problem, tile),
            blocks_together=blocks_together(problem, tile),
            step="parts",
            arguments=("x", "grad", "partial"),
        ),
    )


def _launch(problem: ConvProblem) -> Launch:
    """Add the parts: some threads a weight."""
    tile = _tile(problem)
    elements = problem.k * _columns(problem)
    last = "true" if channels_last(problem.x_pitch) else "false"
    rows = add_rows(parts_of(problem, tile))
    constants = (element_type(problem), _type(tile), last, str(ADD_THREADS), str(rows))
    return Launch(
        call=f"{SPACE}::add_parts<{', '.join(constants)}>",
        tile={
            "block_m": tile.block_m,
            "block_n": tile.block_n,
            "block_k": BLOCK_K,
            "parts": parts_of(problem, tile),
        },
        blocks=ceil_div(elements, ADD_THREADS // rows),
        threads=ADD_THREADS,
        shared_bytes=ADD_THREADS * sum_bytes(problem) if rows > 1 else 0,
        step="sum",
        arguments=("partial", "weight"),
    )


def _workspace(problem: ConvProblem) -> dict[str, int]:
    """Room for every part's sums."""
    parts = parts_of(problem, _tile(problem))
    return {"partial": parts * problem.k * _columns(problem) * sum_bytes(problem)}


def _movement(problem: ConvProblem) -> Movement:
    """Give the movement with the chosen tile."""
    return _padded(problem, _tile(problem))


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds of both launches."""
    return _tile_us(problem, _tile(problem), ceilings)


WEIGHT_GEMM = Kernel(
    name="implicit_gemm",
    operation="conv_weight",
    summary="one matrix product over parts of the pixels, added in order",
    file="conv_backward/weight_gemm.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
    before=_before,
    workspace=_workspace,
    rounding="implicit_gemm",
)
