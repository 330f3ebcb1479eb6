"""profile(): figures of a call that ran, each beside the model's and the machine's."""

from __future__ import annotations

import json

import numpy as np
import pytest

import pyconv as pc
from pyconv.movement.counters import Count
from pyconv.movement.profile import COUNTED, LevelBytes, Profile
from tests.oracle import Array


@pytest.fixture(scope="module")
def arrays() -> tuple[Array, Array]:
    random = np.random.default_rng(1)
    x = random.standard_normal((2, 16, 32, 32), np.float32)
    return x, random.standard_normal((24, 16, 3, 3), np.float32)


@pytest.fixture(scope="module")
def profiled(arrays: tuple[Array, Array]) -> Profile:
    return pc.profile(pc.conv2d, *arrays, padding=1, seconds=0.01)


def test_it_agrees_with_explain(profiled: Profile, arrays: tuple[Array, Array]) -> None:
    told = pc.explain(pc.conv2d, *arrays, padding=1)
    assert profiled.explanation == told
    chosen = next(one for one in told.candidates if one.name == told.chosen)
    assert profiled.flops == 2 * 2 * 24 * 32 * 32 * 16 * 9
    assert profiled.predicted_flops == chosen.flops
    assert {one.level: one.predicted for one in profiled.levels} == chosen.bytes
    assert profiled.redundancy == told.redundancy(told.chosen) >= 1


def test_times_and_rates_are_in_order(profiled: Profile) -> None:
    for times in (profiled.warm, profiled.cold):
        assert 0 < times.low_us <= times.median_us <= times.high_us
        assert times.samples >= 3
    assert profiled.gflops == pytest.approx(
        profiled.flops / profiled.warm.median_us / 1e3
    )
    parts = {one.level: one.us for one in profiled.levels}
    parts["flops"] = profiled.flops_us
    assert profiled.bound_us == max(parts.values()) == parts[profiled.bound]


def test_a_figure_or_a_reason(profiled: Profile) -> None:
    counts = [profiled.measured_flops, *(one.measured for one in profiled.levels)]
    for one in counts:
        assert (one.value is None) == bool(one.reason)
    if profiled.measured_flops.value is not None:
        ratio = profiled.measured_flops.value / profiled.predicted_flops
        assert 0.99 < ratio < 1.01


def test_it_prints_and_saves(profiled: Profile) -> None:
    text = str(profiled)
    assert text.startswith(f"conv2d by {profiled.explanation.chosen} on cpu")
    for level in ("l1", "l2", "dram"):
        assert f"  {level} MB" in text
    data = json.loads(profiled.to_json())
    assert data["bound"] == profiled.bound
    assert data["levels"][0]["level"] == "l1"


def test_measured_bytes_are_printed_with_their_limits(profiled: Profile) -> None:
    levels = tuple(
        LevelBytes(one.level, one.predicted, Count(5e6), one.us)
        for one in profiled.levels
    )
    told = Profile(
        explanation=profiled.explanation,
        warm=profiled.warm,
        cold=profiled.cold,
        flops=profiled.flops,
        predicted_flops=profiled.predicted_flops,
        measured_flops=Count(None, "the kernel forbids counting"),
        levels=levels,
        flops_us=profiled.flops_us,
        ceilings=profiled.ceilings,
    )
    text = str(told)
    assert "not measured (flops): the kernel forbids counting" in text
    assert COUNTED["cpu"] in text


@pytest.mark.parametrize("name", ["max_pool2d", "layer"])
def test_poolings_and_layers_too(name: str, arrays: tuple[Array, Array]) -> None:
    x, weight = arrays
    if name == "layer":
        told = pc.profile(pc.Conv2d(weight, padding=1), x, seconds=0.01)
    else:
        told = pc.profile(pc.max_pool2d, x, 2, seconds=0.01)
    assert told.warm.median_us > 0


def test_bad_calls_raise_what_the_call_raises(arrays: tuple[Array, Array]) -> None:
    x, weight = arrays
    with pytest.raises(pc.ShapeError):
        pc.profile(pc.conv2d, x[:, :5], weight)
    with pytest.raises(TypeError, match="explain takes"):
        pc.profile(np.add, x, x)


def test_ceilings_are_rates_and_are_remembered() -> None:
    found = pc.ceilings()
    assert found is pc.ceilings()
    assert {"float32", "float64", "int32", "int64"} <= set(found.flops)
    assert min(found.flops.values()) > 0
    assert {"core", "l2", "memory"} <= set(found.bandwidth)
    for rates in found.bandwidth.values():
        assert set(rates) == {"load", "store", "copy"}
        assert min(rates.values()) > 0
    assert found.threads == pc.get_num_threads()
    assert "GFLOP/s" in str(found)
    assert json.dumps(found.to_dict())


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0, float("nan")])
def test_ceilings_refuse_impossible_times(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        pc.ceilings(seconds)
