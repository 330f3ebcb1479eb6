"""The suites: every layer against every peer, checked, in turns, in one run.

    python -m benchmarks.bench [--suite 3x3,thin] [--threads 2] [--quick] [--table]

suites.py names layers, peers and goals; measuring.py does one case; standing.py works
out how pyconv stands. After each suite the JSON is written to
benchmarks/results/<machine>/suites-threads<N>.json: an interrupted run keeps what it
has, and a rerun of one suite replaces that suite alone. Exits with 1 if pyconv failed or
computed something wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

import pyconv as pc
from benchmarks import machine, networks, standing
from benchmarks.measuring import (
    Budget,
    faults,
    measure_layer,
    measure_network,
    roster,
)
from benchmarks.suites import LAYER, NAMES, NETWORKS, SUITES, TORCH, Suite
from pyconv.movement.layers import Layer

QUICK_CASES = 2
QUICK_FLOPS = 3e8
SHOWN = 5  # slowest cases shown where fewer fall short


def progress_bar(console: Console) -> Progress:
    """Cases done, and the time they took and will take."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def suite_names(text: str) -> list[str]:
    """Names given by --suite; argparse reports an unknown one."""
    names = list(NAMES) if text in ("", "all") else text.split(",")
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown {', '.join(unknown)}; suites are {', '.join(NAMES)}"
        )
    return names


def quick_layers(suite: Suite) -> tuple[Layer, ...]:
    """A few small layers of a suite, the first and the last that qualify."""
    small = [layer for layer in suite.layers if layer.flops <= QUICK_FLOPS]
    return tuple(dict.fromkeys((small[0], small[-1])))[:QUICK_CASES]


def run_suite(
    suite: Suite, threads: int, budget: Budget, quick: bool, console: Console
) -> dict[str, Any]:
    """Every case of a suite: the suite's part of the report."""
    if suite.name == NETWORKS.name:
        _, missing = roster(suite.peers, threads)
        nets = networks.NETWORKS if not missing else ()
        chosen = [net for net in nets if not quick or net.flops <= QUICK_FLOPS]
        names = (*TORCH, *LAYER)
        jobs = [
            (net.id, partial(measure_network, net, names, budget)) for net in chosen
        ]
    else:
        contenders, missing = roster(suite.contenders, threads)
        layers = quick_layers(suite) if quick else suite.layers
        jobs = [
            (layer.id, partial(measure_layer, layer, contenders, budget))
            for layer in layers
        ]
    records = []
    with progress_bar(console) as progress:
        task = progress.add_task(suite.name, total=len(jobs))
        for name, job in jobs:
            progress.update(task, description=f"{suite.name} {name}")
            records.append(job())
            progress.advance(task)
    return {"title": suite.title, "missing": missing, "cases": records}


def rounded(value: Any) -> Any:
    """The same JSON value, its floats to five digits: no clock tells more."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def as_text(report: dict[str, Any]) -> str:
    """JSON with a case a line, so that a rerun reads well in a diff."""
    suites = []
    for name, part in report["suites"].items():
        facts = [
            f"{json.dumps(k)}: {json.dumps(v)}" for k, v in part.items() if k != "cases"
        ]
        cases = ",\n".join(json.dumps(rounded(case)) for case in part["cases"])
        body = ",\n".join([*facts, f'"cases": [\n{cases}\n]'])
        suites.append(f"{json.dumps(name)}: {{\n{body}\n}}")
    return '{"suites": {\n' + ",\n".join(suites) + "\n}}\n"


def write(report: dict[str, Any], path: Path) -> None:
    """Replace the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(as_text(report))
    beside.replace(path)


def chosen_suites(names: list[str]) -> Iterator[Suite]:
    """The suites of those names, in their own order."""
    for name in NAMES:
        if name in names:
            yield SUITES.get(name, NETWORKS)


