"""Reports of groups: bytes that must move, percents of a copy, errors, machines, tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from benchmarks import operation_groups, oracle, readme
from benchmarks.measuring import Budget

INSTANT = Budget(rounds=1, turn_seconds=0.0, rest_seconds=0.0)

SECONDS = {
    "torch-nchw": 8.0,
    "torch-nhwc": 4.0,
    "pyconv-nchw": 4.0,
    "pyconv-nhwc": 2.0,
}


def record(copy: float, past_l2: bool) -> dict[str, Any]:
    contenders = {name: {"round": time} for name, time in SECONDS.items()}
    return {
        "case": "one",
        "contenders": {**contenders, "onnxruntime": {"not_timed": "wrong"}},
        "copy": {"round": copy},
        "moved_bytes": 8,
        "past_l2": past_l2,
    }


def report(records: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {"cpu": "A processor", "isa": "avx2", "commit": "0123456789abcdef"}
    return {"machines": {"max": machine}, "groups": {"max": records}}


def test_ratios_and_percents() -> None:
    one = operation_groups.row(report([record(1.0, False), record(1.5, True)]), "max")
    assert one.nchw == [4, 4]
    assert one.same_layout == [2, 2]
    assert one.best == [2, 2]
    assert one.copies == [75]  # of the case past the caches
    del (unmeasured := record(1.0, True))["copy"]
    assert operation_groups.percent_of_copy(unmeasured) is None


def test_the_readme_says_what_the_report_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    folder = tmp_path / "benchmarks" / "results" / "some-machine"
    folder.mkdir(parents=True)
    assert "make operations" in readme.operations()
    path = folder / "operations-threads2.json"
    path.write_text(json.dumps(report([record(1.5, True)])))
    text = readme.operations()
    assert "A processor, 2 threads, avx2; commit 012345678." in text
    assert (
        "| 1 | 4.00 (goal 12) | 4.00 | 2.00 | 2.00 (goal 1.1) | 2.00 | 75 | 75 |"
        in text
    )
    # A report of before copies were timed names one machine for all groups.
    old = report([{k: v for k, v in record(1.5, True).items() if k != "copy"}])
    old["machine"] = old.pop("machines")["max"]
    path.write_text(json.dumps(old))
    assert "| 2.00 (goal 1.1) | 2.00 | - | - |" in readme.operations()


def test_bytes_that_must_move() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks import operations  # noqa: PLC0415 - needs PyTorch
    from benchmarks.operation_cases import Case  # noqa: PLC0415

    x = np.zeros((1, 2, 4, 4), np.float32)

    def pooled(x: Any, *_: Any) -> Any:
        return pc.max_pool2d(x, 2, return_indices=True)

    case = Case("max", "small", (x.shape,), pooled, pooled)
    # 32 elements in, 8 out with 8 indices.
    assert operations.moved_bytes(case, (x,), pooled(x)) == 128 + 32 + 64
    case = Case("max", "small", (x.shape,), pooled, pooled, unread=(1,))
    assert operations.moved_bytes(case, (x, x), pooled(x)) == 128 + 32 + 64


def test_a_case_is_measured_with_its_copy() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks import operations  # noqa: PLC0415 - needs PyTorch
    from benchmarks.operation_cases import patches, pools  # noqa: PLC0415

    cases = [case for case in (*pools(), *patches()) if "1x256x14x14" in case.name]
    for case in cases:
        found = operations.measure(case, pc.get_num_threads(), INSTANT)
        assert found["moved_bytes"] == 4 * 256 * (14 * 14 + 6 * 6)
        assert found["percent_of_copy"] > 0
        assert found["copy"]["calls"] >= 1
        assert not any("copy" in name for name in found["contenders"])
    assert len(cases) == 1


def test_each_group_names_its_machine(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks import groups  # noqa: PLC0415 - needs both

    old: dict[str, Any] = {
        "groups": {"one": [1], "two": [2]},
        "machine": {"cpu": "A processor", "commit": "last"},
        "commits": {"one": "first"},
    }
    path = tmp_path / "types-threads2.json"
    path.write_text(json.dumps(old))
    shown: list[dict[str, Any]] = []

    def measure(key: str, case: Any, threads: int, budget: Budget) -> dict[str, Any]:
        assert budget.rounds == 5
        return {"case": case, "key": key, "threads": threads}

    line = ["--out", str(path), "--threads", str(pc.get_num_threads()), "--rounds", "5"]
    options = groups.read_options("", ("one", "two"), [*line, "--group", "two"])
    cases = {"two": {"a": "A", "b": "B"}}
    groups.run("types", options, cases, measure, lambda found, _: shown.append(found))
    written = json.loads(path.read_text())
    assert shown == [written]
    assert written["groups"]["one"] == [1]
    assert [one["case"] for one in written["groups"]["two"]] == ["A", "B"]
    assert written["machines"]["one"] == {"cpu": "A processor", "commit": "first"}
    assert written["machines"]["two"]["commit"] != "last"
    assert "machine" not in written
    table = groups.read_options("", ("one", "two"), [*line, "--table"])
    groups.run("types", table, cases, measure, lambda found, _: shown.append(found))
    assert shown[1] == written


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_an_element_is_held_against_its_own_bound(dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(shape).astype(kind) for shape in ((300, 64), (64, 40)))
    wide = x.astype(np.float64), w.astype(np.float64)
    exact, sizes = wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1])
    y = (x.astype(np.float32) @ w.astype(np.float32)).astype(kind).astype(np.float64)
    assert oracle.over_bound(y, exact, sizes, 64, dtype) <= 1
    # What one rounding of the largest value would hide in the smallest.
    unit = oracle.UNITS[dtype]
    least = np.unravel_index(np.abs(exact).argmin(), y.shape)
    for off in (1e-3 * np.abs(exact).max(), np.nan, np.inf):
        wrong = y.copy()
        wrong[least] += off
        assert oracle.over_bound(wrong, exact, sizes, 64, dtype) > 1
    largest = np.unravel_index(np.abs(exact).argmax(), y.shape)
    twice = y.copy()
    twice[largest] = (
        exact[largest] * (1 + 1.1 * unit) + 2 * sizes[largest] * 64 * 2**-24
    )
    assert oracle.over_bound(twice, exact, sizes, 64, dtype) > 1


def test_what_a_type_is_held_against() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("rich")
    from benchmarks import element_types  # noqa: PLC0415 - needs both
    from pyconv.movement.layers import square  # noqa: PLC0415

    layer = square("tiny", "odd", 5, 7, 9, 3, pad=1)
    for key in ("bfloat16-avx2", "float16-avx2"):
        calls, truth = element_types.contenders(key, layer, pc.get_num_threads())
        assert len(calls) == 4
        for name, call in calls.items():
            y = element_types.as_array(call())
            assert element_types.fault(name, y, truth) == ""
            assert "shape" in element_types.fault(name, y[:, 1:], truth)
            y.flat[17] += 0.01 * np.abs(truth.exact).max()
            assert "times the bound" in element_types.fault(name, y, truth)
    assert element_types.fault("onnxruntime-integer", truth.exact, truth) == ""
    assert element_types.fault("pyconv-uint8-nchw", truth.exact + 1, truth) == "wrong"
