"""What benchmarks/gpu.py wrote, as the README's tables.

Question: how do the kernels that auto takes stand beside cuDNN, in the memory order that
suits each best, and under the card's own ceilings?
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Rows",
    "Sections",
    "convolutions",
    "gradients",
    "markdown",
    "pools",
    "recorded",
]

ORDERS = ("nchw", "nhwc")
Times = dict[str, dict[str, Any]]
Sections = dict[str, dict[str, Any]]


class Rows(NamedTuple):
    """A table: its columns, of which the first is text, and its cells."""

    columns: list[str]
    cells: list[list[str]]


def recorded(results: Path) -> list[Path]:
    """List the folders that a GPU's run was put in."""
    return sorted(path.parent for path in results.glob("*/conv.json"))


def sections_of(folder: Path) -> Sections:
    """Read a run's sections: each file's, by its name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        found[path.stem] = report.get(path.stem, {})
    return found


def markdown(folder: Path) -> str:
    """Write a run's card, ceilings and tables."""
    machine = json.loads((folder / "conv.json").read_text())["machine"]
    sections = sections_of(folder)
    ceilings = sections["ceilings"]
    gpu = machine["gpu"].split(",")[0]
    versions = machine["versions"]
    # Runs that do not say so let cuDNN search for convolutions alone.
    searched = machine.get("cudnn_search", False)
    copy, sgemm = ceilings["copy"], ceilings["gemm_fp32"]
    measured = (
        f"{gpu}; torch {versions['torch']} (cuDNN {versions['nvidia-cudnn-cu13']}), "
        f"CuPy {versions['cupy-cuda13x']}; commit {machine['commit'][:9]}. The card "
        f"copies at {copy['gbytes_per_s'] / 1e3:.2f} TB/s, read and written, and its "
        f"float32 matrix products run at {sgemm['tflops']:.0f} TFLOP/s (TF32 "
        f"{ceilings['gemm_tf32']['tflops']:.0f}, bfloat16 "
        f"{ceilings['gemm_bf16']['tflops']:.0f}). Medians in microseconds, each side in "
        "its quicker memory order, pyconv by the kernel that auto takes; poolings in each "
        "order, by the quickest. Ratios above 1: pyconv is faster. pyconv's kernels do not "
        "use the tensor cores. Input gradients are a graph's replays beside cuDNN's calls"
        f"{'' if searched else '; for gradients cuDNN took what its heuristics say'}."
    )
    lines = [
        measured,
        "",
        *_written(convolutions(sections)),
        "",
        *_written(gradients(sections)),
        "",
        *_written(pools(sections)),
    ]
    return "\n".join(lines)


def _ours(times: Times, suffix: str) -> tuple[float, str] | None:
    """Give the time and the name of the kernel with the lowest predicted time."""
    timed = [
        (entry["predicted_us"], entry["median_us"], name)
        for name, entry in times.items()
        if name.startswith("pyconv_") and name.endswith(f"_{suffix}")
        if "median_us" in entry
    ]
    if not timed:
        return None
    _, median, name = min(timed)
    return median, name.removeprefix("pyconv_").removesuffix(f"_{suffix}")


def _theirs(times: Times, kind: str, tail: str = "") -> float:
    """Give the quicker order's time."""
    found: float = min(
        times[f"torch_{kind}_{order}{tail}"]["median_us"] for order in ORDERS
    )
    return found


def _best(times: Times, tail: str = "") -> tuple[float, str]:
    """Give auto's kernel in the quicker order."""
    found = [_ours(times, f"{order}{tail}") for order in ORDERS]
    return min(one for one in found if one is not None)


def _written(rows: Rows) -> list[str]:
    """Write a table as Markdown."""
    marks = ["---", *("---" if name == "by" else "--:" for name in rows.columns[1:])]
    return [
        f"| {' | '.join(rows.columns)} |",
        f"|{'|'.join(marks)}|",
        *(f"| {' | '.join(cells)} |" for cells in rows.cells),
    ]


def convolutions(sections: Sections) -> Rows:
    """A row a layer."""
    columns = [
        *("convolution", "pyconv", "by", "cuDNN", "ratio", "cuDNN, TF32"),
        *("bfloat16: pyconv", "bfloat16: cuDNN"),
    ]
    cells = []
    for layer, row in sections.get("conv", {}).items():
        times = row["times"]
        ours, name = _best(times)
        cudnn = _theirs(times, "fp32")
        half, _ = _best(times, "_bf16")
        cells.append(
            [
                layer,
                f"{ours:.0f}",
                f"`{name}`",
                f"{cudnn:.0f}",
                f"{cudnn / ours:.2f}",
                f"{_theirs(times, 'tf32'):.0f}",
                f"{half:.0f}",
                f"{_theirs(times, 'fp32', '_bf16'):.0f}",
            ]
        )
    return Rows(columns, cells)


def gradients(sections: Sections) -> Rows:
    """A row a layer: the weight's and the input's gradient."""
    columns = [
        *("gradients, float32", "weight: pyconv", "by", "weight: cuDNN"),
        *("weight: ratio", "input: pyconv", "input: cuDNN", "input: ratio"),
    ]
    cells = []
    both = sections.get("gradients", {})
    for layer in dict.fromkeys(name.rpartition("-")[0] for name in both):
        here = [both[f"{layer}-{order}"] for order in ("first", "last")]
        weight, by = min(
            (chosen["median_us"], name.removeprefix("pyconv_"))
            for name, chosen in (_chosen(one["weight"]) for one in here)
        )
        given = min(one["input"]["pyconv_phases"]["median_us"] for one in here)
        theirs = [
            min(one[kind]["torch_fp32"]["median_us"] for one in here)
            for kind in ("weight", "input")
        ]
        cells.append(
            [
                layer,
                f"{weight:.0f}",
                f"`{by}`",
                f"{theirs[0]:.0f}",
                f"{theirs[0] / weight:.2f}",
                f"{given:.0f}",
                f"{theirs[1]:.0f}",
                f"{theirs[1] / given:.2f}",
            ]
        )
    return Rows(columns, cells)


def _chosen(times: Times) -> tuple[str, dict[str, Any]]:
    """Give pyconv's entry with the lowest predicted time."""
    timed = {
        name: entry
        for name, entry in times.items()
        if name.startswith("pyconv_") and "median_us" in entry
    }
    name = min(timed, key=lambda one: timed[one]["predicted_us"])
    return name, timed[name]


def pools(sections: Sections) -> Rows:
    """A row a pooling and order: the share of the copy's bandwidth."""
    columns = ["pooling", "pyconv", "of the copy's bandwidth", "PyTorch", "ratio"]
    copied = sections["ceilings"]["copy"]["gbytes_per_s"]
    cells = []
    for name, row in sections.get("pool", {}).items():
        times = row["times"]
        ours = min(
            (entry for key, entry in times.items() if key.startswith("pyconv_")),
            key=lambda entry: entry["median_us"],
        )
        theirs = times["torch"]["median_us"]
        cells.append(
            [
                name,
                f"{ours['median_us']:.0f}",
                f"{100 * ours['gbytes_per_s'] / copied:.0f} %",
                f"{theirs:.0f}",
                f"{theirs / ours['median_us']:.2f}",
            ]
        )
    return Rows(columns, cells)
