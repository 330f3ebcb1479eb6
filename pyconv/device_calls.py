"""Calls on CuPy arrays that were seen before: from raw arguments straight to a launch.

Reading a call's arguments takes Python longer than a GPU takes for a small layer. What
they lead to depends on the arrays' types, shapes, strides and device, and on the other
arguments as they are; addresses matter to the kernels alone, and to the check that out=
overlaps nothing, which is made at every call.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pyconv.planning import Choice
from pyconv.recording import recording
from pyconv.running import Call

__all__ = ["NOTHING", "RESULT", "cached", "forget", "remember", "remember_phases"]

LIMIT = 512
_PLAIN = {int, float, str, bool, type(None)}
RESULT = -1
NOTHING = -2


class _Step(NamedTuple):
    """One plan, and its arrays in its order."""

    plan: Any
    # Which raw argument each is, or RESULT, NOTHING; and the byte it begins at.
    takes: tuple[tuple[int, int], ...]


class _Known(NamedTuple):
    """What a call's raw arguments led to; it holds no array."""

    backend: Any
    steps: tuple[_Step, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    dtype: Any
    # The raw out=, if there was one, and the arrays' first and past-the-last bytes,
    # counted from their addresses.
    out: int | None
    spans: dict[int, tuple[int, int]]


_known: dict[Hashable, _Known] = {}


def _key(kind: Hashable, raw: tuple[Any, ...]) -> Hashable:
    """Describe the raw arguments; TypeError for what might change, a list, say."""
    array = _array_type()
    parts: list[Any] = [kind]
    for value in raw:
        given = type(value)
        if given is array:
            data, dtype = value.data, value.dtype
            steps, place = value.strides, data.ptr % dtype.itemsize
            parts += (dtype, value.shape, steps, data.device_id, place)
        else:
            parts.append(_plain(value))
    return tuple(parts)


def _plain(value: Any) -> Hashable:
    """Describe a value that holds no other object: True is not taken for 1."""
    given = type(value)
    if given is tuple:
        return (tuple, *map(_plain, value))
    if given in _PLAIN or isinstance(value, np.integer):
        return (given, value)
    raise TypeError(f"{given.__name__} is read anew at each call")


class _NoArray:
    """What no value is, while CuPy is not there."""


def _array_type() -> Any:
    """Give CuPy's array."""
    cupy = sys.modules.get("cupy")
    return _NoArray if cupy is None else cupy.ndarray


def _span(a: Any) -> tuple[int, int]:
    """Give the first byte of an array and the one past its last, from its address."""
    ends = [
        step * (extent - 1) for step, extent in zip(a.strides, a.shape, strict=True)
    ]
    low = sum(end for end in ends if end < 0)
    return low, sum(end for end in ends if end > 0) + int(a.dtype.itemsize)


def cached(kind: Hashable, raw: tuple[Any, ...], first: int) -> Any:
    """Run a call that was seen before; None if it was not, or must be recorded.

    Parameters
    ----------
    kind : hashable
        The function.
    raw : tuple
        Its arguments as the user gave them.
    first : int
        Where among them an array is in any case.
    """
    if type(raw[first]) is not _array_type() or recording():
        return None
    try:
        known = _known.get(_key(kind, raw))
    except TypeError:  # the long road reads it
        return None
    if known is None or _overlaps(known, raw):
        return None
    if known.out is None:
        y = known.backend.empty(known.shape, known.order, known.dtype, raw[first])
    else:
        y = raw[known.out]
    arrays = {RESULT: y, NOTHING: None}
    for plan, takes in known.steps:
        given = [_from(raw[at] if at >= 0 else arrays[at], byte) for at, byte in takes]
        known.backend.launch(plan, *given)
    return y


def _from(a: Any, byte: int) -> Any:
    """View an array from a byte on: launches ask for addresses, not for shapes."""
    return a if byte == 0 else type(a)((1,), a.dtype, memptr=a.data + byte)


def _overlaps(known: _Known, raw: tuple[Any, ...]) -> bool:
    """Whether out= overlaps an argument: the long road says so."""
    if known.out is None:
        return False
    low, high = (raw[known.out].data.ptr + end for end in known.spans[known.out])
    return any(
        low < raw[place].data.ptr + last and raw[place].data.ptr + first < high
        for place, (first, last) in known.spans.items()
        if place != known.out
    )


def remember(
    kind: Hashable,
    raw: tuple[Any, ...],
    call: Call,
    choice: Choice,
    takes: tuple[int, ...],
) -> None:
    """Keep what a call's raw arguments led to, if nothing about it had to be copied.

    `takes` says which raw argument each of the plan's arrays is, or RESULT, NOTHING.
    """
    if _is_short(call):
        step = _Step(choice.plan, tuple((place, 0) for place in takes))
        _keep(kind, raw, call, call.out, (step,))


def _is_short(call: Call) -> bool:
    """Whether a call on a GPU came to a launch and nothing else."""
    is_there = call.backend.name == "cuda" and not call.lent
    return is_there and not call.road.events and call.problem.n > 0


def remember_phases(
    kind: Hashable,
    raw: tuple[Any, ...],
    runs: list[Any],
    places: dict[str, int],
    whole: tuple[Any, tuple[int, ...] | None],
) -> None:
    """Keep an adjoint's phases: convolutions of views of the user's arrays.

    `runs` are each phase (phases.Phase), its Call and its Choice; `places` says which raw
    arguments x and weight are views of; `whole` is the result and its order in memory.
    """
    result, order = whole
    steps = []
    for phase, call, choice in runs:
        sources = ((phase.x, raw[places["x"]]), (phase.weight, raw[places["weight"]]))
        if (
            phase.is_empty
            or not _is_short(call)
            or any(view.data.mem is not source.data.mem for view, source in sources)
        ):
            return
        x, weight = (view.data.ptr - source.data.ptr for view, source in sources)
        y = phase.y.data.ptr - result.data.ptr
        nothing = (NOTHING, 0)
        takes = ((places["x"], x), (places["weight"], weight), nothing, nothing)
        steps.append(_Step(choice.plan, (*takes, (RESULT, y))))
    if steps:
        _, call, _ = runs[-1]
        last = replace(call, shape=result.shape, order=order)
        out = result if any(value is result for value in raw) else None
        _keep(kind, raw, last, out, tuple(steps))


def _keep(
    kind: Hashable,
    raw: tuple[Any, ...],
    call: Call,
    out: Any,
    steps: tuple[_Step, ...],
) -> None:
    """Put a call's steps where `cached` finds them."""
    array = _array_type()
    places = [place for place, value in enumerate(raw) if type(value) is array]
    outs = [place for place in places if raw[place] is out]
    known = _Known(
        backend=call.backend,
        steps=steps,
        shape=call.shape,
        order=call.order,
        dtype=call.dtype,
        out=outs[0] if outs else None,
        spans={place: _span(raw[place]) for place in places} if outs else {},
    )
    try:
        if len(_known) >= LIMIT:
            _known.clear()
        _known[_key(kind, raw)] = known
    except TypeError:
        return


def forget() -> None:
    """Empty the cache."""
    _known.clear()
