"""Counting what calls do, with the processor's own counters, where they may be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pyconv import _core
from pyconv.movement.events import QUANTITIES, Event, Quantity, events_of, processor

__all__ = ["Count", "count"]

# Larger groups share few registers; some virtual machines then return garbage.
MOST_EVENTS = 4
TRIES = 3
# Counters have 48 bits; a value near that is a fault of the machine, not a count.
LARGEST = 1 << 46


class Group(Protocol):
    """Events counted together on every thread of the pool."""

    def start(self) -> None:
        """Count from here on."""
        ...

    def stop(self) -> None:
        """Stop counting."""
        ...

    def read(self) -> tuple[list[int], int, int]:
        """Return the values, and nanoseconds wanted and on the processor."""
        ...


@dataclass(frozen=True, slots=True)
class Count:
    """One counted figure.

    Parameters
    ----------
    value : float or None
        Of one call; None where it could not be counted.
    reason : str
        Why not; empty where it was.
    """

    value: float | None
    reason: str = ""


def count(
    run: Callable[[], object],
    calls: int,
    between: Callable[[], object] | None = None,
    events: Mapping[str, Quantity] | None = None,
    open_group: Callable[[list[tuple[int, int]]], Group] = _core.Counters,
) -> dict[str, Count]:
    """Count operations and bytes of a call, averaged over `calls` of them.

    Parameters
    ----------
    run : callable
        The call.
    calls : int
        How often a pass makes it; every group of events is a pass of its own.
    between : callable, optional
        Runs, uncounted, before every call: empties the caches, for example.
    events : mapping, optional
        Counters of every quantity; those of this processor if left out.
    open_group : callable, optional
        Opens a group of (type, config).

    Returns
    -------
    dict of str to Count
        Of "flops", "l1", "l2" and "dram": operations, and bytes filled into the level
        from beyond it. Only the program's own work counts, not the kernel's.
    """
    if events is None:
        events = events_of(*processor())
    return {
        name: _total(run, calls, between, events.get(name, ()), open_group)
        for name in QUANTITIES
    }


def _total(
    run: Callable[[], object],
    calls: int,
    between: Callable[[], object] | None,
    wanted: Quantity,
    open_group: Callable[[list[tuple[int, int]]], Group],
) -> Count:
    """Add up one quantity's events, a group at a time."""
    if not wanted:
        return Count(None, "no counter of this processor is known for it")
    total = 0.0
    for first in range(0, len(wanted), MOST_EVENTS):
        group = wanted[first : first + MOST_EVENTS]
        found = _group(run, calls, between, group, open_group)
        if found.value is None:
            return found
        total += found.value
    return Count(total / calls)


def _group(
    run: Callable[[], object],
    calls: int,
    between: Callable[[], object] | None,
    wanted: tuple[Event, ...],
    open_group: Callable[[list[tuple[int, int]]], Group],
) -> Count:
    """Count one group; again where another user of the counters got in the way."""
    reason = ""
    for _ in range(TRIES):
        try:
            group = open_group([(event.type, event.config) for event in wanted])
            for _ in range(calls):
                if between is not None:
                    between()
                group.start()
                run()
                group.stop()
            values, enabled_ns, running_ns = group.read()
        except RuntimeError as error:
            return Count(None, str(error))
        if enabled_ns != running_ns:
            reason = "the counters were shared with another program all the time"
        elif max(values) >= LARGEST:
            reason = "the counters returned values that no program reaches"
        else:
            pairs = zip(values, wanted, strict=True)
            return Count(float(sum(value * event.worth for value, event in pairs)))
    return Count(None, reason)
