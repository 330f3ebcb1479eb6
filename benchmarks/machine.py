"""What a figure was measured on: processor, threads, versions, commit.

A time without its machine is a rumour, so each result file carries this, and the folder
it lies in is named after the processor.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import pyconv as pc
from pyconv import _core

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = (
    "pyconv-kernels",
    "numpy",
    "torch",
    "onnxruntime",
    "ncnn",
    "opencv-python-headless",
    "opencv-python",
    "scipy",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "pytest-benchmark",
)


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed distributions among `names` and their versions."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def first_line(*command: str) -> str:
    """First line a command prints; empty if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's own name, from /proc/cpuinfo where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def describe() -> dict[str, Any]:
    """The machine as plain JSON values."""
    commit = first_line("git", "rev-parse", "HEAD")
    changed = bool(first_line("git", "status", "--porcelain"))
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": pc.get_num_threads(),
        "isa": _core.active_isa(),
        "caches": {
            key: value
            for key, value in _core.machine().items()
            if str(key).endswith("_bytes")
        },
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": first_line(os.environ.get("CXX", "c++"), "--version"),
        "versions": versions(),
        "commit": commit + (" with local changes" if commit and changed else ""),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def slug(machine: dict[str, Any] | None = None) -> str:
    """A folder name: processor, cores and width of vectors, such as amd-epyc-2c-avx512."""
    m = describe() if machine is None else machine
    family, _, _ = m["isa"].partition("_")
    return re.sub(r"[^a-z0-9]+", "-", f"{m['cpu']} {m['cores']}c {family}".lower())


def results_folder() -> Path:
    """benchmarks/results/<machine>, made if missing."""
    folder = ROOT / "benchmarks" / "results" / slug()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
