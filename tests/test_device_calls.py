"""Calls on device arrays that were seen before, with stand-ins for arrays and device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import device_calls

KIND = ("conv", 2)
TAKES = (0, 1, device_calls.NOTHING, device_calls.RESULT)


class StandIn:
    """What the cache asks of a CuPy array."""

    def __init__(self, address: int, shape: tuple[int, ...], device: int = 0) -> None:
        like = np.empty(shape, np.float32)
        self.dtype, self.shape, self.strides = like.dtype, like.shape, like.strides
        self.data = SimpleNamespace(ptr=address, device_id=device)


@dataclass
class Backend:
    """Notes what is allocated and launched."""

    name: str = "cuda"
    log: list[Any] = field(default_factory=list)

    def empty(self, shape: Any, order: Any, dtype: Any, like: Any) -> StandIn:
        del order, dtype, like
        return StandIn(1 << 30, shape)

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
        "x": StandIn(1 << 20, (4, 4)),
        "weight": StandIn(2 << 20, (2, 2)),
        "stride": 1,
        "out": None,
    }
    return tuple({**given, **changed}.values())


def test_the_same_arguments_go_straight_to_the_plan() -> None:
    backend = Backend()
    assert device_calls.cached(KIND, arguments(), 0) is None
    device_calls.remember(KIND, arguments(), call_of(backend), CHOICE, TAKES)
    again = arguments(x=StandIn(5 << 20, (4, 4)))
    y = device_calls.cached(KIND, again, 0)
    assert y.shape == (4, 4)
    assert backend.log == [("plan", (again[0], again[1], None, y))]


@pytest.mark.parametrize(
    "changed",
    [
        {"stride": True},
        {"stride": (1, 1)},
        {"stride": [1]},
        {"x": StandIn(1 << 20, (4, 5))},
        {"x": StandIn(1 << 20, (4, 4), device=1)},
        {"x": StandIn((1 << 20) + 1, (4, 4))},
        {"weight": np.ones((2, 2), np.float32)},
        {"out": StandIn(3 << 20, (4, 4))},
    ],
    ids=["bool", "tuple", "list", "shape", "device", "misaligned", "numpy", "out"],
)
def test_other_arguments_are_read(changed: dict[str, Any]) -> None:
    device_calls.remember(KIND, arguments(), call_of(Backend()), CHOICE, TAKES)
    assert device_calls.cached(KIND, arguments(**changed), 0) is None
    assert device_calls.cached(("conv", 1), arguments(), 0) is None


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
    backend, out = Backend(), StandIn(3 << 20, (4, 4))
    raw = arguments(out=out)
    device_calls.remember(KIND, raw, call_of(backend, out), CHOICE, TAKES)
    assert device_calls.cached(KIND, raw, 0) is out
    for address in ((1 << 20) + 60, (1 << 20) - 60, (2 << 20) + 12):
        overlapping = arguments(out=StandIn(address, (4, 4)))
        assert device_calls.cached(KIND, overlapping, 0) is None
    beside = arguments(out=StandIn((1 << 20) + 64, (4, 4)))
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
