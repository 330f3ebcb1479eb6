"""The device code under the host's address and undefined-behaviour sanitizers.

In a process of its own: the address sanitizer must be loaded first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.emulation import emulator
from tests.emulation.sanitized import FAULTS, environment

ROOT = Path(__file__).resolve().parent.parent


def _missing() -> str:
    """Say what the sanitizers' builds need and is not there; "" if all is."""
    if emulator.compiler() is None:
        return "the emulator needs g++"
    library = environment()["LD_PRELOAD"]
    return "" if Path(library).is_file() else "g++ has no address sanitizer here"


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing() or "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    made: Path = tmp_path_factory.mktemp("sanitized")
    return made


@pytest.fixture(scope="module")
def ran(folder: Path) -> subprocess.CompletedProcess[str]:
    """All of it, in one process: its compiler's work is most of the time."""
    return subprocess.run(
        [sys.executable, "-m", "tests.emulation.sanitized", str(folder)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_kernel_has_a_fault(ran: subprocess.CompletedProcess[str]) -> None:
    last = ran.stdout.splitlines()[-1:]
    assert ran.returncode == 0, f"{last}\n{ran.stderr}"
    assert len(ran.stdout.splitlines()) > 50


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str, folder: Path) -> None:
    """The sanitizers' own test."""
    report = json.loads((folder / "faults.json").read_text())[name]
    assert FAULTS[name].report in report, report[-3000:]
    assert "cuda/" in report
