"""im2col and a matrix product as the host sees them: limits, parts, movement, cost."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

from pyconv.cuda.conv import (
    activation,
    epilogue_bytes,
    has_gaps,
    of_float32,
)
from pyconv.cuda.counts import window_taps
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.implicit_gemm import (
    BLOCK_K,
    TILES,
    GemmTile,
    blocks_together,
    chain_us,
    gemm_blocks,
    gemm_shared_bytes,
    operand_bytes,
    pixels,
    slowdown,
)
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    SECTOR_BYTES,
    Ceilings,
    Kernel,
    Launch,
    Movement,
    added,
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

__all__ = ["IM2COL_GEMM"]

THREADS = 256
PASS_BYTES = 128
# Elements of columns written a second, by the card's arithmetic: finding where each comes
# from takes the time. 110 thousand million on an H100.
ELEMENT_RATE = 1.65e-3
# Columns written at a time; as much memory as they take lies idle between calls.
WORKSPACE_BYTES = 256 * 2**20
SPACE = "pyconv::conv_im2col_gemm"


def _columns(problem: ConvProblem) -> int:
    """Count the elements of all columns."""
    return problem.c * prod(problem.kernel) * pixels(problem)


def _parts(problem: ConvProblem) -> list[tuple[int, ConvProblem]]:
    """Cut the batch where its columns pass the bound: first image, and part."""
    image = _columns(problem) // problem.n * problem.itemsize
    together = max(WORKSPACE_BYTES // image, 1)
    return [
        (first, replace(problem, n=min(together, problem.n - first)))
        for first in range(0, problem.n, together)
    ]


def _unfolded(problem: ConvProblem) -> Movement:
    """Give the movement of what writes the columns."""
    read = problem.n * problem.c * window_taps(problem) * problem.itemsize
    written = _columns(problem) * problem.itemsize
    # Neighbouring threads are pixels: channels last, each meets a sector, and a pass of
    # L1, of its own.
    last = channels_last(problem.x_pitch)
    return Movement(
        flops=0,
        global_bytes=read + written,
        l1_bytes=read * (PASS_BYTES // problem.itemsize if last else 1) + written,
        l2_bytes=read * (SECTOR_BYTES // problem.itemsize if last else 1) + written,
        dram_bytes=problem.n * problem.c * prod(problem.input) * problem.itemsize
        + written,
    )


def _padded(problem: ConvProblem, tile: GemmTile) -> Movement:
    """Give the product's movement: sums past the end cost as much as any."""
    along_m, along_n = gemm_blocks(problem, tile)
    blocks = problem.groups * along_m * along_n
    inner = problem.c // problem.groups * prod(problem.kernel)
    depth = ceil_div(inner, BLOCK_K) * BLOCK_K
    columns = _columns(problem) * problem.itemsize
    weights = along_m * problem.k * inner * itemsize_of(problem.weight_dtype)
    gathered = columns * along_n + weights
    filters = problem.k // problem.groups
    result = itemsize_of(result_type(problem.dtype))
    stored = outputs(problem) * sector_bytes(problem.y_pitch, filters, result)
    return Movement(
        flops=2 * blocks * tile.block_m * tile.block_n * depth,
        global_bytes=gathered + epilogue_bytes(problem),
        l1_bytes=gathered + operand_bytes(tile, blocks * depth, sum_bytes(problem)),
        l2_bytes=gathered + int(stored),
        dram_bytes=columns + weights // along_m + outputs(problem) * result,
    )


@lru_cache(maxsize=1024)
def _tile(problem: ConvProblem) -> GemmTile:
    """Choose the tile with the least estimated time."""
    return min(TILES, key=lambda tile: _product_us(problem, tile, NOMINAL))


