"""The device code under the host's address and undefined-behaviour sanitizers.

In a process of its own: the address sanitizer must be loaded first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulation import emulator
from tests.emulation.sanitized import environment

ROOT = Path(__file__).resolve().parent.parent


def _missing() -> str:
    """Say what the sanitizers' builds need and is not there; "" if all is."""
    if emulator.compiler() is None:
        return "the emulator needs g++"
    library = environment()["LD_PRELOAD"]
    return "" if Path(library).is_file() else "g++ has no address sanitizer here"


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing() or "none")


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the address sanitizer loaded."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_kernel_has_a_fault(tmp_path: Path) -> None:
    ran = _python("-m", "tests.emulation.sanitized", str(tmp_path))
    last = ran.stdout.splitlines()[-1:]
    assert ran.returncode == 0, f"{last}\n{ran.stderr}"
    assert len(ran.stdout.splitlines()) > 50


FAULTY = """
import sys
from pathlib import Path
from tests.emulation import emulator
from tests.emulation.chosen import runs

name, place, fault = sys.argv[1:4]
plan, arrays, _ = next(run for run in runs() if run[2] == name)
text = emulator.kernel_text([plan])
assert place in text
text = text.replace(place, fault)
library = emulator.build([plan], Path(sys.argv[4]), 32, text, sanitized=True)
emulator.run(library, plan, *arrays())
"""


FAULTS = {
    "past_y": (
        "conv-naive-grouped",
        "if (linear >= outputs)",
        "if (linear > outputs)",
        "heap-buffer-overflow",
    ),
    "past_bias": (
        "conv-naive-grouped",
        "bias[filter]",
        "bias[filter + 1]",
        "heap-buffer-overflow",
    ),
    "past_shared": (
        "conv-bank_padding-grouped",
        "shared.x[place[i] + shift]",
        "shared.x[place[i] + shift + 10000]",
        "out of bounds",
    ),
    "overflow": (
        "conv-implicit_gemm-grouped",
        "static_cast<Index>(p.n) *",
        "2000000000 *",
        "signed integer overflow",
    ),
}


@pytest.mark.parametrize(
    ("run", "place", "fault", "report"), FAULTS.values(), ids=FAULTS
)
def test_a_fault_is_named(
    run: str, place: str, fault: str, report: str, tmp_path: Path
) -> None:
    """The sanitizers' own test."""
    ran = _python("-c", FAULTY, run, place, fault, str(tmp_path))
    assert ran.returncode != 0
    assert report in ran.stderr, ran.stderr[-3000:]
    assert "cuda/" in ran.stderr
