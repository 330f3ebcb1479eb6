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

__all__ = ["Phase", "direct_cost_us", "phases_plan", "run_phases"]


class Phase(NamedTuple):
    """A phase: its views of the user's arrays, and prepare()'s options.

    Without a tap, x and weight are one zero.
    """

    x: Array
    weight: Array
    y: Array
    is_empty: bool
    options: dict[str, Any]

    def read(self, rank: int, dry: bool = False) -> Call:
        """Read the phase as the convolution it is; with `dry` nothing is copied."""
        return prepare(rank, self.x, self.weight, out=self.y, dry=dry, **self.options)


class Run(NamedTuple):
    """A phase that ran."""

    phase: Phase
    call: Call
    choice: Choice


def run_phases(phases: list[Phase], rank: int) -> list[Run]:
    """Convolve each phase into its place."""
    runs = []
    for phase in phases:
        call = phase.read(rank)
        choice = call.choose()
        run_conv(call, choice)
        runs.append(Run(phase, call, choice))
    return runs


def direct_cost_us(phases: list[Phase], rank: int) -> float | None:
    """Predict the phases' time; None where one of them does not round as direct sums."""
    total = 0.0
    for phase in phases:
        candidate = phase.read(rank, dry=True).choose().candidate
        if candidate.rounding != "direct":
            return None
        total += candidate.cost_us + candidate.pack_us
    return total


def phases_plan(
    runs: list[Run],
    grad: Array,
    weight: Array,
    turned: Array,
    groups: int,
    y: Array,
) -> Any:
    """Plan the same phases for other arrays; None where something had to be copied.

    `turned` is the weight as the phases read it, a view or a copy of the user's.
    """
    if not all(run.call.may_be_remembered(run.choice) for run in runs):
        return None
    is_copy = not np.may_share_memory(turned, weight)
    base = turned if is_copy else weight
    steps = [
        (
            choice.plan,
            0 if phase.is_empty else _between(grad, phase.x),
            0 if phase.is_empty else _between(base, phase.weight),
            _between(y, phase.y),
            phase.is_empty,
        )
        for phase, _, choice in runs
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