def command_line(doc: str | None, budget: Budget) -> argparse.ArgumentParser:
    """The options that bench and selection share."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument(
        "--suite",
        type=suite_names,
        default=list(NAMES),
        metavar="NAMES",
        help=f"comma-separated, among {', '.join(NAMES)} (default: all)",
    )
    parser.add_argument("--threads", type=int, default=machine.available_cores())
    parser.add_argument("--rounds", type=int, default=budget.rounds)
    parser.add_argument(
        "--turn-seconds",
        type=float,
        default=budget.turn_seconds,
        help="timed calls of one contender in one round (default: %(default)g)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="two small cases a suite; no figures"
    )
    parser.add_argument(
        "--table", action="store_true", help="measure nothing, print what is there"
    )
    parser.add_argument(
        "--every", action="store_true", help="print every case, not only the slowest"
    )
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    return parser


def chosen_path(options: argparse.Namespace, stem: str) -> Path:
    """--out; else among this machine's results, or in build/ for a quick run."""
    if options.out is not None:
        return Path(options.out)
    if options.quick:
        return machine.ROOT / "build" / f"{stem}-quick.json"
    return machine.results_folder() / f"{stem}-threads{options.threads}.json"


def chosen_budget(options: argparse.Namespace) -> Budget:
    """--rounds and --turn-seconds; next to nothing for a quick run."""
    if options.quick:
        return Budget(rounds=1, turn_seconds=0.002, rest_seconds=0.0)
    return Budget(options.rounds, options.turn_seconds)


def wanted(value: float, goal: float | None) -> str:
    """A figure and its goal."""
    return f"{value:.2f}" + (f" (goal {goal:g})" if goal else "")


def show(report: dict[str, Any], console: Console, every: bool = False) -> None:
    """The summary, then each goal's cases, slowest first."""
    found = standing.standings(report)
    if not found:
        console.print("nothing measured yet")
        return
    table = Table(title="peer's time / pyconv's: above 1 pyconv is faster")
    table.add_column("suite")
    table.add_column("against")
    for name in ("cases", "geometric mean", "lowest", "under goal", "mean with out="):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.title,
            one.goal.against,
            str(len(one.cases))
            + (f" of {len(one.cases) + len(one.untimed)}" if one.untimed else ""),
            wanted(one.mean, one.goal.mean),
            wanted(one.least, one.goal.least),
            str(len(one.under)) if one.goal.least else "-",
            "-" if math.isnan(one.reused_mean) else f"{one.reused_mean:.2f}",
        )
    for one in found:
        show_cases(one, console, every)
    console.print(table)


def show_cases(one: standing.Standing, console: Console, every: bool) -> None:
    """The slowest cases of a goal: all that fall short, and a few at least."""
    count = len(one.cases) if every else max(SHOWN, len(one.under))
    table = Table(title=f"{one.title}, against {one.goal.against}: slowest first")
    table.add_column("case", overflow="fold")
    for name in ("ratio", "pyconv ms", "peer ms", "GFLOP/s"):
        table.add_column(name, justify="right")
    for name in ("pyconv", "algorithm", "peer"):
        table.add_column(name)
    for case in one.cases[:count]:
        table.add_row(
            case.name,
            f"{case.ratio:.2f}" + (" *" if case in one.under else ""),
            f"{1e3 * case.ours_seconds:.3f}",
            f"{1e3 * case.peer_seconds:.3f}",
            f"{case.gflops:.0f}",
            case.ours.removeprefix("pyconv-"),
            case.algorithm,
            case.peer,
        )
    console.print(table)
    if one.untimed:
        console.print(f"not timed: {', '.join(one.untimed)}")


def main(arguments: list[str]) -> int:
    """Run the suites, or print their report."""
    options = command_line(__doc__, Budget()).parse_args(arguments)
    console = Console(width=160 if not sys.stdout.isatty() else None)
    pc.set_num_threads(options.threads)
    path = chosen_path(options, "suites")
    report = standing.load(path)
    if options.table:
        show(report, console, options.every)
        return 0
    here = machine.describe()
    found: list[str] = []
    for suite in chosen_suites(options.suite):
        budget = chosen_budget(options)
        part = run_suite(suite, options.threads, budget, options.quick, console)
        report["suites"][suite.name] = {"machine": here, **part}
        write(report, path)
        found += faults(part["cases"])
        for name, reason in part["missing"].items():
            console.print(f"{suite.name}: {name} takes no part: {reason}")
    show(report, console, options.every)
    console.print(f"written: {path}")
    for fault in found:
        console.print(f"[red]{fault}[/red]")
    return 1 if any(fault.startswith("pyconv") for fault in found) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
