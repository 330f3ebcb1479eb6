"""What Nsight Compute counted: its command line, and its CSV read back.

On a GPU the driver keeps the counters; Nsight Compute's ncu runs a program, replays each
kernel until all metrics are counted, and prints a table of launches. Bytes are counted
where a level's traffic passes: at the device memory's bus, and at L2's side towards the
multiprocessors, in sectors.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Launch", "command", "launches", "missing"]

SECTOR_BYTES = 32
TIME = "gpu__time_duration.sum"
DRAM = ("dram__bytes_read.sum", "dram__bytes_write.sum")
L2 = (
    "lts__t_sectors_srcunit_tex_op_read.sum",
    "lts__t_sectors_srcunit_tex_op_write.sum",
)
# Per thread that was not predicated off; a fused multiply-add is two operations.
FLOPS = {
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": 2,
    "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": 1,
    "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum": 1,
}
METRICS = (TIME, *DRAM, *L2, *FLOPS)
# ncu writes large figures in larger units, unless it is asked for base units.
SCALES = {"Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "us": 1e3, "ms": 1e6}


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a kernel, counted alone, caches empty before it.

    Parameters
    ----------
    kernel : str
        The entry point's name.
    us : float
        Microseconds, replays aside.
    flops : int
        float32 operations; other types are not counted.
    l2_bytes, dram_bytes : int
        Between L2 and the multiprocessors, and over the device memory's bus, read and
        written.
    """

    kernel: str
    us: float
    flops: int
    l2_bytes: int
    dram_bytes: int


def missing() -> str:
    """Say why ncu cannot be run; "" if it is there."""
    if shutil.which("ncu") is None:
        return "Nsight Compute's ncu is not on the PATH"
    return ""


def command(program: Sequence[str]) -> list[str]:
    """Write the command that counts pyconv's kernels in a program.

    Parameters
    ----------
    program : sequence of str
        A command line; its standard output must be empty, or come before ncu's table.
    """
    return [
        "ncu",
        "--csv",
        "--page=raw",
        "--print-units=base",
        "--clock-control=none",  # as found: other work may share the card
        "--kernel-name=regex:^pyconv_",
        f"--metrics={','.join(METRICS)}",
        *program,
    ]


def launches(text: str) -> list[Launch]:
    """Read ncu's output: messages, then a table with a row of units.

    Raises
    ------
    RuntimeError
        If ncu reports an error instead; its own words, and what helps if it is that
        counting is the administrator's alone.
    ValueError
        If there is no table, or a metric is not in it.
    """
    lines = text.splitlines()
    header = next(
        (at for at, line in enumerate(lines) if line.startswith('"ID"')), None
    )
    if header is None:
        raise _trouble(lines)
    units, *rows = list(csv.DictReader(lines[header:])) or [{}]
    absent = [name for name in METRICS if name not in units]
    if absent:
        raise ValueError(f"ncu's table lacks {', '.join(absent)}")
    scales = {name: SCALES.get(units[name], 1.0) for name in METRICS}

    def total(row: dict[str, str], names: Sequence[str]) -> float:
        return sum(float(row[n].replace(",", "")) * scales[n] for n in names)

    return [
        Launch(
            kernel=row["Kernel Name"],
            us=total(row, [TIME]) / 1e3,
            flops=int(sum(times * total(row, [n]) for n, times in FLOPS.items())),
            l2_bytes=int(SECTOR_BYTES * total(row, L2)),
            dram_bytes=int(total(row, DRAM)),
        )
        for row in rows
    ]


def _trouble(lines: list[str]) -> Exception:
    """Turn what ncu said into an error."""
    said = [line.partition("==ERROR==")[2].strip() for line in lines if "ERROR" in line]
    if any("ERR_NVGPUCTRPERM" in line for line in said):
        return RuntimeError(
            "the driver lets the administrator alone read the GPU's counters: run as "
            "root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0"
        )
    if said:
        return RuntimeError(f"ncu counted nothing: {said[0]}")
    return ValueError('that is no table of ncu\'s: no line begins with "ID"')
