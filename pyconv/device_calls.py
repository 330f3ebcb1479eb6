"""Calls on CuPy arrays that were seen before: from raw arguments straight to a launch.

Reading a call's arguments takes Python longer than a GPU takes for a small layer. What
they lead to depends on the arrays' types, shapes, strides and device, and on the other
arguments as they are; addresses matter to the kernels alone, and to the check that out=
overlaps nothing, which is made at every call.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Any, NamedTuple

from pyconv.planning import Choice
from pyconv.recording import recording
from pyconv.running import Call

__all__ = ["NOTHING", "RESULT", "cached", "forget", "remember"]

LIMIT = 512
RESULT = -1
NOTHING = -2


class _Known(NamedTuple):
    """What a call's raw arguments led to; it holds no array."""

    backend: Any
    plan: Any
    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    dtype: Any
    # Of the plan's arrays, in its order: which raw argument each is; RESULT, NOTHING.
    takes: tuple[int, ...]
    # The raw out=, if there was one, and the arrays' first and past-the-last bytes,
    # counted from their addresses.
    out: int | None
    spans: dict[int, tuple[int, int]]


_known: dict[Hashable, _Known] = {}


def _key(kind: Hashable, raw: tuple[Any, ...]) -> Hashable:
    """Describe the raw arguments; what cannot be hashed raises TypeError later."""
    array = _array_type()
    parts: list[Any] = [kind]
    for value in raw:
        given = type(value)
        if given is array:
            data, dtype = value.data, value.dtype
            steps, place = value.strides, data.ptr % dtype.itemsize
            parts += (dtype, value.shape, steps, data.device_id, place)
        elif given is tuple:  # True is not taken for 1
            parts += (*map(type, value), value)
        else:
            parts += (given, value)
    return tuple(parts)


def _array_type() -> Any:
    """Give CuPy's array, or what nothing is while CuPy is not there."""
    cupy = sys.modules.get("cupy")
    return _key if cupy is None else cupy.ndarray


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
    except TypeError:  # a list, say: the long road reads it
        return None
    if known is None or _overlaps(known, raw):
        return None
    if known.out is None:
        y = known.backend.empty(known.shape, known.order, known.dtype, raw[first])
    else:
        y = raw[known.out]
    arrays = {RESULT: y, NOTHING: None}
    known.backend.launch(
        known.plan,
        *(raw[at] if at >= 0 else arrays[at] for at in known.takes),
    )
    return y


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
    """Keep what a call's raw arguments led to, if nothing about it had to be copied."""
    if call.backend.name != "cuda" or call.lent or call.road.events:
        return
    if call.problem.n == 0:
        return
    array = _array_type()
    places = {place for place, value in enumerate(raw) if type(value) is array}
    outs = [place for place in places if raw[place] is call.out]
    known = _Known(
        backend=call.backend,
        plan=choice.plan,
        shape=call.shape,
        order=call.order,
        dtype=call.dtype,
        takes=takes,
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
