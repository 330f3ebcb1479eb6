"""Nsight Compute's CSV, as its version 2025.3 wrote it on an H100, read back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.gpu_counters import paired
from pyconv.movement import ncu

COLUMNS = ("ID", "Kernel Name", "Grid Size", *ncu.METRICS)
UNITS = ("", "", "", "ns", "byte", "byte", "sector", "sector", "inst", "inst", "inst")
FIRST = (
    "0",
    "pyconv_conv_im2col_gemm_unfold",
    "(25088, 1, 1)",
    "62,208",
    "25,699,584",
    "10,213,120",
    "803,072",
    "1,605,632",
    "0",
    "0",
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
    "1,644,167,168",
    "10",
    "7",
)
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
        l2_bytes=32 * (803072 + 1605632),
        dram_bytes=25699584 + 10213120,
    )
    assert second.flops == 2 * 1644167168 + 17


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
        ("", ValueError, "no table"),
        ("hello\nworld\n", ValueError, "no table"),
        (table(COLUMNS[:-1], UNITS[:-1]), ValueError, "lacks smsp__sass"),
        (f"{TALK}==ERROR== Failed to find metric x\n", RuntimeError, "find metric x"),
        (
            "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n",
            RuntimeError,
            "NVreg_RestrictProfilingToAdminUsers=0",
        ),
    ],
    ids=["nothing", "foreign", "metric", "error", "permission"],
)
def test_what_is_no_table_is_told(text: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        ncu.launches(text)


def test_the_command_counts_our_kernels_alone() -> None:
    command = ncu.command(["python", "x.py"])
    assert command[0] == "ncu"
    assert command[-2:] == ["python", "x.py"]
    assert "--kernel-name=regex:^pyconv_" in command


def test_a_run_takes_its_launches() -> None:
    run = {
        "layer": "a",
        "memory": "first",
        "name": "conv im2col_gemm",
        "cost_us": 1.0,
        "bytes": {"l2": 5, "dram": 6},
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
