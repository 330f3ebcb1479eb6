"""The depthwise convolution as the host sees it: limits, strips, movement, cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from pyconv.cuda.conv import activation, epilogue_bytes, multiply_adds
from pyconv.cuda.counts import strip_positions
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
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

__all__ = ["DEPTHWISE", "Strip"]

THREADS = 128
VECTOR_BYTES = 16
MAX_TAPS = 49
MAX_ALONG = 16
# A filter in registers: 49 taps of eight bytes are 98 of them.
MAX_FILTER_BYTES = MAX_TAPS * 8
# Sums of a thread, and beside a filter of many taps; halves' longer vectors lose by it.
SUMS = 32
SUMS_OF_LARGE = 16
LARGE_TAPS = 25
# Taps of filters whose rows are loaded ahead, and words of a row that leave four blocks
# their registers: `Ahead` in depthwise.cuh.
AHEAD_TAPS = 9
AHEAD_WORDS = 24
FLOAT_BYTES = 4
# Threads side by side along channels: eight vectors are a line of 128 bytes.
ALONG_CHANNELS = 8
WARP = 32
PASS_BYTES = 128
# Parts of the arithmetic peak that are reached, loads and their addresses beside it,
# along columns and along channels: what 7 x 7 filters took on an H100.
EFFICIENCY = (0.12, 0.3)


@dataclass(frozen=True, slots=True)
class Strip:
    """What a thread computes, and how threads lie."""

    p: int
    q: int
    vector: int
    channels: int  # threads side by side along the channels; 0: along columns


def _power_of_two(value: int, most: int) -> int:
    """Round up to a power of two, `most` at most."""
    power = 1
    while power < min(value, most):
        power *= 2
    return power


def _vector(problem: ConvProblem) -> int:
    """Channels a thread loads at a time, as far as the pitches tell."""
    size = VECTOR_BYTES // problem.itemsize
    steps = (problem.c, *(problem.x_pitch[axis] for axis in (0, 3, 4)))
    together = problem.x_pitch[1] == problem.y_pitch[1] == 1
    fits = problem.k == problem.c and all(step % size == 0 for step in steps)
    return max(size, 1) if fits and together else 1


def _shared(problem: ConvProblem, axis: int) -> bool:
    """Whether neighbouring outputs share elements along an axis."""
    near = problem.dilation[axis] == 1 and problem.stride[axis] <= 2
    return near and problem.output[axis] > 1


@lru_cache(maxsize=1024)
def _strip(problem: ConvProblem) -> Strip:
    """Choose the strip."""
    down, along = _shared(problem, 1), _shared(problem, 2)
    if not channels_last(problem.x_pitch):
        if down:
            return Strip(8, 1, 1, 0)
        piece = VECTOR_BYTES // itemsize_of(result_type(problem.dtype))
        return Strip(1, max(piece, 1) if along else 1, 1, 0)
    vector = _vector(problem)
    is_large = prod(problem.kernel) > LARGE_TAPS and problem.itemsize >= FLOAT_BYTES
    sums = SUMS_OF_LARGE if is_large else SUMS
    left = max(sums // vector, 1)
    q = min(left, 4 if down else 8) if along else 1
    p = min(left // q, 4) if down else 1
    most = ALONG_CHANNELS if vector > 1 else WARP
    return Strip(p, q, vector, _power_of_two(ceil_div(problem.k, vector), most))


def _strips(problem: ConvProblem, strip: Strip) -> int:
    """Count the strips of one channel in all images."""
    _, height, width = problem.output
    return problem.n * ceil_div(height, strip.p) * ceil_div(width, strip.q)


def _blocks(problem: ConvProblem, strip: Strip) -> tuple[int, int]:
    """Count the blocks along the strips and along the channels."""
    if not strip.channels:
        return ceil_div(_strips(problem, strip) * problem.k, THREADS), 1
    return (
        ceil_div(_strips(problem, strip), THREADS // strip.channels),
        ceil_div(problem.k, strip.channels * strip.vector),
    )


def _supports(problem: ConvProblem) -> str:
    """One channel a group, two spatial axes, small kernels."""
    if problem.c != problem.groups:
        return "needs groups of one channel each"
    depth = (problem.input[0], problem.kernel[0], problem.output[0])
    if depth != (1, 1, 1) or problem.pad_before[0] or problem.pad_after[0]:
        return "needs two spatial axes: input and kernel depth must be 1"
    taps = prod(problem.kernel)
    if taps > MAX_TAPS or max(problem.kernel) > MAX_ALONG:
        return f"kernels have {MAX_TAPS} taps at most, {MAX_ALONG} in a row"
    if taps * sum_bytes(problem) > MAX_FILTER_BYTES:
        return f"{taps} complex128 weights do not fit a thread's registers"
    blocks = prod(_blocks(problem, _strip(problem)))
    return "" if blocks <= MAX_BLOCKS else f"{blocks} blocks are more than a grid has"


def _shared_bytes(problem: ConvProblem, strip: Strip) -> int:
    """Bytes of the block's filters; `Shared` in depthwise.cuh, a test holds both."""
    if not strip.channels:
        return 0
    pitch = (strip.channels + 1) * strip.vector
    return prod(problem.kernel) * pitch * sum_bytes(problem)


