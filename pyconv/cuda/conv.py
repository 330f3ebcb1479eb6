"""The convolution kernels as the host sees them: limits, tiles, movement, cost.

Source of the cost model: time is the largest of arithmetic, L1/shared, L2 and device
memory time (a roofline), plus the launch. Each factor below says what it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from pyconv.cuda.counts import products, tile_positions
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    SHARED_BYTES,
    Ceilings,
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
from pyconv.problem import ConvProblem, itemsize_of, result_type

__all__ = [
    "NAIVE",
    "SHARED_HALO",
    "TILES",
    "HaloTile",
    "activation",
    "epilogue_bytes",
    "multiply_adds",
]

NAIVE_THREADS = 256
WARP = 32
PASS_BYTES = 128
# The naive kernel spends about as many instructions on indices as on multiply-adds.
NAIVE_SLOWDOWN = 2.0
# Part of the arithmetic peak a shared-memory kernel without double buffering reaches;
# a placeholder between published figures (0.6 ... 0.8) until measured on a device.
SHARED_HALO_EFFICIENCY = 0.6


def multiply_adds(problem: ConvProblem) -> int:
    """Count the taps of all outputs, padding included."""
    return outputs(problem) * (problem.c // problem.groups) * prod(problem.kernel)


def activation(problem: ConvProblem) -> str:
    """Write the activation as a C++ template argument."""
    return f"static_cast<pyconv::Activation>({problem.activation})"


def epilogue_bytes(problem: ConvProblem) -> int:
    """Count what is loaded and stored where each output is finished."""
    result = itemsize_of(result_type(problem.dtype))
    bias = problem.has_bias * sum_bytes(problem)
    return outputs(problem) * (result * (1 + problem.has_residual) + bias)


# ---- naive --------------------------------------------------------------------------


def _naive_supports(problem: ConvProblem) -> str:
    """Everything, up to the size of a grid."""
    if ceil_div(outputs(problem), NAIVE_THREADS) > MAX_BLOCKS:
        return f"{outputs(problem)} outputs need more blocks than a grid has"
    return ""


def _naive_launch(problem: ConvProblem) -> Launch:
    """One thread an output, numbered along y's fastest axis."""
    last = "true" if channels_last(problem.y_pitch) else "false"
    types = (element_type(problem), weight_type(problem))
    arguments = (*types, activation(problem), last)
    return Launch(
        call=f"pyconv::conv_naive::run<{', '.join(arguments)}>",
        tile={"threads": NAIVE_THREADS},
        blocks=ceil_div(outputs(problem), NAIVE_THREADS),
        threads=NAIVE_THREADS,
        shared_bytes=0,
    )


