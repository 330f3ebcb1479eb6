"""The kernels that move patches, as the host sees them: limits, launch, movement, cost.

Device memory bounds both, so the cost is the bytes of image and columns at the device's
bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from pyconv.cuda.counts import window_taps
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    Ceilings,
    Kernel,
    Launch,
    Movement,
    ceil_div,
    element_type,
    of_floats,
    outputs,
    roofline_us,
)
from pyconv.problem import ConvProblem

__all__ = ["COL2IM", "IM2COL"]

THREADS = 256


def _image(problem: ConvProblem) -> int:
    """Count the elements of the images."""
    return problem.n * problem.c * prod(problem.input)


def _supports(elements: Callable[[ConvProblem], int]) -> Callable[[ConvProblem], str]:
    """Everything, up to the size of a grid."""

    def supports(problem: ConvProblem) -> str:
        if ceil_div(elements(problem), THREADS) > MAX_BLOCKS:
            return f"{elements(problem)} elements need more blocks than a grid has"
        return of_floats(problem)

    return supports


def _launch(
    name: str, elements: Callable[[ConvProblem], int]
) -> Callable[[ConvProblem], Launch]:
    """One thread an element of what is written."""

    def launch(problem: ConvProblem) -> Launch:
        return Launch(
            call=f"pyconv::columns_{name}::run<{element_type(problem)}>",
            tile={"threads": THREADS},
            blocks=ceil_div(elements(problem), THREADS),
            threads=THREADS,
            shared_bytes=0,
        )

    return launch


def _movement(problem: ConvProblem) -> Movement:
    """Each element of the columns is read or written once, the image about once."""
    columns = outputs(problem)
    moved = problem.compulsory_bytes
    stored = columns if problem.operation == "im2col" else _image(problem)
    loaded = problem.n * problem.c * window_taps(problem)
    return Movement(
        flops=problem.flops,
        global_bytes=(loaded + stored) * problem.itemsize,
        l1_bytes=max(2 * columns * problem.itemsize, moved),
        l2_bytes=moved,
        dram_bytes=moved,
    )


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    return roofline_us(_movement(problem), ceilings)


def _kernel(
    operation: str, summary: str, elements: Callable[[ConvProblem], int]
) -> Kernel:
    """Fill the entry of one of the two."""
    return Kernel(
        name="naive",
        operation=operation,
        summary=summary,
        file=f"columns/{operation}.cuh",
        supports=_supports(elements),
        launch=_launch(operation, elements),
        movement=_movement,
        cost_us=_cost_us,
    )


IM2COL = _kernel("im2col", "one thread moves one element of the columns", outputs)
COL2IM = _kernel("col2im", "one thread sums one element of the image", _image)
