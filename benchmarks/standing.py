"""How pyconv stands in each suite: ratios from the suites' JSON.

A ratio is the best peer's time over pyconv's best, each a best round's median, from one
run. The geometric mean and the lowest are held against the suite's goal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import best
from benchmarks.suites import (
    FUNCTION_GOAL,
    FUNCTION_TITLE,
    LAYER,
    NETWORKS,
    REUSED,
    SUITES,
    Goal,
    Suite,
)

Record = dict[str, Any]
Report = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One case's ratio and who it came from."""

    name: str
    ratio: float
    ours: str
    ours_seconds: float
    peer: str
    peer_seconds: float
    algorithm: str
    gflops: float


@dataclass(frozen=True)
class Standing:
    """One goal of one suite: its cases, slowest first."""

    title: str
    goal: Goal
    cases: tuple[Case, ...]
    untimed: tuple[str, ...]
    reused_mean: float

    @property
    def mean(self) -> float:
        """Geometric mean of the ratios."""
        return geometric_mean(case.ratio for case in self.cases)

    @property
    def least(self) -> float:
        """The lowest ratio."""
        return self.cases[0].ratio

    @property
    def under(self) -> tuple[Case, ...]:
        """Cases under the goal."""
        least = self.goal.least or 0.0
        return tuple(case for case in self.cases if case.ratio < least)


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm; NaN of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def ratio(record: Record, goal: Goal, ours: Iterable[str]) -> Case | None:
    """A record's ratio for a goal; None if either side was not timed."""
    name, seconds = best(record, ours)
    peer, peer_seconds = best(record, goal.peers)
    if not (name and peer):
        return None
    fact = record["contenders"][name]
    return Case(
        name=record["case"],
        ratio=peer_seconds / seconds,
        ours=name,
        ours_seconds=seconds,
        peer=peer,
        peer_seconds=peer_seconds,
        algorithm=fact.get("algorithm", ""),
        gflops=fact["gflops"],
    )


def standing(title: str, goal: Goal, records: list[Record]) -> Standing | None:
    """A goal over some records; None if no case was timed."""
    found = {record["case"]: ratio(record, goal, goal.ours) for record in records}
    cases = sorted((c for c in found.values() if c), key=lambda case: case.ratio)
    if not cases:
        return None
    reused = [ratio(record, goal, REUSED) for record in records]
    return Standing(
        title=title,
        goal=goal,
        cases=tuple(cases),
        untimed=tuple(name for name, case in found.items() if case is None),
        reused_mean=geometric_mean(case.ratio for case in reused if case)
        if goal.ours == LAYER
        else math.nan,
    )


def standings(report: Report) -> list[Standing]:
    """Every goal of the suites in a report, in the suites' order."""
    found = []
    functional: list[Record] = []
    known: list[Suite] = [*SUITES.values(), NETWORKS]
    for suite in known:
        records = report["suites"].get(suite.name, {}).get("cases", [])
        if any(goal.mean for goal in suite.goals):
            functional += records
        found += [standing(suite.title, goal, records) for goal in suite.goals]
    found.append(standing(FUNCTION_TITLE, FUNCTION_GOAL, functional))
    return [one for one in found if one is not None]


def load(path: Path) -> Report:
    """The report, or an empty one."""
    if not path.exists():
        return {"suites": {}}
    report: Report = json.loads(path.read_text())
    return report


def markdown(reports: dict[str, Report]) -> str:
    """The README's table; a pair of columns for each report, named by its key."""
    by_name = {name: standings(report) for name, report in reports.items()}
    rows: dict[tuple[str, str], dict[str, Standing]] = {}
    for name, found in by_name.items():
        for one in found:
            rows.setdefault((one.title, one.goal.against), {})[name] = one
    lines = [
        "| suite | against | cases | "
        + " | ".join(f"{name}: mean | lowest" for name in by_name)
        + " |",
        "|---|---|--:|" + "--:|--:|" * len(by_name),
    ]
    for (title, against), row in rows.items():
        cases = max(len(one.cases) for one in row.values())
        cells = [
            f"{row[name].mean:.2f} | {row[name].least:.2f}" if name in row else "- | -"
            for name in by_name
        ]
        lines.append(f"| {title} | {against} | {cases} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
