"""Nsight Compute's CSV, as its version 2025.3 wrote it on an H100, read back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_counters import paired
from pyconv.movement import ncu

COLUMNS = ("ID", "Kernel Name", "Grid Size", *ncu.METRICS)
UNITS = (
    *("", "", "", "ns", "byte", "byte", "sector", "sector", ""),
    *("inst",) * 6,
    *("%", "%"),
)
FIRST = (
    "0",
    "pyconv_conv_im2col_gemm_unfold",
    "(25088, 1, 1)",
    "62,208",
    "25,699,584",
    "10,213,120",
    "803,072",
    "1,605,632",
    "1,003,520",
    *("0",) * 6,
    "3.5",
    "0",
)
SECOND = (
    "1",
    "pyconv_conv_im2col_gemm_multiply",
    "(1568, 1, 1)",
    "158,912",
    "25,795,328",
    "79,875,072",
    "1,706,000",
    "3,211,264",
    "30,000,000",
    "1,644,167,168",
    "10",
    "7",
    "5",
    "1",
    "1",
    "61.25",
    "n/a",
)
MARK = ("2", ncu.MARKER, "(1, 1, 1)", *("0",) * len(ncu.METRICS))
TALK = (
    "==PROF== Connected to process 7 (/usr/bin/python3)\n"
    "==PROF== Disconnected from process 7\n"
)


def table(*rows: tuple[str, ...]) -> str:
    """Write rows as ncu does."""
    return TALK + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)


def test_launches_are_read_in_order() -> None:
    first, second = ncu.launches(table(COLUMNS, UNITS, FIRST, SECOND))
    assert first == ncu.Launch(
        kernel="pyconv_conv_im2col_gemm_unfold",
        us=62.208,
        flops=0,
        l1_bytes=128 * 1003520,
        l2_bytes=32 * (803072 + 1605632),
        dram_bytes=25699584 + 10213120,
        fma_percent=3.5,
        tensor_percent=0.0,
    )
    assert second.flops == 2 * 1644167168 + 17 + 12
    assert (second.fma_percent, second.tensor_percent) == (61.25, None)


def test_larger_units_are_scaled() -> None:
    units = list(UNITS)
    units[3:5] = ["us", "Mbyte"]
    row = list(FIRST)
    row[3:5] = ["62.208", "25.5"]
    (one,) = ncu.launches(table(COLUMNS, tuple(units), tuple(row)))
    assert one.us == pytest.approx(62.208)
    assert one.dram_bytes == 25500000 + 10213120


def test_no_launch_is_an_empty_list() -> None:
    assert ncu.launches(table(COLUMNS, UNITS)) == []


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (
            table(COLUMNS, UNITS, (*FIRST[:3], "n/a", *FIRST[4:])),
            ValueError,
            "no figure for gpu__time_duration.sum of pyconv_conv_im2col_gemm_unfold",
        ),
        (table(COLUMNS, UNITS, FIRST[:7]), ValueError, "ncu has no figure for"),
        ("", ValueError, "no table"),
        ("hello\nworld\n", ValueError, "no table"),
        (table(COLUMNS[:-1], UNITS[:-1]), ValueError, "lacks sm__pipe_tensor"),
        (f"{TALK}==ERROR== Failed to find metric x\n", RuntimeError, "find metric x"),
        (
            "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n",
            RuntimeError,
            "NVreg_RestrictProfilingToAdminUsers=0",
        ),
    ],
    ids=["figure", "short", "nothing", "foreign", "metric", "error", "permission"],
)
def test_what_is_no_table_is_told(text: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        ncu.launches(text)


def test_the_command_counts_our_kernels_alone() -> None:
    command = ncu.command(["python", "x.py"])
    assert command[0] == "ncu"
    assert command[-2:] == ["python", "x.py"]
    assert "--kernel-name=regex:^pyconv_" in command


def written_by(stdout: str, stderr: str = "", status: int = 0) -> str:
    """A program that stands in for ncu: says its lines whatever it is asked."""
    return (
        f"#!{sys.executable}\nimport sys\nsys.stdout.write({stdout!r})\n"
        f"sys.stderr.write({stderr!r})\nsys.exit({status})\n"
    )


@pytest.fixture
def fake_ncu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(*said: Any) -> None:
        program = tmp_path / "ncu"
        program.write_text(written_by(*said))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


def test_calls_are_parted_by_their_markers(fake_ncu: Callable[..., None]) -> None:
    between = (MARK, SECOND, SECOND, MARK)  # what prepares the next call
    fake_ncu(
        table(COLUMNS, UNITS, FIRST, MARK, FIRST, SECOND, *between, FIRST, MARK, MARK)
        + table(MARK).removeprefix(TALK)
    )
    calls = ncu.count(["anything"])
    assert [len(one) for one in calls] == [2, 1, 0]
    added = ncu.totals(calls[0])
    assert added["l1"].value == 128 * (1003520 + 30000000)
    assert added["flops"].value == 2 * 1644167168 + 29
    assert ncu.totals(calls[2])["dram"].value == 0


def test_calls_without_a_marker_are_one(fake_ncu: Callable[..., None]) -> None:
    fake_ncu(table(COLUMNS, UNITS, FIRST, SECOND))
    assert [len(one) for one in ncu.count(["anything"])] == [2]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            ("", "pyconv: no such layer\n", 2),
            "what ncu ran failed: pyconv: no such layer",
        ),
        (
            ("==ERROR== ERR_NVGPUCTRPERM\n", "", 1),
            "NVreg_RestrictProfilingToAdminUsers",
        ),
        (("", "", 9), "what ncu ran failed: no word"),
    ],
    ids=["program", "permission", "silent"],
)
def test_what_failed_is_told(
    said: Any, told: str, fake_ncu: Callable[..., None]
) -> None:
    fake_ncu(*said)
    with pytest.raises(RuntimeError, match=told):
        ncu.count(["anything"])


def test_no_ncu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="not on the PATH"):
        ncu.count(["anything"])


def test_a_run_takes_its_launches() -> None:
    run = {
        "layer": "a",
        "memory": "first",
        "name": "conv im2col_gemm",
        "cost_us": 1.0,
        "bytes": {"l1": 4, "l2": 5, "dram": 6},
        "flops": 7,
        "launches": 2,
    }
    counted = ncu.launches(table(COLUMNS, UNITS, FIRST, SECOND))
    other = {**run, "name": "conv naive", "launches": 1}
    told = paired([run, other], [*counted, replace(counted[0], us=3.0)])
    assert told["a-first"]["conv im2col_gemm"]["us"] == pytest.approx(62.208 + 158.912)
    assert told["a-first"]["conv naive"]["us"] == 3.0
    with pytest.raises(ValueError, match="2 launches were made, and ncu counted 3"):
        paired([run], [*counted, counted[0]])