def _blocks_together(problem: ConvProblem, strip: Strip) -> int:
    """Give the blocks that are to share a multiprocessor: the most without spills."""
    if sum_bytes(problem) != FLOAT_BYTES:
        return 1
    taps = prod(problem.kernel)
    if not strip.channels:
        is_dense = (
            problem.kernel[1] > 1 and problem.stride[1:] == (1, 1) and strip.p > 1
        )
        return 5 if is_dense and (taps <= AHEAD_TAPS or taps > LARGE_TAPS) else 1
    columns = (strip.q - 1) * problem.stride[2] + problem.kernel[2]
    return 4 if taps <= AHEAD_TAPS and columns * strip.vector <= AHEAD_WORDS else 1


def _launch(problem: ConvProblem) -> Launch:
    """One thread a strip; kernel extents and strides become constants."""
    strip = _strip(problem)
    space = "pyconv::conv_depthwise"
    _, rows, columns = problem.kernel
    _, stride_h, stride_w = problem.stride
    window = (
        rows,
        columns,
        stride_h if strip.p > 1 else 1,
        stride_w if strip.q > 1 else 1,
    )
    shape = (strip.p, strip.q, strip.vector, strip.channels, THREADS)
    arguments = (
        element_type(problem),
        weight_type(problem),
        f"{space}::Filter<{', '.join(map(str, window))}>",
        f"{space}::Strip<{', '.join(map(str, shape))}>",
        f"static_cast<pyconv::PaddingMode>({problem.padding_mode})",
        activation(problem),
    )
    return Launch(
        call=f"{space}::run<{', '.join(arguments)}>",
        tile={
            "strip_p": strip.p,
            "strip_q": strip.q,
            "vector": strip.vector,
            "along_channels": strip.channels,
        },
        blocks=prod(_blocks(problem, strip)),
        threads=THREADS,
        shared_bytes=_shared_bytes(problem, strip),
        blocks_together=_blocks_together(problem, strip),
    )


def _movement(problem: ConvProblem) -> Movement:
    """Count strips with their halos; filters once a block, or once a thread."""
    strip = _strip(problem)
    taps = prod(problem.kernel)
    down, along = (
        strip_positions(problem, axis, size)
        for axis, size in ((1, strip.p), (2, strip.q))
    )
    x = problem.n * problem.k * down * along * problem.itemsize
    along_strips, _ = _blocks(problem, strip)
    readers = along_strips if strip.channels else _strips(problem, strip)
    weights = readers * problem.k * taps * itemsize_of(problem.weight_dtype)
    moved = x + weights + epilogue_bytes(problem)
    # A warp's load takes a pass of L1's 128 bytes, however few it asks for.
    lane_bytes = problem.itemsize * strip.vector
    passes = x * max(lane_bytes, PASS_BYTES // WARP) // lane_bytes
    # A weight in shared memory serves a row of the strip.
    from_shared = multiply_adds(problem) // strip.q * sum_bytes(problem)
    # Columns' overlap is served by L1, that of the strips' rows by L2.
    rows = problem.n * problem.k * down * problem.input[2] * problem.itemsize
    stored = outputs(problem) * itemsize_of(result_type(problem.dtype))
    # A strip past the edge sums its outputs too.
    sums = _strips(problem, strip) * strip.p * strip.q * problem.k
    return Movement(
        flops=2 * sums * taps,
        global_bytes=moved,
        l1_bytes=passes + (from_shared if strip.channels else weights),
        l2_bytes=min(rows, x) + stored,
        dram_bytes=problem.compulsory_bytes,
    )


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    efficiency = EFFICIENCY[bool(_strip(problem).channels)]
    return roofline_us(_movement(problem), ceilings, 1 / efficiency)


DEPTHWISE = Kernel(
    name="depthwise",
    operation="conv",
    summary="one channel a group: strips of outputs, 16-byte vectors; 1-D, 2-D",
    file="conv/depthwise.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)