def _naive_movement(problem: ConvProblem) -> Movement:
    """Two loads a multiply-add from L1; L2 sees a block's distinct lines."""
    sizes = (problem.itemsize, itemsize_of(problem.weight_dtype))
    size = sum(sizes)
    loads = multiply_adds(problem) * size
    # A warp's load takes a pass of L1's 128 bytes, however few it asks for.
    passes = multiply_adds(problem) * sum(max(one, PASS_BYTES // WARP) for one in sizes)
    # A block's outputs lie in a row: its x lines are shared R ways at best, its one
    # filter is read once a block. Channels-last blocks share the pixel, not the filter.
    l2 = loads // (2 * max(problem.kernel[2], 1)) + loads // (2 * NAIVE_THREADS)
    return Movement(
        flops=2 * multiply_adds(problem),
        global_bytes=products(problem) * size + epilogue_bytes(problem),
        l1_bytes=passes,
        l2_bytes=l2,
        dram_bytes=problem.compulsory_bytes,
    )


def _naive_cost(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    return roofline_us(_naive_movement(problem), ceilings, NAIVE_SLOWDOWN)


NAIVE = Kernel(
    name="naive",
    operation="conv",
    summary="one thread computes one output; any problem",
    file="conv/01_naive.cuh",
    supports=_naive_supports,
    launch=_naive_launch,
    movement=_naive_movement,
    cost_us=_naive_cost,
)


# ---- shared_halo --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HaloTile:
    """Tile constants of the shared-halo kernel; channels come from the 48 KB."""

    name: str
    block_p: int
    block_q: int
    block_k: int
    thread_outputs: int
    thread_k: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        positions = self.block_p * self.block_q // self.thread_outputs
        return positions * (self.block_k // self.thread_k)


# 4 x 8 sums a thread: 32 accumulators + 12 operands stay well under the 168 registers
# that let three 128-thread blocks share a multiprocessor.
TILES = (
    HaloTile("wide", 8, 32, 32, 4, 8),
    HaloTile("square", 16, 16, 32, 4, 8),
    HaloTile("small", 8, 8, 64, 4, 8),
    HaloTile("flat", 1, 256, 32, 4, 8),
    HaloTile("few_filters", 8, 32, 4, 4, 4),
    HaloTile("one_filter", 8, 32, 1, 2, 1),
    HaloTile("one_filter_small", 8, 8, 1, 1, 1),
)
MAX_SUM_BYTES = 8  # 32 sums take 64 registers
MAX_CHANNELS = 8  # 8 channels amortise two barriers over 8 * R * S * 32 multiply-adds


def _halo_elements(problem: ConvProblem, tile: HaloTile) -> tuple[int, int]:
    """Elements of x and of weights one channel of the tile has in shared memory.

    This repeats `Shared` in 04_shared_halo.cuh; a test holds the two together.
    """
    _, rows, columns = problem.kernel
    _, stride_h, stride_w = problem.stride
    height = (tile.block_p - 1) * stride_h + (rows - 1) * problem.dilation[1] + 1
    width = (tile.block_q - 1) * stride_w + (columns - 1) * problem.dilation[2] + 1
    pitch = width
    if stride_h == stride_w == 1 and tile.block_q < WARP:
        pitch = (ceil_div(width, tile.block_q) | 1) * tile.block_q
    filters = tile.block_k if tile.block_k < 4 else tile.block_k + 4
    return height * pitch, rows * columns * filters


def _halo_bytes(problem: ConvProblem, tile: HaloTile) -> int:
    """Bytes one channel of the tile needs in shared memory, where sums' types lie."""
    return sum(_halo_elements(problem, tile)) * sum_bytes(problem)


def _block_channels(problem: ConvProblem, tile: HaloTile) -> int:
    """Channels loaded at a time: a power of two that fits, 0 if none does."""
    per_channel = _halo_bytes(problem, tile)
    channels = MAX_CHANNELS
    while channels > 1 and channels // 2 >= problem.c // problem.groups:
        channels //= 2
    # 32 bytes: the two arrays are aligned to 16 each.
    while channels and channels * per_channel + 32 > SHARED_BYTES:
        channels //= 2
    return channels


def _tiles(problem: ConvProblem, tile: HaloTile) -> int:
    """Count the blocks of a launch."""
    per_group = ceil_div(problem.k // problem.groups, tile.block_k)
    places = ceil_div(problem.output[1], tile.block_p) * ceil_div(
        problem.output[2], tile.block_q
    )
    return problem.n * problem.groups * per_group * places


def _halo_global_bytes(problem: ConvProblem, tile: HaloTile) -> int:
    """Count x with its halos and the filters, once for each tile; and the outputs."""
    block_tiles = (tile.block_p, tile.block_q)
    x, tiles = 1, 1
    for axis, block in zip((1, 2), block_tiles, strict=True):
        span = (problem.kernel[axis] - 1) * problem.dilation[axis]
        reach = (block - 1) * problem.stride[axis] + span + 1
        x *= tile_positions(problem, axis, block, reach)
        tiles *= ceil_div(problem.output[axis], block)
    per_group = problem.k // problem.groups
    x *= problem.n * problem.c * ceil_div(per_group, tile.block_k)
    weights = problem.n * tiles * problem.k * (problem.c // problem.groups)
    weights *= prod(problem.kernel)
    loaded = x * problem.itemsize + weights * itemsize_of(problem.weight_dtype)
    return loaded + epilogue_bytes(problem)


def _halo_movement_of(problem: ConvProblem, tile: HaloTile) -> Movement:
    """Bytes of one tile, times the tiles; sums outside y are computed and dropped."""
    channels = problem.c // problem.groups
    taps = problem.kernel[1] * problem.kernel[2]
    tiles = _tiles(problem, tile)
    x, weights = _halo_elements(problem, tile)
    loaded = x * problem.itemsize + weights * itemsize_of(problem.weight_dtype)
    stored = outputs(problem) * itemsize_of(result_type(problem.dtype))
    sums = tile.thread_outputs * tile.thread_k
    steps = tiles * tile.threads * channels * taps
    # One x word a lane; a weight load is a broadcast, but occupies the port as four
    # words of one lane, a quarter of a 16-byte vector load each.
    words = steps * (tile.thread_outputs + tile.thread_k / 4)
    return Movement(
        flops=2 * steps * sums,
        global_bytes=_halo_global_bytes(problem, tile),
        l1_bytes=int(words * sum_bytes(problem)),
        l2_bytes=tiles * channels * loaded + stored,
        dram_bytes=problem.compulsory_bytes,
    )


@lru_cache(maxsize=1024)
def _halo_tile(problem: ConvProblem) -> HaloTile | None:
    """Choose the tile with the least estimated time; None if none fits."""
    fitting = [tile for tile in TILES if _block_channels(problem, tile)]
    if not fitting:
        return None
    return min(
        fitting, key=lambda tile: roofline_us(_halo_movement_of(problem, tile), NOMINAL)
    )


def _chosen(problem: ConvProblem) -> HaloTile:
    """Give the tile of a supported problem."""
    tile = _halo_tile(problem)
    assert tile is not None, "supports() was not asked"
    return tile


def _halo_supports(problem: ConvProblem) -> str:
    """Two spatial axes, a halo that fits, a grid that fits."""
    depth = (
        problem.input[0],
        problem.kernel[0],
        problem.output[0],
        problem.pad_before[0] + problem.pad_after[0] + 1,
    )
    if depth != (1, 1, 1, 1):
        return "needs two spatial axes: input and kernel depth must be 1"
    if sum_bytes(problem) > MAX_SUM_BYTES:
        return "complex128 sums of a thread's tile do not fit its registers"
    tile = _halo_tile(problem)
    if tile is None:
        least = min(_halo_bytes(problem, tile) for tile in TILES)
        return (
            f"one channel of the input tile with its halo needs {least} bytes of "
            f"shared memory; a block has {SHARED_BYTES}"
        )
    if _tiles(problem, tile) > MAX_BLOCKS:
        return f"{_tiles(problem, tile)} tiles are more than a grid has"
    return ""


def _halo_launch(problem: ConvProblem) -> Launch:
    """One block a tile; kernel extents, strides and dilation become constants."""
    tile = _chosen(problem)
    channels = _block_channels(problem, tile)
    constants = (
        tile.block_p,
        tile.block_q,
        tile.block_k,
        channels,
        tile.thread_outputs,
        tile.thread_k,
    )
    window = (*problem.kernel[1:], *problem.stride[1:], *problem.dilation[1:])
    space = "pyconv::conv_shared_halo"
    tile_type = f"{space}::Tile<{', '.join(map(str, constants))}>"
    filter_type = f"{space}::Filter<{', '.join(map(str, window))}>"
    mode = f"static_cast<pyconv::PaddingMode>({problem.padding_mode})"
    last = "true" if channels_last(problem.x_pitch) else "false"
    arguments = (
        element_type(problem),
        weight_type(problem),
        tile_type,
        filter_type,
        mode,
        activation(problem),
        last,
    )
    return Launch(
        call=f"{space}::run<{', '.join(arguments)}>",
        tile={
            "block_p": tile.block_p,
            "block_q": tile.block_q,
            "block_k": tile.block_k,
            "block_c": channels,
            "thread_outputs": tile.thread_outputs,
            "thread_k": tile.thread_k,
        },
        blocks=_tiles(problem, tile),
        threads=tile.threads,
        shared_bytes=channels * _halo_bytes(problem, tile),
    )


def _halo_movement(problem: ConvProblem) -> Movement:
    """Give the movement with the chosen tile, flops of the outputs that are kept."""
    padded = _halo_movement_of(problem, _chosen(problem))
    return replace(padded, flops=2 * multiply_adds(problem))


def _halo_cost(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds; sums computed past y's edge cost as much as any."""
    padded = _halo_movement_of(problem, _chosen(problem))
    return roofline_us(padded, ceilings, 1 / SHARED_HALO_EFFICIENCY)


SHARED_HALO = Kernel(
    name="shared_halo",
    operation="conv",
    summary="input tile with halo in shared memory, several filters a thread; 1-D, 2-D",
    file="conv/04_shared_halo.cuh",
    supports=_halo_supports,
    launch=_halo_launch,
    movement=_halo_movement,
    cost_us=_halo_cost,
)
