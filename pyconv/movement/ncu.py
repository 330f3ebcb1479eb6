"""What Nsight Compute counted: its command line, and its CSV read back.

On a GPU the driver keeps the counters; Nsight Compute's ncu runs a program, replays each
kernel until all metrics are counted, and prints a table of launches. Bytes are counted
where a level's traffic passes: at the device memory's bus, and at L2's side towards the
multiprocessors, in sectors.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pyconv.movement.counters import Count

__all__ = ["MARKER", "Launch", "command", "count", "launches", "missing", "totals"]

MARKER = "pyconv_marker"  # launched before and after each call, where several are made
SECTOR_BYTES = 32
PASS_BYTES = 128  # of L1 and shared memory: what one passage can carry
TIME = "gpu__time_duration.sum"
DRAM = ("dram__bytes_read.sum", "dram__bytes_write.sum")
L2 = (
    "lts__t_sectors_srcunit_tex_op_read.sum",
    "lts__t_sectors_srcunit_tex_op_write.sum",
)
L1 = ("l1tex__data_pipe_lsu_wavefronts.sum",)
# Per thread that was not predicated off; a fused multiply-add is two operations.
FLOPS = {
    f"smsp__sass_thread_inst_executed_op_{kind}{operation}_pred_on.sum": worth
    for kind in "fd"
    for operation, worth in (("fma", 2), ("add", 1), ("mul", 1))
}
# Of the cycles that a multiprocessor was busy, those that a pipe was.
FMA_PIPE = "sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active"
TENSOR_PIPE = "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active"
METRICS = (TIME, *DRAM, *L2, *L1, *FLOPS, FMA_PIPE, TENSOR_PIPE)
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
        Operations on float32 and float64; a fused multiply-add is two.
    l1_bytes, l2_bytes, dram_bytes : int
        Through L1 and shared memory (128 for each passage, full or not), between L2 and
        the multiprocessors, and over the device memory's bus; read and written.
    fma_percent, tensor_percent : float or None
        How much of their peak the pipes of multiply-adds and of the tensor cores did
        while their multiprocessor was busy; None where ncu does not know.
    """

    kernel: str
    us: float
    flops: int
    l1_bytes: int
    l2_bytes: int
    dram_bytes: int
    fma_percent: float | None
    tensor_percent: float | None


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
        return sum(_figure(row, name) * scales[name] for name in names)

    return [
        Launch(
            kernel=row["Kernel Name"],
            us=total(row, [TIME]) / 1e3,
            flops=int(sum(times * total(row, [n]) for n, times in FLOPS.items())),
            l1_bytes=int(PASS_BYTES * total(row, L1)),
            l2_bytes=int(SECTOR_BYTES * total(row, L2)),
            dram_bytes=int(total(row, DRAM)),
            fma_percent=_percent(row[FMA_PIPE]),
            tensor_percent=_percent(row[TENSOR_PIPE]),
        )
        for row in rows
    ]


def _figure(row: dict[str, str], name: str) -> float:
    """Read a metric of one launch."""
    try:
        return float(row[name].replace(",", ""))
    except (ValueError, AttributeError):
        raise ValueError(
            f"ncu has no figure for {name} of {row['Kernel Name']}: {row[name]}"
        ) from None


def _percent(text: str | None) -> float | None:
    """Read a figure that some architectures lack."""
    try:
        return float((text or "").replace(",", ""))
    except ValueError:
        return None


def count(program: Sequence[str], cwd: str | None = None) -> list[list[Launch]]:
    """Run a program under ncu; give the launches of each of its calls.

    Parameters
    ----------
    program : sequence of str
        A command line that launches `MARKER` before and after each call; one without it
        is taken for one call.
    cwd : str, optional
        The folder it runs in.

    Raises
    ------
    RuntimeError
        If ncu is not there or may not count, or the program failed; in one sentence.
    """
    if missing():
        raise RuntimeError(missing())
    done = subprocess.run(
        command(program), capture_output=True, text=True, cwd=cwd, check=False
    )
    if done.returncode:
        for text in (done.stdout, done.stderr):
            if "==ERROR==" in text:
                raise _trouble(text.splitlines())
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"what ncu ran failed: {said[-1] if said else 'no word'}")
    parts: list[list[Launch]] = [[]]
    for one in launches(done.stdout):
        if one.kernel == MARKER:
            parts.append([])
        else:
            parts[-1].append(one)
    # What is launched between two calls prepares the second one.
    return parts if len(parts) == 1 else parts[1::2]


def totals(counted: Sequence[Launch]) -> dict[str, Count]:
    """Add up a call's launches: "flops" and the bytes of each level."""
    return {
        "flops": Count(float(sum(one.flops for one in counted))),
        "l1": Count(float(sum(one.l1_bytes for one in counted))),
        "l2": Count(float(sum(one.l2_bytes for one in counted))),
        "dram": Count(float(sum(one.dram_bytes for one in counted))),
    }


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
