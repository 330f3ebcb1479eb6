"""The ladder's rungs with a halo in shared memory: limits, tiles, movement, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod

from pyconv.cuda.conv import activation, epilogue_bytes, multiply_adds, of_float32
from pyconv.cuda.counts import row_vectors, tile_positions
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.halo_tiles import ONE_OUTPUT, TILES, HaloTile
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    MULTIPROCESSORS,
    SECTOR_BYTES,
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
from pyconv.problem import DTYPES, ConvProblem, itemsize_of, result_type

__all__ = [
    "ASYNC_PIPELINE",
    "BANK_PADDING",
    "REGISTER_TILE",
    "SHARED_HALO",
    "VECTOR_LOADS",
    "HaloTile",
]

WARP = 32
PASS_BYTES = 128
VECTOR_BYTES = 16
# Of a buffer, where there are two: a block has 64 KB on every architecture.
PIPELINE_BYTES = 32 * 1024


MAX_SUM_BYTES = 8  # 32 sums take 64 registers
# What a thread takes beside its products, in operations: measured where it has two sums
# of nine products.
THREAD_FLOPS = 1800
# What an output takes more where channels are last: it is stored alone.
STORE_FLOPS = 600
MAX_CHANNELS = 8  # 8 channels amortise two barriers over 8 * R * S * 32 multiply-adds


@dataclass(frozen=True, slots=True)
class Rung:
    """What sets a rung apart from the one before."""

    name: str
    number: int
    summary: str
    tiles: tuple[HaloTile, ...] = TILES
    has_weights: bool = True  # in shared memory
    has_vectors: bool = False
    is_padded: bool = False
    is_async: bool = False
    # Part of the arithmetic peak that is reached where nothing else binds, on an H100.
    efficiency: float = 0.6
    refuses: Callable[[ConvProblem], str] = lambda _: ""

    @property
    def buffer_bytes(self) -> int:
        """Shared memory of one tile."""
        return PIPELINE_BYTES if self.is_async else SHARED_BYTES


def _elements(problem: ConvProblem, tile: HaloTile, rung: Rung) -> tuple[int, int]:
    """Elements of x and of weights one channel of the tile has in shared memory.

    This repeats `Input` and `Shared` in halo/shape.cuh; a test holds the two together.
    """
    _, rows, columns = problem.kernel
    _, stride_h, stride_w = problem.stride
    height = (tile.block_p - 1) * stride_h + (rows - 1) * problem.dilation[1] + 1
    width = (tile.block_q - 1) * stride_w + (columns - 1) * problem.dilation[2] + 1
    pitch = width
    if rung.is_padded and stride_h == stride_w == 1 and tile.block_q < WARP:
        pitch = (ceil_div(width, tile.block_q) | 1) * tile.block_q
    filters = tile.block_k + 4 * (tile.block_k >= 4 and rung.is_padded)
    return height * pitch, rows * columns * filters * rung.has_weights


def _channel_bytes(problem: ConvProblem, tile: HaloTile, rung: Rung) -> int:
    """Bytes one channel of the tile needs in shared memory, where sums' types lie."""
    return sum(_elements(problem, tile, rung)) * sum_bytes(problem)


def _block_channels(problem: ConvProblem, tile: HaloTile, rung: Rung) -> int:
    """Channels loaded at a time: a power of two that fits, 0 if none does."""
    per_channel = _channel_bytes(problem, tile, rung)
    channels = MAX_CHANNELS
    while channels > 1 and channels // 2 >= problem.c // problem.groups:
        channels //= 2
    # 32 bytes: the two arrays are aligned to 16 each.
    while channels and channels * per_channel + 32 > rung.buffer_bytes:
        channels //= 2
    return channels


def _places(problem: ConvProblem, tile: HaloTile) -> int:
    """Count the tiles of one filter's outputs in all images."""
    _, height, width = problem.output
    return problem.n * ceil_div(height, tile.block_p) * ceil_div(width, tile.block_q)


