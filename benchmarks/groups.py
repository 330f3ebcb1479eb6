"""Programs that measure groups of cases: their command line, the run, the JSON.

After each group the report is written: an interrupted run keeps what it has, and a
rerun of one group replaces that group alone. Each group names the machine, with the
commit, that it was measured on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

import pyconv as pc
from benchmarks import machine
from benchmarks.bench import progress_bar, rounded
from benchmarks.measuring import Budget

Report = dict[str, Any]
# The group, one of its cases, threads, how long: a record.
Measure = Callable[[str, Any, int, Budget], dict[str, Any]]


def read_options(
    description: str | None, groups: Iterable[str], arguments: list[str]
) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=machine.available_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turn-seconds", type=float, default=0.03)
    parser.add_argument("--group", action="append", choices=tuple(groups))
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--out", type=Path, default=None)
    return parser.parse_args(arguments)


def name_machines(report: Report) -> None:
    """Give each group the machine that a report named for all of them at once."""
    if "machine" in report:
        here, commits = report.pop("machine"), report.pop("commits", {})
        report["machines"] = {
            key: {**here, "commit": commits.get(key, here["commit"])}
            for key in report["groups"]
        }
    report.setdefault("machines", {})


def measure_groups(
    options: argparse.Namespace,
    cases: dict[str, dict[str, Any]],
    measure: Measure,
    report: Report,
    path: Path,
    console: Console,
) -> None:
    """Measure groups of cases, each by its name, into the report and its file."""
    import torch  # noqa: PLC0415 - only where something is measured

    torch.set_num_threads(options.threads)
    pc.set_num_threads(options.threads)
    budget = Budget(options.rounds, options.turn_seconds)
    name_machines(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar(console) as progress:
        task = progress.add_task("", total=sum(len(some) for some in cases.values()))
        for key, some in cases.items():
            records = []
            for name, case in some.items():
                progress.update(task, description=f"{key} {name}")
                records.append(measure(key, case, options.threads, budget))
                progress.advance(task)
            report["groups"][key] = records
            report["machines"][key] = machine.describe()
            path.write_text(json.dumps(rounded(report), indent=1) + "\n")


def run(
    stem: str,
    options: argparse.Namespace,
    cases: dict[str, dict[str, Any]],
    measure: Measure,
    show: Callable[[Report, Console], None],
) -> int:
    """Measure the groups asked for, or read what is there; show the tables."""
    name = f"{stem}-threads{options.threads}.json"
    path = options.out or machine.results_folder() / name
    report = json.loads(path.read_text()) if path.exists() else {"groups": {}}
    console = Console(width=170 if not sys.stdout.isatty() else None)
    if not options.table:
        measure_groups(options, cases, measure, report, path, console)
    show(report, console)
    return 0
