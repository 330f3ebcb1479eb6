"""Pooling of whole planes, as the host sees it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, prod

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
    sum_bytes,
)
from pyconv.cuda.pool import of_kind, pool_cost_us
from pyconv.cuda.pool_strips import are_vectors, rule_of
from pyconv.problem import POOL_KINDS, PoolProblem

__all__ = ["PLANES"]

VECTOR_BYTES = 16
THREADS = {False: 256, True: 128}  # channels first, last
MAX_TEAM = {False: 256, True: 16}
LEAST_PIECES = 4  # of a thread
IN_FLIGHT = 4  # loads of a thread: the loop is unrolled as often
INDEX_BYTES = 4  # the wide build's are 8
# A step of the tree beside a step of loads: a placeholder.
STEPS_A_HALF = 0.25


@dataclass(frozen=True, slots=True)
class _Team:
    """Template arguments of planes.cuh."""

    last: bool
    team: int
    width: int
    vectors: bool
    dense: bool

    @property
    def lanes(self) -> int:
        """Planes of a team."""
        return self.width if self.last else 1

    @property
    def planes(self) -> int:
        """Planes of a block."""
        return THREADS[self.last] // self.team * self.lanes


def _is_dense(problem: PoolProblem) -> bool:
    """Whether a plane's pixels are evenly apart."""
    depth, height, width = problem.input
    _, _, along_d, along_h, along_w = problem.x_pitch
    return (height == 1 or along_h == width * along_w) and (
        depth == 1 or along_d == height * width * along_w
    )


def _team(problem: PoolProblem) -> _Team:
    """Choose the threads of a plane: channels first by the plane's extents alone."""
    size = VECTOR_BYTES // problem.itemsize
    elements = prod(problem.input)
    last = channels_last(problem.x_pitch)
    dense = _is_dense(problem)
    if last:
        vectors = problem.c % size == 0 and are_vectors(problem.x_pitch, 1, size)
        width = size if vectors else 1
    else:
        width = size if elements % size == 0 else 1
        # A plane's rows follow each other: only whole planes begin anywhere else.
        pitch = (*problem.x_pitch[:2], 0, 0, problem.x_pitch[4])
        vectors = width > 1 and dense and are_vectors(pitch, 4, size)
    pieces = elements if last else elements // width
    team = 1 << max(pieces // LEAST_PIECES, 1).bit_length() - 1
    return _Team(last, min(team, MAX_TEAM[last]), width, vectors, dense)


def _supports(problem: PoolProblem) -> str:
    """One window that holds the whole plane."""
    if problem.kind not in (0, 1, 2):
        return "pools; it does not put maxima back"
    if prod(problem.output) != 1:
        return f"{prod(problem.output)} windows are more than one a plane"
    for axis in range(3):
        reach = problem.kernel[axis] - problem.pad_before[axis]
        is_dense = problem.dilation[axis] == 1 or problem.kernel[axis] == 1
        if not problem.adaptive and (reach < problem.input[axis] or not is_dense):
            return "the window is not the whole plane"
    blocks = ceil_div(outputs(problem), _team(problem).planes)
    if blocks > MAX_BLOCKS:
        return f"{blocks} blocks are more than a grid has"
    return of_kind(problem)


def _state_bytes(problem: PoolProblem) -> int:
    """Bytes of the rule's `State`."""
    if problem.kind != POOL_KINDS["max"]:
        return sum_bytes(problem)
    is_float = not of_floats(problem)
    number = sum_bytes(problem) if is_float else problem.itemsize
    return 2 * max(number, INDEX_BYTES) if problem.return_indices else number


def _launch(problem: PoolProblem) -> Launch:
    """Give a team a plane or a vector of channels, a block some teams."""
    one = _team(problem)
    threads = THREADS[one.last]
    flags = ("true" if flag else "false" for flag in (one.last, one.vectors, one.dense))
    numbers = (str(number) for number in (threads, one.team, one.width))
    arguments = (rule_of(problem), element_type(problem), *numbers, *flags)
    return Launch(
        call=f"pyconv::pool_planes::run<{', '.join(arguments)}>",
        tile={"team": one.team, "width": one.width, "threads": threads},
        blocks=ceil_div(outputs(problem), one.planes),
        threads=threads,
        shared_bytes=one.lanes * threads * _state_bytes(problem),
    )


def _movement(problem: PoolProblem) -> Movement:
    """Each element once; a state for each thread goes through shared memory."""
    one = _team(problem)
    taps = problem.n * problem.c * prod(problem.input)
    moved = problem.compulsory_bytes
    shared = 4 * outputs(problem) * one.team * _state_bytes(problem)
    return Movement(taps, moved, moved + shared, moved, moved)


def _cost_us(problem: PoolProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    one = _team(problem)
    pieces = prod(problem.input) // (1 if one.last else one.width)
    steps = ceil_div(pieces, one.team * IN_FLIGHT)
    halves = int(log2(one.team) * STEPS_A_HALF)
    threads = outputs(problem) // one.lanes * one.team
    return pool_cost_us(_movement(problem), threads, steps + halves, ceilings)


PLANES = Kernel(
    name="planes",
    rounding="planes",
    operation="pool",
    summary="threads share a plane that is one window, and join what they found",
    file="pool/planes.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
)