def _product_us(problem: ConvProblem, tile: GemmTile, ceilings: Ceilings) -> float:
    """Estimate microseconds of the matrix product with a tile."""
    blocks = problem.groups * prod(gemm_blocks(problem, tile))
    together = roofline_us(_padded(problem, tile), ceilings, slowdown(blocks, tile))
    inner = problem.c // problem.groups * prod(problem.kernel)
    return max(together, chain_us(ceil_div(inner, BLOCK_K), ceilings))


def _supports(problem: ConvProblem) -> str:
    """float32, weights without gaps, up to the size of a grid."""
    if of_float32(problem):
        return of_float32(problem)
    if has_gaps(problem):
        return "filters are rows of a matrix, and have gaps"
    blocks = max(
        ceil_div(_columns(problem), THREADS),
        problem.groups * prod(gemm_blocks(problem, _tile(problem))),
    )
    return "" if blocks <= MAX_BLOCKS else f"{blocks} blocks are more than a grid has"


def _launches(problem: ConvProblem) -> tuple[Launch, ...]:
    """Write the columns of some images, multiply them, and so on."""
    mode = f"static_cast<pyconv::PaddingMode>({problem.padding_mode})"
    last = "true" if channels_last(problem.x_pitch) else "false"
    tile = _tile(problem)
    constants = (tile.block_m, tile.block_n, tile.thread_m, tile.thread_n)
    types = (element_type(problem), weight_type(problem))
    arguments = (
        *types,
        f"pyconv::GemmTile<{', '.join(map(str, constants))}>",
        mode,
        activation(problem),
        last,
    )
    found = []
    for first, part in _parts(problem):
        x = first * problem.x_pitch[0] * problem.itemsize
        y = first * problem.y_pitch[0] * itemsize_of(result_type(problem.dtype))
        found += [
            Launch(
                call=f"{SPACE}::unfold<{types[0]}, {mode}>",
                tile={"threads": THREADS},
                blocks=ceil_div(_columns(part), THREADS),
                threads=THREADS,
                shared_bytes=0,
                step="unfold",
                arguments=("x", "columns"),
                part=part,
                first_bytes=(("x", x),),
            ),
            Launch(
                call=f"{SPACE}::multiply<{', '.join(arguments)}>",
                tile={
                    "block_m": tile.block_m,
                    "block_n": tile.block_n,
                    "block_k": BLOCK_K,
                    "images": part.n,
                },
                blocks=part.groups * prod(gemm_blocks(part, tile)),
                threads=tile.threads,
                shared_bytes=gemm_shared_bytes(part, tile),
                blocks_together=blocks_together(problem, tile),
                step="multiply",
                arguments=("x", "weight", "bias", "residual", "y", "columns"),
                part=part,
                first_bytes=(("x", x), ("residual", y), ("y", y)),
            ),
        ]
    return tuple(found)


def _before(problem: ConvProblem) -> tuple[Launch, ...]:
    """Give all launches but the last."""
    return _launches(problem)[:-1]


def _launch(problem: ConvProblem) -> Launch:
    """Give the last of the launches."""
    return _launches(problem)[-1]


def _workspace(problem: ConvProblem) -> dict[str, int]:
    """Room for the columns of the largest part."""
    _, largest = _parts(problem)[0]
    return {"columns": _columns(largest) * problem.itemsize}


def _movement(problem: ConvProblem) -> Movement:
    """Add up both launches' movement, with the chosen tile."""
    return added([_unfolded(problem), _padded(problem, _tile(problem))])


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds of all launches, which wait for each other."""
    launches = 2 * len(_parts(problem)) - 1
    written = 1e6 * _columns(problem) / (ELEMENT_RATE * ceilings.flops)
    product = _product_us(problem, _tile(problem), ceilings)
    return product + written + launches * ceilings.launch_us


IM2COL_GEMM = Kernel(
    name="im2col_gemm",
    operation="conv",
    summary="patches written out as columns, then one matrix product; any rank",
    file="conv/09_im2col_gemm.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
    before=_before,
    workspace=_workspace,
    rounding="channels",
)
