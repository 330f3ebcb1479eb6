"""Pooling of strips of outputs, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

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
    outputs,
)
from pyconv.cuda.pool import THREADS, of_kind, pool_cost_us, request_bytes
from pyconv.problem import POOL_KINDS, PoolProblem

__all__ = ["STRIPS", "are_vectors", "rule_of"]

VECTOR_BYTES = 16
MAX_TAPS = 16  # of a row
MAX_OUTPUTS = 8
# Elements taken for each row of a window, all unrolled.
MAX_TAKEN = 128
# Few enough for the registers of blocks that share a multiprocessor.
FEW_TAKEN = 48
FEW_TAPS = 3
FLOAT_BYTES = 4
# Orders of norms that need no powers, by their bits.
NORM_ORDERS = {int(np.float64(order).view(np.int64)): order for order in (1, 2)}
RULES = ("Maximum", "Mean", "", "MaximumAlone")


@dataclass(frozen=True, slots=True)
class _Strip:
    """`Strip` of strips.cuh."""

    outputs: int
    lanes: int
    shift: int


def rule_of(problem: PoolProblem) -> str:
    """Name the rule of rules.cuh that a kind of pooling follows, as a C++ type."""
    kind = problem.kind
    if kind == POOL_KINDS["max"] and not problem.return_indices:
        kind = 3
    if kind == POOL_KINDS["lp"]:
        order = NORM_ORDERS.get(problem.norm_bits, 0)
        return f"pyconv::Norm<{element_type(problem)}, {order}>"
    return f"pyconv::{RULES[kind]}<{element_type(problem)}>"


def are_vectors(pitch: tuple[int, ...], axis: int, size: int) -> bool:
    """Whether whole vectors begin at every multiple of `size` along an axis."""
    others = (step for at, step in enumerate(pitch) if at != axis)
    return pitch[axis] == 1 and all(step % size == 0 for step in others)


def _strip(problem: PoolProblem) -> _Strip:
    """Choose the longest strip that shares elements and leaves its registers room."""
    size = VECTOR_BYTES // problem.itemsize
    taps, stride = problem.kernel[2], problem.stride[2]
    last = channels_last(problem.y_pitch)
    lanes = 1
    if last and problem.c % size == 0:
        pitches = (problem.x_pitch, problem.y_pitch)
        whole = all(are_vectors(pitch, 1, size) for pitch in pitches)
        lanes = size if whole and size * taps <= MAX_TAKEN else 1
    row = are_vectors(problem.x_pitch, 4, size) and not last
    if stride > taps:
        count = 1  # nothing to share
    elif last:
        count = max(1, min(4, size if lanes == 1 else 16 // lanes))
    else:
        # Rows that are not aligned are loaded by neighbouring threads together.
        count = min(size, MAX_OUTPUTS) if row else 1
    while count > 1 and (
        count // 2 >= problem.output[2] or count * lanes * taps > MAX_TAKEN
    ):
        count //= 2
    aligned = row and count * stride % size == 0
    shift = -problem.pad_before[2] % size if aligned else -1
    return _Strip(count, lanes, shift)


def _threads(problem: PoolProblem) -> int:
    """Count the strips."""
    strip = _strip(problem)
    rows = problem.n * (problem.c // strip.lanes) * prod(problem.output[:2])
    return rows * ceil_div(problem.output[2], strip.outputs)


def _supports(problem: PoolProblem) -> str:
    """Dense rows of a few taps."""
    if problem.kind not in (0, 1, 2):
        return "pools; it does not put maxima back"
    if problem.adaptive:
        return "adaptive windows differ in size"
    if problem.dilation[2] != 1 and problem.kernel[2] != 1:
        return "dilated rows share no elements"
    if problem.kernel[2] > MAX_TAPS:
        return f"windows of {problem.kernel[2]} columns are more than {MAX_TAPS}"
    if problem.kind == POOL_KINDS["lp"] and problem.norm_bits not in NORM_ORDERS:
        return "norms of other orders than 1 and 2 are bound by their powers"
    if ceil_div(_threads(problem), THREADS) > MAX_BLOCKS:
        return f"{_threads(problem)} strips need more blocks than a grid has"
    return of_kind(problem)


def _blocks_together(problem: PoolProblem, strip: _Strip) -> int:
    """Give the blocks that are to share a multiprocessor, without spills.

    On an H100 five took 104 us where the compiler's three took 128.
    """
    taken = strip.outputs * strip.lanes * problem.kernel[2]
    if problem.return_indices or problem.itemsize != FLOAT_BYTES or taken > FEW_TAKEN:
        return 1
    most = FEW_TAPS if problem.kind == POOL_KINDS["max"] else FEW_TAPS - 1
    if problem.kernel[2] > most:
        return 1
    return 3 if strip.lanes > 1 else 5


def _launch(problem: PoolProblem) -> Launch:
    """One thread a strip."""
    strip = _strip(problem)
    taps = problem.kernel[2]
    stride = problem.stride[2] if strip.outputs > 1 else 1
    constants = (taps, stride, strip.outputs, strip.lanes, strip.shift)
    name = f"pyconv::pool_strips::Strip<{', '.join(map(str, constants))}>"
    last = "true" if channels_last(problem.y_pitch) else "false"
    arguments = (rule_of(problem), element_type(problem), name, last)
    return Launch(
        call=f"pyconv::pool_strips::run<{', '.join(arguments)}>",
        tile={"outputs": strip.outputs, "lanes": strip.lanes, "threads": THREADS},
        blocks=ceil_div(_threads(problem), THREADS),
        threads=THREADS,
        shared_bytes=0,
        blocks_together=_blocks_together(problem, strip),
    )


def _movement(problem: PoolProblem) -> Movement:
    """Each element once for every strip whose windows hold it."""
    strip, size = _strip(problem), problem.itemsize
    rows = problem.n * problem.c * taps_along(problem, 0) * taps_along(problem, 1)
    loads = rows * strip_positions(problem, 2, strip.outputs)
    stored = outputs(problem) * (size + 8 * problem.return_indices)
    last = channels_last(problem.y_pitch)
    vector = VECTOR_BYTES if strip.lanes > 1 or strip.shift >= 0 else size
    apart = size * strip.outputs * problem.stride[2]
    if problem.output[2] == 1:
        apart = size * problem.input[2]
    # Bytes of L1 for each that is loaded.
    from_l1 = request_bytes(vector, 0 if last else apart) / vector
    # A block's rows of windows overlap in its L1; the halo comes from L2 again.
    row = problem.output[2] * (problem.c if last else 1)
    block = THREADS * strip.outputs * strip.lanes
    height = min(max(block // row, 1), problem.output[1])
    step = height * problem.stride[1]
    halo = max((step - problem.stride[1] + problem.kernel[1]) / step, 1)
    compulsory = problem.compulsory_bytes
    return Movement(
        flops=outputs(problem) * prod(problem.kernel),
        global_bytes=loads * size + stored,
        l1_bytes=int(loads * size * from_l1) + stored,
        l2_bytes=int((compulsory - stored) * halo) + stored,
        dram_bytes=compulsory,
    )


def _cost_us(problem: PoolProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds: the loads of a row do not wait for each other."""
    steps = prod(problem.kernel[:2])
    return pool_cost_us(_movement(problem), _threads(problem), steps, ceilings)


STRIPS = Kernel(
    name="strips",
    operation="pool",
    summary="one thread pools neighbouring outputs from elements loaded once",
    file="pool/strips.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)
