"""The README's generated parts: what works, explain()'s output, the figures.

    python -m benchmarks.readme [--write]

With --write they are put between their markers in README.md. Without, exits with 1 if
the tables are not what the registries and the JSON in benchmarks/results/ say, so that
they stay true; explain()'s costs are this machine's and are not compared.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

import numpy as np

import pyconv as pc
from benchmarks import gpu_standing, operation_groups, standing
from benchmarks.machine import ROOT
from pyconv.cpu import CPU

TABLE = "<!-- what works: written by python -m benchmarks.readme --write -->"
EXPLAIN = "<!-- explain: written by python -m benchmarks.readme --write -->"
PERFORMANCE = "<!-- performance: written by python -m benchmarks.readme --write -->"
MOVED = "<!-- operations: written by python -m benchmarks.readme --write -->"
UNDER = "<!-- under: written by python -m benchmarks.readme --write -->"
GPU = "<!-- gpu: written by python -m benchmarks.readme --write -->"
END = "<!-- end -->"

FIXED = (TABLE, PERFORMANCE, MOVED, GPU)

# Whose versions a figure names.
PEERS = ("torch", "onnxruntime", "ncnn", "opencv-python-headless", "scipy")

CPU_OPERATIONS = {
    "conv1d, conv2d, conv3d": "conv",
    "gradients of their inputs, conv_transpose1d to 3d": "conv_input",
    "gradients of their weights": "conv_weight",
    "gradients of their biases": "conv_bias",
    "pooling: max, average, Lp, adaptive, global, 1-D to 3-D": "pool",
    "gradients of pooling, max_unpool": "pool_grad",
    "im2col": "im2col",
    "col2im": "col2im",
}
CUDA_OPERATIONS = {
    "conv": "convolution",
    "conv_weight": "gradient of weights",
    "conv_bias": "gradient of biases",
    "pool": "pooling",
    "pool_grad": "gradient of pooling",
    "im2col": "im2col",
    "col2im": "col2im",
}


def table() -> str:
    """The Markdown table, one row per registered algorithm."""
    rows = ["| device | operation | algorithm | how |", "|---|---|---|---|"]
    for operations, kind in CPU_OPERATIONS.items():
        known = CPU.algorithms(kind)
        rows += [f"| CPU | {operations} | `{n}` | {how} |" for n, how in known]
    kernels: Any = import_module("pyconv.cuda.kernels")
    for kernel in kernels.KERNELS:
        operation = CUDA_OPERATIONS[kernel.operation]
        rows.append(f"| CUDA | {operation} | `{kernel.name}` | {kernel.summary} |")
    return "\n".join(rows)


def explained() -> str:
    """What explain() prints here for the README's call, as a code block."""
    x = np.empty((1, 64, 56, 56), np.float32)
    w = np.empty((128, 64, 3, 3), np.float32)
    return f"```\n{pc.explain(pc.conv2d, x, w, padding=1)}\n```"


def recorded() -> list[dict[str, standing.Report]]:
    """The suites' reports, machine by machine, each by its number of threads."""
    folders = []
    for folder in sorted((ROOT / "benchmarks" / "results").iterdir()):
        reports = {
            "1 thread" if threads == 1 else f"{threads} threads": standing.load(path)
            for threads, path in sorted(
                (int(path.stem.rpartition("threads")[2]), path)
                for path in folder.glob("suites-threads*.json")
            )
        }
        if reports:
            folders.append(reports)
    return folders


def performance() -> str:
    """The suites' figures, machine by machine; a sentence where there are none."""
    parts = [
        f"{measured_on(reports)}\n\n{standing.markdown(reports)}"
        for reports in recorded()
    ]
    return "\n\n".join(parts) or "No figures are recorded yet: `make bench` makes them."


def operations() -> str:
    """The operations' figures, machine by machine and number of threads."""
    parts = []
    for path in sorted(
        (ROOT / "benchmarks" / "results").glob("*/operations-threads*.json")
    ):
        report = operation_groups.load(path)
        measured = operation_groups.machines(report)
        threads = path.stem.rpartition("threads")[2]
        commits = "/".join(sorted({one["commit"][:9] for one in measured}))
        parts.append(
            f"{measured[0]['cpu']}, {threads} threads, {measured[0]['isa']}; commit "
            f"{commits}.\n\n{operation_groups.markdown(report)}"
        )
    return "\n\n".join(parts) or (
        "No figures are recorded yet: `make operations` makes them."
    )


def gpus() -> str:
    """The CUDA kernels' figures, card by card."""
    results = ROOT / "benchmarks" / "results"
    parts = [gpu_standing.markdown(one) for one in gpu_standing.recorded(results)]
    return "\n\n".join(parts) or "No figures of a GPU are recorded yet."


def under() -> str:
    """Every case under its goal, as a table for each machine."""
    parts = []
    for reports in recorded():
        rows = [
            "| suite | threads | case | ratio | goal | pyconv | peer |",
            "|---|--:|---|--:|--:|---|---|",
        ]
        for column, report in reports.items():
            rows += [
                f"| {one.title} | {column.split()[0]} | {case.name} | {case.ratio:.2f} | "
                f"{one.goal.least:g} | {case.algorithm}, {1e3 * case.ours_seconds:.3g} ms, "
                f"{case.gflops:.0f} GFLOP/s | {case.peer}, "
                f"{1e3 * case.peer_seconds:.3g} ms |"
                for one in standing.standings(report)
                for case in one.under
            ]
        parts.append(f"{measured_on(reports)}\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def measured_on(reports: dict[str, standing.Report]) -> str:
    """Processor, versions and commits of some reports, as a sentence."""
    machines = [
        part["machine"] for one in reports.values() for part in one["suites"].values()
    ]
    first = machines[0]
    versions = ", ".join(
        f"{name} {first['versions'][name]}"
        for name in PEERS
        if name in first["versions"]
    )
    commits = ", ".join(
        f"{'/'.join(sorted({one['machine']['commit'][:9] for one in parts}))} ({column})"
        for column, parts in (
            (column, report["suites"].values()) for column, report in reports.items()
        )
    )
    return (
        f"{first['cpu']}, {first['cores']} cores, {first['isa']}; {versions}; "
        f"commit {commits}. Each figure is the best peer's time over pyconv's: above 1 "
        "pyconv is faster."
    )


def between(text: str, begin: str) -> str:
    """The part of a text between a marker and the next end marker."""
    return text.partition(begin)[2].partition(END)[0].strip()


def put(text: str, begin: str, part: str) -> str:
    """The text with that part replaced."""
    head, _, rest = text.partition(begin)
    tail = rest.partition(END)[2]
    return f"{head}{begin}\n{part}\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    readme, page = ROOT / "README.md", ROOT / "docs" / "shortfalls.md"
    parts = {
        TABLE: table(),
        EXPLAIN: explained(),
        PERFORMANCE: performance(),
        MOVED: operations(),
        GPU: gpus(),
    }
    if options.write:
        text = readme.read_text()
        for marker, part in parts.items():
            text = put(text, marker, part)
        readme.write_text(text)
        page.write_text(put(page.read_text(), UNDER, under()))
        return 0
    # What explain() prints differs from machine to machine.
    found = [between(readme.read_text(), name) == parts[name] for name in FIXED]
    if not (all(found) and between(page.read_text(), UNDER) == under()):
        print("README.md or docs/shortfalls.md differs: run it again with --write")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
