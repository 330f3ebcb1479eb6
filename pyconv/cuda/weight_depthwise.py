"""The weight gradient of one channel a group, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from pyconv.cuda.counts import strip_positions, taps_along
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
    sum_bytes,
)
from pyconv.cuda.parts import ADD_THREADS, STEP_US, add_rows, adding_us
from pyconv.cuda.pool_strips import are_vectors
from pyconv.problem import ConvProblem

__all__ = ["WEIGHT_DEPTHWISE"]

SPACE = "pyconv::conv_weight_depthwise"
THREADS = 128
VECTOR_BYTES = 16
MAX_TAPS = 49
MAX_ROWS = 16  # of a filter, whose gradients wait in registers
# What a thread keeps: sums of vectors, or everything of one filter's chunk.
VECTOR_SUM_BYTES = 288
REGISTER_BYTES = 544
LOADED_BYTES = 96  # elements of x that a thread loads at once
STAGED_BYTES = 48
INDEX_BYTES = 4
BANKS = 32
WARP = 32
PASS_BYTES = 128
# As `extents_of` in weight_depthwise.cuh has it.
ENOUGH_THREADS = 1 << 16
MOST_PARTS = 2048
LONGEST = 64
LEAST = 16
# Part of the arithmetic peak that is reached, loads and their addresses beside it: what
# 7 x 7 filters took on an H100.
EFFICIENCY = 0.13


@dataclass(frozen=True, slots=True)
class _Division:
    """How the pixels are divided, by the shapes alone: `Extents` in the device code."""

    columns: int  # threads side by side
    is_along_row: bool
    length: int  # outputs of a strip, along the walk
    strips: int
    parts: int

    @property
    def steps(self) -> int:
        """Outputs of one thread, at most."""
        return ceil_div(self.strips, self.parts) * self.length


def _division(problem: ConvProblem) -> _Division:
    """Divide the pixels into strips and parts."""
    _, height, width = problem.output
    columns = 8 if width <= 8 else 16
    blocks = ceil_div(width, columns)
    is_along_row = height == 1
    across, walked = (height, blocks) if is_along_row else (blocks, height)
    lines = problem.n * across
    enough = ENOUGH_THREADS * (VECTOR_BYTES // problem.itemsize) // columns
    wanted = min(ceil_div(enough, problem.k), MOST_PARTS)
    fewest, most = ceil_div(walked, LONGEST), ceil_div(walked, LEAST)
    segments = max(fewest, min(wanted // lines, most))
    length = ceil_div(walked, segments)
    strips = lines * segments
    each = max(strips // wanted, ceil_div(LEAST, length))
    return _Division(columns, is_along_row, length, strips, ceil_div(strips, each))


@dataclass(frozen=True, slots=True)
class _Tile:
    """`Filter` and `Tile` of weight_depthwise.cuh."""

    columns: int
    channels: int
    vector: int
    batch: int
    is_along_row: bool
    chunk: int  # columns of the filter
    step: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return max(THREADS, self.columns * self.channels)

    @property
    def units(self) -> int:
        """Parts of a block."""
        return self.threads // (self.columns * self.channels)


def _step(problem: ConvProblem) -> int:
    """Rows of x from one output to the next, where outputs share any; else all."""
    rows, stride = problem.kernel[1], problem.stride[1]
    shares = problem.dilation[1] == 1 and problem.output[1] > 1
    return min(stride, rows) if shares else rows


def _vector(problem: ConvProblem) -> int:
    """Channels a thread loads at a time, as far as the pitches tell."""
    size = VECTOR_BYTES // problem.itemsize
    pitches = (problem.x_pitch, problem.y_pitch)
    together = all(are_vectors(pitch, 1, size) for pitch in pitches)
    fits = problem.k == problem.c and problem.k % size == 0
    sums = prod(problem.kernel) * size * sum_bytes(problem)
    return size if fits and together and sums <= VECTOR_SUM_BYTES else 1


def _chunk(problem: ConvProblem, step: int) -> int:
    """Columns of the filter whose sums a thread keeps."""
    _, rows, columns = problem.kernel
    wide, size = sum_bytes(problem), problem.itemsize
    each = rows * wide + step * size + INDEX_BYTES
    most = max((REGISTER_BYTES - ceil_div(rows, step) * wide) // each, 1)
    return ceil_div(columns, ceil_div(columns, most))


@lru_cache(maxsize=1024)
def _tile(problem: ConvProblem) -> _Tile:
    """Choose what threads do; which pixels are theirs is said by the division."""
    division, step, vector = _division(problem), _step(problem), _vector(problem)
    channels = 1
    if channels_last(problem.x_pitch):
        side = min(ceil_div(problem.k, vector), 8 if vector > 1 else 16)
        channels = 1 << (side - 1).bit_length()
    chunk = problem.kernel[2] if vector > 1 else _chunk(problem, step)
    loaded = step * chunk * vector * problem.itemsize
    batch = next((b for b in (4, 2) if b * loaded <= LOADED_BYTES), 1)
    return _Tile(
        division.columns, channels, vector, batch, division.is_along_row, chunk, step
    )


def _chunks(problem: ConvProblem) -> int:
    """Count the chunks of a filter."""
    return ceil_div(problem.kernel[2], _tile(problem).chunk)


def _blocks(problem: ConvProblem) -> int:
    """Count the blocks that sum parts."""
    tile = _tile(problem)
    filters = ceil_div(problem.k, tile.channels * tile.vector)
    units = filters * _chunks(problem) * _division(problem).parts
    return ceil_div(units, tile.units)


def _supports(problem: ConvProblem) -> str:
    """One channel a group, two spatial axes, small kernels."""
    if problem.c != problem.groups:
        return "needs groups of one channel each"
    depth = (problem.input[0], problem.kernel[0], problem.output[0])
    if depth != (1, 1, 1) or problem.pad_before[0] or problem.pad_after[0]:
        return "needs two spatial axes: input and kernel depth must be 1"
    if prod(problem.kernel) > MAX_TAPS or problem.kernel[1] > MAX_ROWS:
        return f"kernels have {MAX_TAPS} taps at most, {MAX_ROWS} in a column"
    reason = of_floats(problem)
    if reason:
        return reason
    blocks = _blocks(problem)
    return "" if blocks <= MAX_BLOCKS else f"{blocks} blocks are more than a grid has"


def _type(problem: ConvProblem) -> str:
    """Write the tile as a C++ type."""
    tile = _tile(problem)
    constants = (tile.columns, tile.channels, tile.vector, tile.threads, tile.batch)
    along = "true" if tile.is_along_row else "false"
    return f"{SPACE}::Tile<{', '.join(map(str, constants))}, {along}>"


def _shared_bytes(problem: ConvProblem) -> int:
    """Bytes of `staged` in add_columns.cuh; a test holds the two together."""
    tile, size = _tile(problem), sum_bytes(problem)
    sums = problem.kernel[1] * tile.chunk * tile.vector
    beside = max(BANKS // (tile.columns * tile.channels), 1)
    pitch = tile.threads + tile.units * tile.channels // beside
    return min(STAGED_BYTES // size, sums) * pitch * size


def _shown(problem: ConvProblem) -> dict[str, int]:
    """Give what explain() shows of the tile."""
    tile, division = _tile(problem), _division(problem)
    return {
        "columns": tile.columns,
        "along_channels": tile.channels,
        "vector": tile.vector,
        "chunk": tile.chunk,
        "length": division.length,
        "parts": division.parts,
    }


def _before(problem: ConvProblem) -> tuple[Launch, ...]:
    """Sum every part of the pixels; the filter's extents become constants."""
    tile = _tile(problem)
    window = (problem.kernel[1], tile.chunk, tile.step)
    arguments = (
        element_type(problem),
        f"{SPACE}::Filter<{', '.join(map(str, window))}>",
        _type(problem),
        f"static_cast<pyconv::PaddingMode>({problem.padding_mode})",
    )
    return (
        Launch(
            call=f"{SPACE}::sum_parts<{', '.join(arguments)}>",
            tile=_shown(problem),
            blocks=_blocks(problem),
            threads=tile.threads,
            shared_bytes=_shared_bytes(problem),
            step="parts",
            arguments=("x", "grad", "partial"),
        ),
    )