def _tiles(problem: ConvProblem, tile: HaloTile) -> int:
    """Count the blocks of a launch."""
    per_group = ceil_div(problem.k // problem.groups, tile.block_k)
    return problem.groups * per_group * _places(problem, tile)


def _has_aligned_rows(problem: ConvProblem, rung: Rung) -> bool:
    """Whether rows of x are loaded in vectors, as far as the pitches tell."""
    size = VECTOR_BYTES // problem.itemsize
    steps = (problem.input[2], *(problem.x_pitch[axis] for axis in (0, 1, 3)))
    return (
        rung.has_vectors
        and not rung.is_async
        and size > 1
        and problem.padding_mode == 0
        and problem.x_pitch[4] == 1
        and all(step % size == 0 for step in steps)
    )


def _global_bytes(problem: ConvProblem, tile: HaloTile, rung: Rung) -> int:
    """Count x with its halos and the filters, once for each tile; and the outputs."""
    reaches = [
        (block - 1) * problem.stride[axis]
        + (problem.kernel[axis] - 1) * problem.dilation[axis]
        + 1
        for axis, block in ((1, tile.block_p), (2, tile.block_q))
    ]
    x = tile_positions(problem, 1, tile.block_p, reaches[0])
    if _has_aligned_rows(problem, rung):
        size = VECTOR_BYTES // problem.itemsize
        x *= size * row_vectors(problem, tile.block_q, reaches[1], size)
    else:
        x *= tile_positions(problem, 2, tile.block_q, reaches[1])
    x *= problem.n * problem.c * ceil_div(problem.k // problem.groups, tile.block_k)
    readers = _places(problem, tile)
    if not rung.has_weights:  # every output reads its filter, and the tile tests it
        tested = readers if problem.padding_mode == 0 else 0
        readers = outputs(problem) // problem.k + tested
    weights = readers * problem.k * (problem.c // problem.groups) * prod(problem.kernel)
    loaded = x * problem.itemsize + weights * itemsize_of(problem.weight_dtype)
    return loaded + epilogue_bytes(problem)


def _padded(problem: ConvProblem, tile: HaloTile, rung: Rung) -> Movement:
    """Bytes of one tile, times the tiles; sums outside y are computed and dropped."""
    channels = problem.c // problem.groups
    taps = problem.kernel[1] * problem.kernel[2]
    tiles = _tiles(problem, tile)
    x, weights = _elements(problem, tile, rung)
    filters = tile.block_k * taps  # a channel's, wherever they wait
    # Channels last, every output is stored alone, and a channel alone is loaded alone: a
    # sector for each.
    result = itemsize_of(result_type(problem.dtype))
    element = problem.itemsize
    if channels_last(problem.y_pitch):
        result = max(result, SECTOR_BYTES)
        element = max(element, SECTOR_BYTES) if channels == 1 else element
    loaded = x * element + filters * itemsize_of(problem.weight_dtype)
    stored = outputs(problem) * result
    sums = tile.thread_outputs * tile.thread_k
    steps = tiles * tile.threads * channels * taps
    # A word a lane for each of x, twice where rows of a narrow tile meet in a bank. A
    # weight is one address for all, but takes a pass, or a fourth of a vector's.
    conflict = 1 + (not rung.is_padded and tile.block_q < WARP)
    words = steps * (
        conflict * tile.thread_outputs
        + tile.thread_k / (4 if rung.has_vectors and rung.has_weights else 1)
    )
    # Stored across: a pass for each without padding, four for a warp's 32 with it.
    across = PASS_BYTES // (8 if rung.is_padded else 1) if rung.has_weights else 0
    # Where filters are not shared a thread has one output, or stops if there is none.
    flops = 2 * (steps * sums if rung.has_weights else multiply_adds(problem))
    return Movement(
        flops=flops,
        global_bytes=_global_bytes(problem, tile, rung),
        l1_bytes=int(words * sum_bytes(problem)) + tiles * channels * weights * across,
        l2_bytes=tiles * channels * loaded + stored,
        dram_bytes=problem.compulsory_bytes,
    )


@lru_cache(maxsize=1024)
def _tile(problem: ConvProblem, rung: Rung) -> HaloTile | None:
    """Choose the tile with the least estimated time; None if none fits."""
    fitting = [tile for tile in rung.tiles if _block_channels(problem, tile, rung)]
    if not fitting:
        return None
    return min(
        fitting, key=lambda tile: roofline_us(_padded(problem, tile, rung), NOMINAL)
    )


def _chosen(problem: ConvProblem, rung: Rung) -> HaloTile:
    """Give the tile of a supported problem."""
    tile = _tile(problem, rung)
    assert tile is not None, "supports() was not asked"
    return tile


def _supports(problem: ConvProblem, rung: Rung) -> str:
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
    reason = rung.refuses(problem)
    if reason:
        return reason
    tile = _tile(problem, rung)
    if tile is None:
        least = min(_channel_bytes(problem, tile, rung) for tile in rung.tiles)
        return (
            f"one channel of the input tile with its halo needs {least} bytes of "
            f"shared memory; there are {rung.buffer_bytes}"
        )
    if _tiles(problem, tile) > MAX_BLOCKS:
        return f"{_tiles(problem, tile)} tiles are more than a grid has"
    return ""


def _launch(problem: ConvProblem, rung: Rung) -> Launch:
    """One block a tile; kernel extents, strides and dilation become constants."""
    tile = _chosen(problem, rung)
    channels = _block_channels(problem, tile, rung)
    constants = (
        tile.block_p,
        tile.block_q,
        tile.block_k,
        channels,
        tile.thread_outputs,
        tile.thread_k,
    )
    window = (*problem.kernel[1:], *problem.stride[1:], *problem.dilation[1:])
    types = [
        element_type(problem),
        weight_type(problem),
        f"pyconv::halo::Tile<{', '.join(map(str, constants))}>",
        f"pyconv::halo::Filter<{', '.join(map(str, window))}>",
    ]
    values = [
        f"static_cast<pyconv::PaddingMode>({problem.padding_mode})",
        activation(problem),
        "true" if channels_last(problem.x_pitch) else "false",
    ]
    space = f"pyconv::conv_{rung.name}"
    if rung.has_weights and not rung.is_async:  # one body, whose layout is the rung's
        types.append(f"{space}::Layout")
        values.append("true" if _has_aligned_rows(problem, rung) else "false")
        space = "pyconv::halo"
    return Launch(
        call=f"{space}::run<{', '.join((*types, *values))}>",
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
        shared_bytes=_shared_bytes(problem, tile, rung),
        is_dynamic=rung.is_async,
    )


def _shared_bytes(problem: ConvProblem, tile: HaloTile, rung: Rung) -> int:
    """Bytes of a block: one tile, or two whose arrays are aligned."""
    channels = _block_channels(problem, tile, rung)
    if not rung.is_async:
        return channels * _channel_bytes(problem, tile, rung)
    parts = (part * sum_bytes(problem) for part in _elements(problem, tile, rung))
    return 2 * sum(ceil_div(channels * part, 16) * 16 for part in parts)


def _movement(problem: ConvProblem, rung: Rung) -> Movement:
    """Give the movement with the chosen tile."""
    return _padded(problem, _chosen(problem, rung), rung)


def _cost_us(problem: ConvProblem, ceilings: Ceilings, rung: Rung) -> float:
    """Estimate microseconds; sums computed past y's edge cost as much as any."""
    tile = _chosen(problem, rung)
    blocks = _tiles(problem, tile)
    placing = blocks * tile.threads * THREAD_FLOPS
    if channels_last(problem.y_pitch):
        placing += outputs(problem) * STORE_FLOPS
    # Whole waves of blocks take as long as their last one.
    waves = ceil_div(blocks, MULTIPROCESSORS) * MULTIPROCESSORS / blocks
    alone = roofline_us(_padded(problem, tile, rung), ceilings, waves / rung.efficiency)
    return alone + 1e6 * placing / ceilings.flops


def _kernel(rung: Rung) -> Kernel:
    """Make a rung's entry in the list."""
    return Kernel(
        name=rung.name,
        operation="conv",
        summary=rung.summary,
        file=f"conv/{rung.number:02}_{rung.name}.cuh",
        supports=partial(_supports, rung=rung),
        launch=partial(_launch, rung=rung),
        movement=partial(_movement, rung=rung),
        cost_us=partial(_cost_us, rung=rung),
        rounding="channels",  # channel by channel, taps inside
    )


def _of_copies(problem: ConvProblem) -> str:
    """Refuse what must be widened on its way, or is no unit of a copy."""
    copied = (DTYPES["float32"], DTYPES["float64"])
    return "" if problem.dtype in copied else "copies float32 and float64 as they are"


SHARED_HALO = _kernel(
    Rung(
        "shared_halo",
        4,
        "input tile with halo in shared memory, one output a thread; 1-D, 2-D",
        tiles=ONE_OUTPUT,
        has_weights=False,
        efficiency=0.5,
        refuses=of_float32,
    )
)
REGISTER_TILE = _kernel(
    Rung(
        "register_tile",
        5,
        "halo and filters in shared memory, several sums a thread; 1-D, 2-D",
        refuses=of_float32,
    )
)
VECTOR_LOADS = _kernel(
    Rung(
        "vector_loads",
        6,
        "the same, sixteen bytes a load; 1-D, 2-D",
        has_vectors=True,
        efficiency=0.45,
        refuses=of_float32,
    )
)
BANK_PADDING = _kernel(
    Rung(
        "bank_padding",
        7,
        "the same, pitches that avoid bank conflicts; 1-D, 2-D",
        has_vectors=True,
        is_padded=True,
        efficiency=0.38,
    )
)
ASYNC_PIPELINE = _kernel(
    Rung(
        "async_pipeline",
        8,
        "the same, the next tile on its way meanwhile; 1-D, 2-D",
        has_vectors=True,
        is_padded=True,
        is_async=True,
        efficiency=0.37,
        refuses=_of_copies,
    )
)
