"""The convolutions of an adjoint, run and remembered.

The first call of an adjoint reads, plans and runs each phase like any convolution. If
nothing had to be copied, the plans and where their views begin are all that a call with
the same arguments needs: one PhasesPlan, one language crossing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyconv import _core
from pyconv.arrays import Array, five_axes, pitches
from pyconv.conv_arguments import prepare
from pyconv.planning import Choice
from pyconv.problem import triple
from pyconv.running import Call, run_conv

__all__ = ["Phase", "phases_plan", "run_phase"]


class Phase(NamedTuple):
    """A phase that ran: its call and choice, and its views of the user's arrays."""

    call: Call
    choice: Choice
    x: Array
    weight: Array
    y: Array
    is_empty: bool


def run_phase(
    rank: int, x: Array, weight: Array, y: Array, is_empty: bool, **options: Any
) -> Phase:
    """Convolve x with weight into y; `options` are prepare()'s."""
    call = prepare(rank, x, weight, out=y, **options)
    choice = call.choose()
    run_conv(call, choice)
    return Phase(call, choice, x, weight, y, is_empty)


def phases_plan(
    phases: list[Phase],
    grad: Array,
    weight: Array,
    turned: Array,
    groups: int,
    y: Array,
) -> Any:
    """Plan the same phases for other arrays; None where something had to be copied.

    `turned` is the weight as the phases read it, a view or a copy of the user's.
    """
    if not all(
        phase.call.cacheable and isinstance(phase.choice.plan, _core.ConvPlan)
        for phase in phases
    ):
        return None
    is_copy = not np.may_share_memory(turned, weight)
    base = turned if is_copy else weight
    steps = [
        (
            phase.choice.plan,
            0 if phase.is_empty else _between(grad, phase.x),
            0 if phase.is_empty else _between(base, phase.weight),
            _between(y, phase.y),
            phase.is_empty,
        )
        for phase in phases
    ]
    filters, channels, *kernel = weight.shape
    order = (
        groups,
        filters // groups,
        channels,
        triple(tuple(kernel), 1),
        pitches(five_axes(weight)),
    )
    return _core.phases_plan(steps, order if is_copy else None)


def _between(whole: Array, view: Array) -> int:
    """Count the elements from an array's first one to a view's."""
    here, there = (a.__array_interface__["data"][0] for a in (whole, view))
    return int(there - here) // int(whole.itemsize)
