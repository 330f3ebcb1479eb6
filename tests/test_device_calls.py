"""Calls on device arrays that were seen before, with stand-ins for arrays and device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import device_calls

KIND = ("conv", 2)
TAKES = (0, 1, device_calls.NOTHING, device_calls.RESULT)


@dataclass(frozen=True)
class Pointer:
    """An address in a piece of memory."""

    ptr: int
    device_id: int = 0
    mem: object = None

    def __add__(self, offset: int) -> Pointer:
        return replace(self, ptr=self.ptr + offset)


class StandIn:
    """What the cache asks of a CuPy array, and makes as one."""

    def __init__(
        self, shape: tuple[int, ...], dtype: Any = np.float32, *, memptr: Pointer
    ) -> None:
        like = np.empty(shape, dtype)
        self.dtype, self.shape, self.strides = like.dtype, like.shape, like.strides
        self.data = memptr


def stand_in(address: int, shape: tuple[int, ...], device: int = 0) -> StandIn:
    """Make an array that is a piece of memory of its own."""
    return StandIn(shape, memptr=Pointer(address, device, object()))


@dataclass
class Backend:
    """Notes what is allocated and launched."""

    name: str = "cuda"
    log: list[Any] = field(default_factory=list)

    def empty(self, shape: Any, order: Any, dtype: Any, like: Any) -> StandIn:
        del order, dtype, like
        return stand_in(1 << 30, shape)

    def launch(self, plan: Any, *arrays: Any) -> None:
        self.log.append((plan, arrays))


def call_of(backend: Backend, out: Any = None, **changed: Any) -> Any:
    """Make what `remember` asks of a call that was read."""
    facts: dict[str, Any] = {
        "backend": backend,
        "lent": False,
        "road": SimpleNamespace(events=[]),
        "problem": SimpleNamespace(n=1),
        "shape": (4, 4),
        "order": None,
        "dtype": np.dtype(np.float32),
        "out": out,
    }
    return SimpleNamespace(**{**facts, **changed})


CHOICE: Any = SimpleNamespace(plan="plan")


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=StandIn))  # type: ignore[arg-type]
    device_calls.forget()
    yield
    device_calls.forget()


def arguments(**changed: Any) -> tuple[Any, ...]:
    """Make raw arguments: x, weight, stride, out."""
    given: dict[str, Any] = {
        "x": stand_in(1 << 20, (4, 4)),
        "weight": stand_in(2 << 20, (2, 2)),
        "stride": 1,
        "out": None,
    }
    return tuple({**given, **changed}.values())


def test_the_same_arguments_go_straight_to_the_plan() -> None:
    backend = Backend()
    assert device_calls.cached(KIND, arguments(), 0) is None
    device_calls.remember(KIND, arguments(), call_of(backend), CHOICE, TAKES)
    again = arguments(x=stand_in(5 << 20, (4, 4)))
    y = device_calls.cached(KIND, again, 0)
    assert y.shape == (4, 4)
    assert backend.log == [("plan", (again[0], again[1], None, y))]


@pytest.mark.parametrize(
    "changed",
    [
        {"stride": True},
        {"stride": (1, 1)},
        {"stride": [1]},
        {"x": stand_in(1 << 20, (4, 5))},
        {"x": stand_in(1 << 20, (4, 4), device=1)},
        {"x": stand_in((1 << 20) + 1, (4, 4))},
        {"weight": np.ones((2, 2), np.float32)},
        {"out": stand_in(3 << 20, (4, 4))},
    ],
    ids=["bool", "tuple", "list", "shape", "device", "misaligned", "numpy", "out"],
)
def test_other_arguments_are_read(changed: dict[str, Any]) -> None:
    device_calls.remember(KIND, arguments(), call_of(Backend()), CHOICE, TAKES)
    assert device_calls.cached(KIND, arguments(**changed), 0) is None
    assert device_calls.cached(("conv", 1), arguments(), 0) is None


def test_equal_values_of_other_types_are_read() -> None:
    """True equals 1, also deep inside; what might change is never kept."""
    pairs = ((1, 1), (0, 1))
    raw = arguments(stride=pairs)
    device_calls.remember(KIND, raw, call_of(Backend()), CHOICE, TAKES)
    assert device_calls.cached(KIND, arguments(stride=((1, 1), (0, 1))), 0) is not None
    for other in (((True, 1), (0, 1)), ((1.0, 1), (0, 1)), ([1, 1], (0, 1)), object()):
        assert device_calls.cached(KIND, arguments(stride=other), 0) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"lent": True},
        {"road": SimpleNamespace(events=["copy"])},
        {"problem": SimpleNamespace(n=0)},
        {"backend": Backend("cpu")},
    ],
    ids=["lent", "copied", "empty", "cpu"],
)
def test_what_did_more_than_launch_is_not_kept(changed: dict[str, Any]) -> None:
    call = call_of(**{"backend": Backend(), **changed})
    device_calls.remember(KIND, arguments(), call, CHOICE, TAKES)
    assert device_calls.cached(KIND, arguments(), 0) is None


def test_out_is_checked_at_every_call() -> None:
    backend, out = Backend(), stand_in(3 << 20, (4, 4))
    raw = arguments(out=out)
    device_calls.remember(KIND, raw, call_of(backend, out), CHOICE, TAKES)
    assert device_calls.cached(KIND, raw, 0) is out
    for address in ((1 << 20) + 60, (1 << 20) - 60, (2 << 20) + 12):
        overlapping = arguments(out=stand_in(address, (4, 4)))
        assert device_calls.cached(KIND, overlapping, 0) is None
    beside = arguments(out=stand_in((1 << 20) + 64, (4, 4)))
    assert device_calls.cached(KIND, beside, 0) is beside[3]


def test_a_recorded_call_takes_the_long_road() -> None:
    device_calls.remember(KIND, arguments(), call_of(Backend()), CHOICE, TAKES)
    with pc.trace():
        assert device_calls.cached(KIND, arguments(), 0) is None
    assert device_calls.cached(KIND, arguments(), 0) is not None


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_calls, "LIMIT", 2)
    for stride in range(5):
        raw = arguments(stride=stride)
        device_calls.remember(KIND, raw, call_of(Backend()), CHOICE, TAKES)
        assert len(device_calls._known) <= 2
        assert device_calls.cached(KIND, raw, 0) is not None


@dataclass(frozen=True)
class ReadCall:
    """What `remember_phases` asks of a call that was read."""

    backend: Backend
    road: Any
    shape: tuple[int, ...] = (2, 2)
    order: tuple[int, ...] | None = None
    lent: bool = False
    problem: Any = field(default_factory=lambda: SimpleNamespace(n=1))
    dtype: Any = np.float32


def view(a: StandIn, byte: int) -> StandIn:
    """Make a view of an array that begins somewhere else."""
    return StandIn((2, 2), memptr=a.data + byte)


def phases_of(
    backend: Backend, raw: tuple[Any, ...], result: StandIn, **changed: Any
) -> list[Any]:
    """Make two phases that ran: views of x, weight and the result."""
    runs = []
    for number in range(2):
        facts = {
            "x": view(raw[0], 4 * number),
            "weight": view(raw[1], 12 - 8 * number),
            "y": view(result, 8 * number),
            "is_empty": False,
            **changed,
        }
        call = ReadCall(backend, SimpleNamespace(events=[]))
        choice = SimpleNamespace(plan=f"plan {number}")
        runs.append((SimpleNamespace(**facts), call, choice))
    return runs


PLACES = {"x": 0, "weight": 1}


def test_phases_are_launched_on_views() -> None:
    backend, raw = Backend(), arguments()
    result = stand_in(7 << 20, (4, 4))
    runs = phases_of(backend, raw, result)
    device_calls.remember_phases(KIND, raw, runs, PLACES, (result, None))
    again = arguments(x=stand_in(5 << 20, (4, 4)))
    y = device_calls.cached(KIND, again, 0)
    assert y.shape == (4, 4)
    x, weight = (one.data.ptr for one in again[:2])
    launched = [
        (plan, *(None if a is None else a.data.ptr for a in arrays))
        for plan, arrays in backend.log
    ]
    assert launched == [
        ("plan 0", x, weight + 12, None, None, y.data.ptr),
        ("plan 1", x + 4, weight + 4, None, None, y.data.ptr + 8),
    ]


@pytest.mark.parametrize(
    "changed",
    [{"is_empty": True}, {"weight": stand_in(9 << 20, (2, 2))}],
    ids=["empty", "copied"],
)
def test_phases_of_other_memory_are_not_kept(changed: dict[str, Any]) -> None:
    raw, result = arguments(), stand_in(7 << 20, (4, 4))
    runs = phases_of(Backend(), raw, result, **changed)
    device_calls.remember_phases(KIND, raw, runs, PLACES, (result, None))
    assert device_calls.cached(KIND, raw, 0) is None


def test_phases_write_to_out() -> None:
    backend, out = Backend(), stand_in(7 << 20, (4, 4))
    raw = arguments(out=out)
    runs = phases_of(backend, raw, out)
    device_calls.remember_phases(KIND, raw, runs, PLACES, (out, None))
    assert device_calls.cached(KIND, raw, 0) is out
    assert backend.log[1][1][-1].data.ptr == out.data.ptr + 8
