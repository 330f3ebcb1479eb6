"""What the operations are held to, and what their report says; needs no peer.

Where next to nothing is computed, memory decides. Such a group's cases also state the
percent of the machine's copy bandwidth that they reach: the bytes that must move, over
the time, beside a copy that moves as many bytes and was timed in the same turns. A copy
reads half of them and writes half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.standing import geometric_mean

Record = dict[str, Any]
Report = dict[str, Any]

COPY_GOAL = 80  # percent of the copy's bandwidth, at sizes past the L2 caches


@dataclass(frozen=True)
class Group:
    """A row of the summary, and what it is held to."""

    title: str
    goal_nchw: float  # against PyTorch, channels first
    goal_best: float  # against the best peer and layout
    moves: bool = False  # bandwidth is what bounds it


GROUPS = {
    "max": Group("max-pool 3x3 s2, 2x2 s2, with and without indices", 12, 1.1, True),
    "mean": Group("average and adaptive pooling", 5, 1.0, True),
    "norm": Group("Lp pooling", 8, 2.0, True),
    "pool_grad": Group("pooling gradients", 4, 1.2, True),
    "input_3x3": Group("input gradient 3x3", 1.6, 1.3),
    "input_1x1": Group("input gradient 1x1", 2.5, 1.3),
    "weight_3x3": Group("weight gradient 3x3", 1.0, 1.0),
    "weight_1x1": Group("weight gradient 1x1", 1.5, 1.0),
    "transposed": Group("transposed k2s2, k4s2", 1.2, 1.0),
    "grouped": Group("grouped transposed", 4, 1.0),
    "columns": Group("im2col and col2im", 1.0, 1.0, True),
    "bias": Group("bias gradient", 1.0, 1.0, True),
}


@dataclass(frozen=True)
class Row:
    """One group's figures: peers' times over pyconv's best, and percents of a copy."""

    group: Group
    nchw: list[float]  # PyTorch channels first over pyconv's best
    same_layout: list[float]  # both channels first
    best: list[float]  # the best peer over pyconv's best
    copies: list[float]  # percents, of cases past the L2 caches


def times(record: Record) -> dict[str, float]:
    """Contender to seconds, of those that were timed."""
    return {
        name: one["round"]
        for name, one in record["contenders"].items()
        if "round" in one
    }


def own_time(record: Record) -> float:
    """Seconds of pyconv's best memory order."""
    return min(
        time for name, time in times(record).items() if name.startswith("pyconv")
    )


def percent_of_copy(record: Record) -> float | None:
    """Of a copy's bandwidth; None where that was not measured."""
    if "copy" not in record:
        return None
    return 100 * float(record["copy"]["round"]) / own_time(record)


def row(report: Report, key: str) -> Row:
    """The figures of one group of a report."""
    nchw, same, best, copies = [], [], [], []
    for record in report["groups"][key]:
        seconds, own = times(record), own_time(record)
        peers = [t for name, t in seconds.items() if not name.startswith("pyconv")]
        nchw.append(seconds["torch-nchw"] / own)
        same.append(seconds["torch-nchw"] / seconds["pyconv-nchw"])
        best.append(min(peers) / own)
        percent = percent_of_copy(record)
        if percent is not None and record["past_l2"]:
            copies.append(percent)
    return Row(GROUPS[key], nchw, same, best, copies)


HEADINGS = (
    "operation",
    "cases",
    "PyTorch NCHW: mean",
    "PyTorch NCHW: lowest",
    "both NCHW: mean",
    "best peer: mean",
    "best peer: lowest",
    f"% of copy past L2 (goal {COPY_GOAL}): mean",
    "% of copy: lowest",
)


def cells(one: Row) -> list[str]:
    """A row of the summary, under HEADINGS."""
    group = one.group
    copies = ["-", "-"]
    if one.copies:
        copies = [f"{geometric_mean(one.copies):.0f}", f"{min(one.copies):.0f}"]
    return [
        group.title,
        str(len(one.nchw)),
        f"{geometric_mean(one.nchw):.2f} (goal {group.goal_nchw:g})",
        f"{min(one.nchw):.2f}",
        f"{geometric_mean(one.same_layout):.2f}",
        f"{geometric_mean(one.best):.2f} (goal {group.goal_best:g})",
        f"{min(one.best):.2f}",
        *copies,
    ]


def markdown(report: Report) -> str:
    """The summary as a Markdown table."""
    lines = [
        "| " + " | ".join(HEADINGS) + " |",
        "|---|" + "--:|" * (len(HEADINGS) - 1),
    ]
    lines += [
        "| " + " | ".join(cells(row(report, key))) + " |"
        for key in GROUPS
        if key in report["groups"]
    ]
    return "\n".join(lines)


def load(path: Path) -> Report:
    """Read a report."""
    report: Report = json.loads(path.read_text())
    return report


def machines(report: Report) -> list[dict[str, Any]]:
    """What each group was measured on."""
    own = report.get("machines", {})
    return [own.get(key, report.get("machine")) for key in report["groups"]]