def _elements(problem: ConvProblem) -> int:
    """Count the weights."""
    return problem.k * prod(problem.kernel)


def _launch(problem: ConvProblem) -> Launch:
    """Add the parts: some threads a weight."""
    rows = add_rows(_division(problem).parts)
    constants = (element_type(problem), _type(problem), str(ADD_THREADS), str(rows))
    return Launch(
        call=f"{SPACE}::add_parts<{', '.join(constants)}>",
        tile=_shown(problem),
        blocks=ceil_div(_elements(problem), ADD_THREADS // rows),
        threads=ADD_THREADS,
        shared_bytes=ADD_THREADS * sum_bytes(problem) if rows > 1 else 0,
        step="sum",
        arguments=("partial", "weight"),
    )


def _workspace(problem: ConvProblem) -> dict[str, int]:
    """Room for every part's sums."""
    parts = _division(problem).parts
    return {"partial": parts * _elements(problem) * sum_bytes(problem)}


def _rows(problem: ConvProblem) -> int:
    """Count the rows of x that strips of outputs load in one plane."""
    if _tile(problem).step == problem.kernel[1]:
        return taps_along(problem, 1)
    return strip_positions(problem, 1, _division(problem).length)


def _movement(problem: ConvProblem) -> Movement:
    """Count a gradient once for each chunk, x once for each column that a row meets."""
    tile, division, size = _tile(problem), _division(problem), problem.itemsize
    planes = problem.n * problem.k
    x = planes * _rows(problem) * taps_along(problem, 2)
    grad = outputs(problem) * _chunks(problem)
    stored = _elements(problem)
    partial = 2 * _workspace(problem)["partial"]
    # Columns' overlap is served by L1, that of neighbouring strips by L2.
    reach = min(strip_positions(problem, 2, division.columns), taps_along(problem, 2))
    from_l2 = planes * _rows(problem) * reach * _chunks(problem)
    # A warp's load takes a pass of L1's 128 bytes, however few it asks for.
    lane_bytes = size * tile.vector
    passes = (x + grad) * size * max(lane_bytes, PASS_BYTES // WARP) // lane_bytes
    return Movement(
        flops=2 * outputs(problem) * prod(problem.kernel),
        global_bytes=(x + grad + stored) * size + partial,
        l1_bytes=passes,
        l2_bytes=(from_l2 + grad + stored) * size + partial,
        dram_bytes=problem.compulsory_bytes + partial,
    )


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds of both launches: the roofline, or a thread's chain."""
    division = _division(problem)
    chain = ceil_div(division.steps, _tile(problem).batch) * STEP_US
    moved = roofline_us(_movement(problem), ceilings, 1 / EFFICIENCY)
    parts = division.parts
    adding = adding_us(parts, add_rows(parts), ceilings)
    return max(moved, ceilings.launch_us + chain) + adding


WEIGHT_DEPTHWISE = Kernel(
    name="depthwise",
    operation="conv_weight",
    summary="one channel a group: all taps in registers, x read once; 1-D, 2-D",
    file="conv_backward/weight_depthwise.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
    before=_before,
    workspace=_workspace,
    rounding="depthwise",
)
