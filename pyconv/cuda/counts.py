"""How often kernels touch memory: exact counts from the geometry alone.

Positions along the axes are independent, so a count over whole windows is the product of
one count for each axis. The emulator's address log holds these counts to what the kernels
do (tests/test_cuda_traffic.py).
"""

from __future__ import annotations

from math import prod

from pyconv.cuda.kernel import Problem, ceil_div
from pyconv.problem import PADDING_MODES, ConvProblem

__all__ = [
    "products",
    "row_vectors",
    "strip_positions",
    "taps_along",
    "tile_positions",
    "window_taps",
]

AXES = (0, 1, 2)


def taps_along(problem: Problem, axis: int) -> int:
    """Count the pairs of an output and a tap that meet inside the input."""
    extent, outputs = problem.input[axis], problem.output[axis]
    if not isinstance(problem, ConvProblem) and problem.adaptive:
        return sum(
            ceil_div((o + 1) * extent, outputs) - o * extent // outputs
            for o in range(outputs)
        )
    if isinstance(problem, ConvProblem) and problem.padding_mode:
        return outputs * problem.kernel[axis]  # every tap is mapped into the input
    stride, count = problem.stride[axis], 0
    for tap in range(problem.kernel[axis]):
        start = tap * problem.dilation[axis] - problem.pad_before[axis]
        first = max(ceil_div(-start, stride), 0)
        last = min((extent - 1 - start) // stride, outputs - 1)
        count += max(last - first + 1, 0)
    return count


def window_taps(problem: Problem) -> int:
    """Count the taps of one plane's windows that lie inside the input.

    A kernel that skips padding loads this many elements for one channel and filter.
    """
    return prod(taps_along(problem, axis) for axis in AXES)


def products(problem: ConvProblem) -> int:
    """Count the products of a convolution whose element of x is not padding."""
    channels = problem.c // problem.groups
    return problem.n * problem.k * channels * window_taps(problem)


def tile_positions(problem: ConvProblem, axis: int, tile: int, reach: int) -> int:
    """Count the input positions that all tiles of an axis load, halos included.

    Parameters
    ----------
    problem : ConvProblem
        The convolution.
    axis : int
        0 to 2.
    tile : int
        Outputs of one tile.
    reach : int
        Positions of one tile with its halo.
    """
    extent = problem.input[axis]
    step = tile * problem.stride[axis]
    count = 0
    for number in range(ceil_div(problem.output[axis], tile)):
        start = number * step - problem.pad_before[axis]
        count += sum(_is_loaded(problem, start + i, extent) for i in range(reach))
    return count


def row_vectors(problem: ConvProblem, tile: int, reach: int, size: int) -> int:
    """Count the aligned vectors of a row that all tiles of the width load.

    Parameters
    ----------
    problem : ConvProblem
        The convolution.
    tile : int
        Outputs of one tile.
    reach : int
        Positions of one tile with its halo.
    size : int
        Elements of a vector, which divides the width.
    """
    count = 0
    for number in range(ceil_div(problem.output[2], tile)):
        left = number * tile * problem.stride[2] - problem.pad_before[2]
        first = max(left // size, 0)
        last = min(ceil_div(left + reach, size), problem.input[2] // size)
        count += max(last - first, 0)
    return count


def strip_positions(problem: Problem, axis: int, strip: int) -> int:
    """Count the input positions that threads with strips of outputs load along an axis.

    A strip of several outputs loads all positions from its first to its last, one of a
    single output its taps; what lies past the last output is not loaded.
    """
    extent, count = problem.input[axis], 0
    dilation = problem.dilation[axis] if strip == 1 else 1
    for first in range(0, problem.output[axis], strip):
        outputs = min(strip, problem.output[axis] - first)
        start = first * problem.stride[axis] - problem.pad_before[axis]
        reach = (outputs - 1) * problem.stride[axis] + problem.kernel[axis]
        count += sum(
            _is_loaded(problem, start + i * dilation, extent) for i in range(reach)
        )
    return count


def _is_loaded(problem: Problem, position: int, extent: int) -> bool:
    """Whether a position of the padded axis is read from the input.

    One step of a padding mode is enough inside the padding; a halo may reach past it.
    """
    mode = problem.padding_mode if isinstance(problem, ConvProblem) else 0
    if mode == PADDING_MODES["reflect"]:
        position = abs(position)
        if position >= extent:
            position = 2 * (extent - 1) - position
    elif mode == PADDING_MODES["replicate"]:
        position = min(max(position, 0), extent - 1)
    elif mode == PADDING_MODES["circular"]:
        position += extent if position < 0 else -extent if position >= extent else 0
    return 0 <= position < extent
