"""Run the chosen cases under the address and undefined-behaviour sanitizers.

    python -m tests.emulation.sanitized DIRECTORY

Then some with a fault put into them on purpose, each in a child of this process: what the
sanitizers said of them is left in DIRECTORY/faults.json.

A read past an array or past a launch's dynamic shared memory, an index past the end of a
shared array, an overflow of an offset or a shift too far ends the process with the line
of the device code. What goes past static shared memory through a pointer is not seen. The
address sanitizer must be loaded before Python's own libraries: `environment` says how.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.emulation import emulator
from tests.emulation.chosen import Run, runs

__all__ = ["FAULTS", "environment"]


class Fault(NamedTuple):
    """A chosen case, what is changed in its kernel, and what must be said of it."""

    run: str
    place: str
    change: str
    report: str


FAULTS = {
    "past_y": Fault(
        "conv-naive-grouped",
        "if (linear >= outputs)",
        "if (linear > outputs)",
        "heap-buffer-overflow",
    ),
    "past_bias": Fault(
        "conv-naive-grouped",
        "bias[filter]",
        "bias[filter + 1]",
        "heap-buffer-overflow",
    ),
    "past_shared": Fault(
        "conv-bank_padding-grouped",
        "shared.x[place[i] + shift]",
        "shared.x[place[i] + shift + 10000]",
        "out of bounds",
    ),
    "overflow": Fault(
        "conv-implicit_gemm-grouped",
        "static_cast<Index>(p.n) *",
        "2000000000 *",
        "signed integer overflow",
    ),
}


def environment() -> dict[str, str]:
    """Give the environment variables of a process that may load a sanitized library."""
    found = subprocess.run(
        [emulator.compiler() or "g++", "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        **os.environ,
        "LD_PRELOAD": found.stdout.strip(),
        # Python keeps what it has allocated; fibers are stacks of their own.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _in_child(work: Callable[[], None]) -> str:
    """Do something in a child process and give what it wrote to stderr."""
    with tempfile.TemporaryFile() as report:
        child = os.fork()
        if child == 0:
            os.dup2(report.fileno(), sys.stderr.fileno())
            work()
            os._exit(0)
        os.waitpid(child, 0)
        report.seek(0)
        return report.read().decode(errors="replace")


def _with(fault: Fault, chosen: list[Run], directory: Path) -> str:
    """Put a fault into a case's kernel and run it."""
    plan, arrays, _ = next(run for run in chosen if run[2] == fault.run)
    text = emulator.kernel_text([plan])
    assert fault.place in text, fault
    text = text.replace(fault.place, fault.change)
    directory.mkdir()
    library = emulator.build([plan], directory, 32, text, sanitized=True)
    return _in_child(lambda: emulator.run(library, plan, *arrays()))


def main(directory: str) -> None:
    """Run every chosen case; a sanitizer ends the process at the first fault."""
    folder = Path(directory)
    chosen = runs()
    plans = [plan for plan, _, _ in chosen]
    library = emulator.build(plans, folder, 32, sanitized=True)
    for plan, arrays, name in chosen:
        print(name, flush=True)
        emulator.run(library, plan, *arrays())
    reports = {
        name: _with(fault, chosen, folder / name) for name, fault in FAULTS.items()
    }
    (folder / "faults.json").write_text(json.dumps(reports))


if __name__ == "__main__":
    main(sys.argv[1])
