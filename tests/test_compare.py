"""Comparing two runs of a benchmark: what is paired, how surely, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy", reason="intervals are SciPy's")

from benchmarks import compare
from benchmarks.machine import ROOT


def record(median: float, unit: str = "", spread: float = 0.01) -> dict[str, Any]:
    """Make a timing as the benchmarks write it."""
    parts = {"first_quartile": 1 - spread, "median": 1, "third_quartile": 1 + spread}
    return {f"{name}{unit}": median * part for name, part in parts.items()}


def report(*medians: float) -> dict[str, Any]:
    """Make a report of a suite with some cases."""
    cases = [
        {
            "case": f"case {number}",
            "contenders": {
                "pyconv-nchw": {"seconds": record(median), "gflops": 1.0},
                "torch": {"seconds": record(1.0)},
            },
        }
        for number, median in enumerate(medians)
    ]
    return {"suites": {"3x3": {"machine": {"cores": 2}, "cases": cases}}}


def write(folder: Path, name: str, content: object) -> str:
    """Write a report; its path."""
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


def test_cases_are_paired_by_name() -> None:
    before, after = report(1.0, 4.0, 2.0), report(0.5, 4.0, 8.0)
    after["suites"]["3x3"]["cases"].reverse()
    ours, theirs = compare.compare(before, after)
    assert (ours.group, ours.contender, ours.cases) == ("3x3", "pyconv-nchw", 3)
    assert ours.ratio == pytest.approx((2.0 * 1.0 * 0.25) ** (1 / 3))
    assert ours.low <= ours.ratio <= ours.high
    assert (ours.slowest, ours.slowest_ratio) == ("case 2", pytest.approx(0.25))
    assert theirs.ratio == 1


def test_microseconds_of_a_gpu_are_timings_too() -> None:
    one = {"machine": {}, "pool": {"max": {"times": {"pyconv_max": record(7, "_us")}}}}
    assert dict(compare.timings(one)) == {
        ("pool", "max", "pyconv_max"): compare.Timing(6.93, 7.0, 7.07)
    }


def test_an_interval_of_many_cases_holds_what_they_share() -> None:
    """Twenty cases, each 10 % quicker give or take 2 %: surely quicker than 8 %."""
    before = report(*(1.0 + number for number in range(20)))
    factors = [1.1 + 0.02 * math.sin(number) for number in range(20)]
    after = report(*((1.0 + n) / factor for n, factor in enumerate(factors)))
    ours, _ = compare.compare(before, after)
    assert 1.08 < ours.low < ours.ratio < ours.high < 1.12


def test_one_case_is_as_sure_as_its_quartiles() -> None:
    ours, _ = compare.compare(report(1.0), report(1.0))
    assert (ours.low, ours.high) == (
        pytest.approx(0.99 / 1.01),
        pytest.approx(1.01 / 0.99),
    )


def test_the_exit_status_tells_of_a_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = write(tmp_path, "quick.json", report(1.0, 2.0, 3.0, 4.0))
    slow = write(tmp_path, "slow.json", report(1.2, 2.5, 3.5, 4.9))
    assert compare.main([quick, slow]) == 0
    assert "torch" not in capsys.readouterr().out
    assert compare.main([quick, slow, "--fail-below", "0.97"]) == 1
    assert compare.main([slow, quick, "--fail-below", "0.97"]) == 0
    capsys.readouterr()
    assert compare.main([quick, slow, "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["contender"] for row in rows] == ["pyconv-nchw", "torch"]
    assert rows[0]["high"] < 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no whole JSON file"),
        ('{"suites": {"3x3": {"cas', "no whole JSON file"),
        ('{"name": "something else", "values": [1, 2]}', "holds no timings"),
        ("[]", "holds no timings"),
        (json.dumps({"other": {"x": {"pyconv": record(1.0)}}}), "no case in common"),
        (None, "cannot be read"),
    ],
    ids=["empty", "half", "foreign", "list", "other", "missing"],
)
def test_what_cannot_be_compared_is_one_sentence(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write(tmp_path, "good.json", report(1.0)), tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    assert compare.main([good, str(bad)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_the_recorded_results_compare_with_themselves() -> None:
    found = 0
    for path in sorted((ROOT / "benchmarks" / "results").rglob("*.json")):
        content = json.loads(path.read_text())
        if next(compare.timings(content), None) is None:
            continue
        found += 1
        for one in compare.compare(content, content):
            assert one.ratio == 1, (path.name, one.contender)
    assert found >= 8
