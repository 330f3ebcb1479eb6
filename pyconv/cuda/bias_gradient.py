"""The bias gradient as the host sees it: a block a filter, or parts of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

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
from pyconv.cuda.parts import IN_FLIGHT, STEP_US, adding_us
from pyconv.problem import ConvProblem

__all__ = ["BIAS", "BIAS_PARTS"]

THREADS = 256
# A placeholder; no GPU has been asked. About as many instructions on indices as on sums.
SLOWDOWN = 2.0


def _pixels(problem: ConvProblem) -> int:
    """Count what is summed over."""
    return problem.n * prod(problem.output)


def _supports(problem: ConvProblem) -> str:
    """Everything, up to the size of a grid."""
    if problem.k > MAX_BLOCKS:
        return f"{problem.k} filters need more blocks than a grid has"
    return of_floats(problem)


def _launch(problem: ConvProblem) -> Launch:
    """One block a filter."""
    return Launch(
        call=f"pyconv::conv_bias_naive::run<{element_type(problem)}, {THREADS}>",
        tile={"threads": THREADS},
        blocks=problem.k,
        threads=THREADS,
        shared_bytes=THREADS * sum_bytes(problem),
    )


def _movement(problem: ConvProblem) -> Movement:
    """Every pixel is read once; channels last, a sector of L2 for each element."""
    moved = problem.compulsory_bytes
    last = channels_last(problem.y_pitch)
    from_l2 = outputs(problem) * SECTOR_BYTES if last else moved
    return Movement(problem.flops, moved, from_l2, from_l2, moved)


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds: the roofline, or a thread's chain of loads."""
    chain = ceilings.launch_us + ceil_div(_pixels(problem), THREADS) * STEP_US
    return max(roofline_us(_movement(problem), ceilings, SLOWDOWN), chain)


BIAS = Kernel(
    name="naive",
    operation="conv_bias",
    summary="one block sums the pixels of one filter",
    file="conv_backward/bias.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)


# ---- parts --------------------------------------------------------------------------

SPACE = "pyconv::conv_bias_parts"
VECTOR_BYTES = 16
MAX_COLUMNS = 32  # vectors of filters side by side: a warp's
# Pixels of a part: enough parts for a large device, but few beside the pixels.
ENOUGH_PARTS = 256
LEAST_PIXELS = {False: 2048, True: 256}  # channels first, last
MOST_PIXELS = 16384
ADD_THREADS = 128
ADD_ROWS = 8


@dataclass(frozen=True, slots=True)
class _Tile:
    """`Tile` of bias_parts.cuh, and how far apart pixels are."""

    rows: int
    width: int
    part: int
    density: int

    @property
    def filters(self) -> int:
        """Filters of a block."""
        return THREADS // self.rows * self.width


def _density(problem: ConvProblem) -> int:
    """Say where pixels are evenly apart: 0 nowhere, 1 in images, 2 throughout."""
    depth, height, width = problem.output
    along_n, _, along_d, along_h, along_w = problem.y_pitch
    rows = height == 1 or along_h == width * along_w
    planes = depth == 1 or along_d == height * width * along_w
    images = problem.n == 1 or along_n == depth * height * width * along_w
    return int(rows and planes) * (1 + images)


def _tile(problem: ConvProblem) -> _Tile:
    """Choose the tile by the problem alone, never by the device."""
    last = channels_last(problem.y_pitch)
    width, rows = 1, THREADS
    if last:
        size = VECTOR_BYTES // problem.itemsize
        pitches = (problem.k, *problem.y_pitch[:1], *problem.y_pitch[2:])
        if problem.y_pitch[1] == 1 and all(step % size == 0 for step in pitches):
            width = size
        columns = 1 << (ceil_div(problem.k, width) - 1).bit_length()
        rows = THREADS // min(columns, MAX_COLUMNS)
    part = 1 << (ceil_div(_pixels(problem), ENOUGH_PARTS) - 1).bit_length()
    part = min(max(part, LEAST_PIXELS[last]), MOST_PIXELS)
    return _Tile(rows, width, part, _density(problem))


def _parts(problem: ConvProblem) -> int:
    """Count the parts of the pixels."""
    return ceil_div(_pixels(problem), _tile(problem).part)


def _part_blocks(problem: ConvProblem) -> int:
    """Count the blocks that sum parts."""
    return ceil_div(problem.k, _tile(problem).filters) * _parts(problem)


def _parts_supports(problem: ConvProblem) -> str:
    """Everything, up to the size of a grid."""
    if _part_blocks(problem) > MAX_BLOCKS:
        return f"{_part_blocks(problem)} parts are more than a grid has"
    return of_floats(problem)


def _before(problem: ConvProblem) -> tuple[Launch, ...]:
    """Sum every part: one block a part and group of filters."""
    tile = _tile(problem)
    constants = (THREADS, tile.rows, tile.width, tile.part)
    name = f"{SPACE}::Tile<{', '.join(map(str, constants))}>"
    return (
        Launch(
            call=f"{SPACE}::sum_parts<{name}, {tile.density}, {element_type(problem)}>",
            tile={"rows": tile.rows, "width": tile.width, "part": tile.part},
            blocks=_part_blocks(problem),
            threads=THREADS,
            shared_bytes=THREADS * tile.width * sum_bytes(problem),
            step="parts",
            arguments=("from", "partial"),
        ),
    )


def _parts_launch(problem: ConvProblem) -> Launch:
    """Add the parts: some threads a filter."""
    tile = _tile(problem)
    constants = (str(ADD_THREADS), str(ADD_ROWS), str(tile.part), element_type(problem))
    return Launch(
        call=f"{SPACE}::add_parts<{', '.join(constants)}>",
        tile={"rows": tile.rows, "width": tile.width, "parts": _parts(problem)},
        blocks=ceil_div(problem.k, ADD_THREADS // ADD_ROWS),
        threads=ADD_THREADS,
        shared_bytes=ADD_THREADS * sum_bytes(problem),
        step="sum",
        arguments=("partial", "to"),
    )


def _workspace(problem: ConvProblem) -> dict[str, int]:
    """Room for every part's sums."""
    return {"partial": _parts(problem) * problem.k * sum_bytes(problem)}


def _parts_movement(problem: ConvProblem) -> Movement:
    """Every pixel once, every part's sum twice."""
    partial = 2 * _parts(problem) * problem.k * sum_bytes(problem)
    moved = problem.compulsory_bytes + partial
    return Movement(problem.flops, moved, moved, moved, moved)


def _parts_cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds of both launches."""
    tile = _tile(problem)
    least = min(tile.part, _pixels(problem))
    steps = ceil_div(least, tile.rows * IN_FLIGHT)
    chain = ceilings.launch_us + steps * STEP_US
    moved = roofline_us(_parts_movement(problem), ceilings, SLOWDOWN)
    return max(moved, chain) + adding_us(_parts(problem), ADD_ROWS, ceilings)


BIAS_PARTS = Kernel(
    name="parts",
    operation="conv_bias",
    summary="blocks sum parts of the pixels as they lie, added in order",
    file="conv_backward/bias_parts.cuh",
    supports=_parts_supports,
    launch=_parts_launch,
    movement=_parts_movement,
    cost_us=_parts_cost_us,
    before=_before,
    workspace=_workspace,
)
