"""What benchmarks/gpu.py wrote, as the README's tables.

Question: how do the kernels that auto takes stand beside cuDNN, in the memory order that
suits each best, and under the card's own ceilings?
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["markdown", "recorded"]

ORDERS = ("nchw", "nhwc")
Times = dict[str, dict[str, Any]]


def recorded(results: Path) -> list[Path]:
    """List the folders that a GPU's run was put in."""
    return sorted(path.parent for path in results.glob("*/conv.json"))


def _section(folder: Path, name: str) -> dict[str, Any]:
    """Read a section; empty if that one was not run."""
    path = folder / f"{name}.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    found: dict[str, Any] = report.get(name, {})
    return found


def markdown(folder: Path) -> str:
    """Write a run's card, ceilings and tables."""
    machine = json.loads((folder / "conv.json").read_text())["machine"]
    ceilings = _section(folder, "ceilings")
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
        *_convolutions(folder),
        "",
        *_gradients(folder),
        "",
        *_pools(folder, copy["gbytes_per_s"]),
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


def _convolutions(folder: Path) -> list[str]:
    """A row a layer."""
    titles = "pyconv | by | cuDNN | ratio | cuDNN, TF32 | bfloat16: pyconv | cuDNN"
    rows = [f"| convolution | {titles} |", "|---|--:|---|--:|--:|--:|--:|--:|"]
    for layer, row in _section(folder, "conv").items():
        times = row["times"]
        ours, name = _best(times)
        cudnn = _theirs(times, "fp32")
        half, _ = _best(times, "_bf16")
        rows.append(
            f"| {layer} | {ours:.0f} | `{name}` | {cudnn:.0f} | {cudnn / ours:.2f} "
            f"| {_theirs(times, 'tf32'):.0f} | {half:.0f} "
            f"| {_theirs(times, 'fp32', '_bf16'):.0f} |"
        )
    return rows


def _gradients(folder: Path) -> list[str]:
    """A row a layer: the weight's and the input's gradient."""
    titles = "of the weight: pyconv | by | cuDNN | ratio | of the input: pyconv"
    rows = [
        f"| gradients, float32 | {titles} | cuDNN | ratio |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    both = _section(folder, "gradients")
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
        rows.append(
            f"| {layer} | {weight:.0f} | `{by}` | {theirs[0]:.0f} "
            f"| {theirs[0] / weight:.2f} | {given:.0f} | {theirs[1]:.0f} "
            f"| {theirs[1] / given:.2f} |"
        )
    return rows


def _chosen(times: Times) -> tuple[str, dict[str, Any]]:
    """Give pyconv's entry with the lowest predicted time."""
    timed = {
        name: entry
        for name, entry in times.items()
        if name.startswith("pyconv_") and "median_us" in entry
    }
    name = min(timed, key=lambda one: timed[one]["predicted_us"])
    return name, timed[name]


def _pools(folder: Path, copied: float) -> list[str]:
    """A row a pooling and order: the share of the copy's bandwidth."""
    rows = [
        "| pooling | pyconv | of the copy's bandwidth | PyTorch | ratio |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, row in _section(folder, "pool").items():
        times = row["times"]
        ours = min(
            (entry for key, entry in times.items() if key.startswith("pyconv_")),
            key=lambda entry: entry["median_us"],
        )
        theirs = times["torch"]["median_us"]
        rows.append(
            f"| {name} | {ours['median_us']:.0f} "
            f"| {100 * ours['gbytes_per_s'] / copied:.0f} % | {theirs:.0f} "
            f"| {theirs / ours['median_us']:.2f} |"
        )
    return rows
