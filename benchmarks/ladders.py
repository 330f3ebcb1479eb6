"""The ladder of a few layers: one problem by every algorithm, bytes beside time.

    python -m benchmarks.ladders [--threads 2] [--quick]

Question: what does each way to move the data cost, and does the model of its bytes hold?
Each ladder is `python -m pyconv bench` in a process of its own, both memory orders. JSON
goes to benchmarks/results/<machine>/ladders-threads<N>.json, ladder by ladder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

__all__ = ["CPU_PROBLEMS", "GPU_PROBLEMS", "LAYOUTS", "climbed"]

# Layers that differ in what bounds them, by the name that is shown.
CPU_PROBLEMS = {
    "ResNet-50 conv2, 3x3": "n1 c64 h56 k64 r3 p1",
    "ResNet-50 conv4, 3x3": "n1 c256 h14 k256 r3 p1",
    "ResNet-50 conv2, 1x1": "n1 c64 h56 k256 r1",
    "ResNet-50 conv1, 7x7 stride 2": "n1 c3 h224 k64 r7 p3 u2",
    "VGG-16 conv2, 3x3": "n1 c128 h112 k128 r3 p1",
    "MobileNetV2, depthwise 3x3": "n1 c144 h56 k144 r3 p1 g144",
}
GPU_PROBLEMS = {
    "ResNet-50 conv2, 3x3": "n32 c64 h56 k64 r3 p1",
    "ResNet-50 conv4, 3x3": "n32 c256 h14 k256 r3 p1",
    "ResNet-50 conv2, 1x1": "n32 c64 h56 k256 r1",
    "MobileNetV2, depthwise 3x3": "n32 c144 h56 k144 r3 p1 g144",
}
LAYOUTS = ("NCHW", "NHWC")


def climbed(words: Sequence[str], cwd: Path = machine.ROOT) -> dict[str, Any]:
    """Run `python -m pyconv bench` with some words more; what it printed as JSON.

    Raises
    ------
    RuntimeError
        With the sentence it said instead.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pyconv", "bench", *words, "--json"],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[-1] if said else f"bench ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def every(
    problems: dict[str, str], more: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Climb each problem in each memory order; its title and what was found."""
    for name, problem in problems.items():
        for layout in LAYOUTS:
            title = f"{name}, {layout}"
            told = climbed([problem, "--layout", layout, *more])
            yield title, {**told, "layout": layout}


def show(title: str, told: dict[str, Any]) -> None:
    """Print a ladder's times."""
    print(title)
    for rung in told["rungs"]:
        if "warm" in rung:
            print(
                f"    {rung['name']:<18}{rung['warm']['median_us']:>12.1f} us"
                f"{100 * (rung['peak_share'] or 0):>8.1f} % of the peak"
            )


def main(arguments: list[str]) -> int:
    """Climb all ladders on the CPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=machine.available_cores())
    parser.add_argument("--quick", action="store_true", help="one ladder, short times")
    parser.add_argument("--out", type=Path, help="the JSON's path")
    options = parser.parse_args(arguments)
    os.environ["PYCONV_NUM_THREADS"] = str(options.threads)
    problems = dict([*CPU_PROBLEMS.items()][:1]) if options.quick else CPU_PROBLEMS
    more = ["--seconds", "0.005" if options.quick else "0.5"]
    name = f"ladders-threads{options.threads}.json"
    path = options.out or machine.results_folder() / name
    report: dict[str, Any] = {
        "machine": {**machine.describe(), "threads": options.threads},
        "ladders": {},
    }
    for title, told in every(problems, more):
        show(title, told)
        report["ladders"][title] = told
        path.write_text(json.dumps(report, indent=1))
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
