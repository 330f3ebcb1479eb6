"""Counters: the kernel's own, and what is done with what they say."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from itertools import repeat

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from pyconv.movement.counters import LARGEST, TRIES, Count, count
from pyconv.movement.events import QUANTITIES, RAW, Event, events_of, processor

SOFTWARE, PAGE_FAULTS = 1, 2  # of linux/perf_event.h


def software() -> _core.Counters:
    """A group that every Linux has, or a skip with the system's reason."""
    try:
        return _core.Counters([(SOFTWARE, PAGE_FAULTS)])
    except RuntimeError as error:
        pytest.skip(str(error))


def touch(pages: int) -> None:
    """Write to fresh pages, each of which costs a fault."""
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1


def test_a_group_counts_between_start_and_stop() -> None:
    group = software()
    touch(500)
    group.start()
    touch(300)
    group.stop()
    touch(500)
    group.start()
    touch(200)
    group.stop()
    (faults,), enabled_ns, running_ns = group.read()
    assert 500 <= faults < 600
    assert 0 < running_ns <= enabled_ns


def test_the_pools_threads_are_counted_too() -> None:
    """Each of two threads reads half of fresh pages, and faults at each."""
    before, pages = pc.get_num_threads(), 512
    pc.set_num_threads(2)
    try:
        group = software()
        with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            fresh = np.frombuffer(memory, np.float32)
            group.start()
            _core.load_sweep(fresh)
            group.stop()
            del fresh  # a mapping that is looked at cannot be closed
        (faults,), _, _ = group.read()
        assert pages <= faults < pages + 100
    finally:
        pc.set_num_threads(before)


@pytest.mark.parametrize("events", [[], [(SOFTWARE, PAGE_FAULTS)] * 5])
def test_a_group_has_one_to_four_events(events: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="1 to 4 events"):
        _core.Counters(events)


def test_what_the_system_refuses_is_a_sentence() -> None:
    with pytest.raises(RuntimeError, match=r"counter|counting|perf_event"):
        _core.Counters([(99, 1)])


class Fake:
    """A group of counters that says what it is told to."""

    def __init__(self, events: list[tuple[int, int]], values: list[int], ran: int):
        self.events, self.values, self.ran = events, values, ran
        self.log: list[str] = []

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")

    def read(self) -> tuple[list[int], int, int]:
        return self.values, 100, self.ran


def opener(
    *ran: int, value: int = 10
) -> tuple[list[Fake], Callable[[list[tuple[int, int]]], Fake]]:
    """Groups whose events all count `value`, on the processor for `ran` of 100 ns."""
    made: list[Fake] = []
    turns = iter(ran) if ran else repeat(100)

    def open_group(events: list[tuple[int, int]]) -> Fake:
        made.append(Fake(events, [value] * len(events), next(turns)))
        return made[-1]

    return made, open_group


def test_events_are_worth_bytes_and_groups_are_small() -> None:
    events = {
        "flops": tuple(Event(RAW, code, code) for code in range(1, 8)),
        "l1": (Event(RAW, 5, 64),),
    }
    made, open_group = opener()
    calls: list[str] = []
    found = count(
        lambda: calls.append("call"),
        2,
        lambda: calls.append("between"),
        events,
        open_group,
    )
    assert found["flops"] == Count(10 * sum(range(1, 8)) / 2)
    assert found["l1"] == Count(10 * 64 / 2)
    assert found["l2"].value is None
    assert "no counter" in found["l2"].reason
    assert [len(group.events) for group in made] == [4, 3, 1]
    assert all(group.log == ["start", "stop"] * 2 for group in made)
    assert calls == ["between", "call"] * 6


def test_shared_counters_are_asked_again() -> None:
    made, open_group = opener(50, 100)
    events = {"l1": (Event(RAW, 5, 1),)}
    assert count(lambda: None, 1, None, events, open_group)["l1"] == Count(10.0)
    assert len(made) == 2
    made, open_group = opener(*[50] * TRIES)
    told = count(lambda: None, 1, None, events, open_group)["l1"]
    assert told.value is None
    assert "shared" in told.reason


def test_impossible_values_are_no_counts() -> None:
    _, open_group = opener(value=LARGEST)
    events = {"l1": (Event(RAW, 5, 1),)}
    told = count(lambda: None, 1, None, events, open_group)["l1"]
    assert told.value is None
    assert "no program" in told.reason


def test_a_refusal_is_the_reason() -> None:
    def refuse(_: list[tuple[int, int]]) -> Fake:
        raise RuntimeError("the kernel forbids counting")

    told = count(lambda: None, 1, None, {"l1": (Event(RAW, 5, 1),)}, refuse)["l1"]
    assert told == Count(None, "the kernel forbids counting")


@pytest.mark.parametrize(
    "which",
    [
        ("AMD", 0x19, 1),
        ("AMD", 0x1A, 2),
        ("Intel", 6, 0x55),
        ("Intel", 6, 0x8F),
        ("Arm", 0, 0),
        ("Intel", 6, 0x37),  # an Atom: only what the kernel has a name for
        ("", 0, 0),
    ],
)
def test_every_quantity_is_known_or_empty(which: tuple[str, int, int]) -> None:
    events = events_of(*which)
    assert tuple(events) == QUANTITIES
    for quantity in events.values():
        assert all(event.worth >= 1 and event.config > 0 for event in quantity)
    if which[0] in ("AMD", "Intel") and which[2] != 0x37:
        assert all(events.values())


def test_this_processor_has_a_name() -> None:
    vendor, family, model = processor()
    assert vendor in ("AMD", "Intel", "Arm", "")
    assert min(family, model) >= 0
