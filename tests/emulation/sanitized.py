"""Run the chosen cases under the address and undefined-behaviour sanitizers.

    python -m tests.emulation.sanitized DIRECTORY

A read past an array or past a launch's dynamic shared memory, an index past the end of a
shared array, an overflow of an offset or a shift too far ends the process with the line
of the device code. What goes past static shared memory through a pointer is not seen. The
address sanitizer must be loaded before Python's own libraries: `environment` says how.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.emulation import emulator
from tests.emulation.chosen import runs

__all__ = ["environment"]


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


def main(directory: str) -> None:
    """Run every chosen case; a sanitizer ends the process at the first fault."""
    chosen = runs()
    plans = [plan for plan, _, _ in chosen]
    library = emulator.build(plans, Path(directory), 32, sanitized=True)
    for plan, arrays, name in chosen:
        print(name, flush=True)
        emulator.run(library, plan, *arrays())


if __name__ == "__main__":
    main(sys.argv[1])
