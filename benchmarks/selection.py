"""How good auto's choice is: every algorithm that can do a layer, timed beside it.

    python -m benchmarks.selection [--suite 3x3,thin] [--threads 2] [--table] [--every]

Over the suites' layers, in both memory orders, through packed layers. The regret is the
time of auto's pick over the best algorithm's. Predicted beside measured microseconds
show which cost model to mend. An algorithm predicted to take more than 20 times as long
as the best prediction is not timed. JSON like bench's: selection-threads<N>.json.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

import pyconv as pc
from benchmarks import machine, standing
from benchmarks.bench import (
    chosen_budget,
    chosen_path,
    chosen_suites,
    command_line,
    progress_bar,
    quick_layers,
    write,
)
from benchmarks.contenders import MEMORY_ORDERS, PyconvLayer
from benchmarks.measuring import Budget
from benchmarks.oracle import Array, conv_error, tensors
from benchmarks.suites import Suite
from benchmarks.timing import alternate
from pyconv.movement.layers import Layer

Record = dict[str, Any]

HOPELESS = 20.0  # times the best prediction
CLOSE = 1.1  # regret that counts as a right choice
SHOWN = 25


def measure(
    layer: Layer, memory: str, arrays: tuple[Array, Array, Array], budget: Budget
) -> Record:
    """Time the algorithms on one layer in one memory order."""
    explanation = PyconvLayer(memory).explained(layer)
    able = [one for one in explanation.candidates if not one.reason]
    limit = HOPELESS * min(one.cost_us for one in able)
    algorithms: dict[str, Record] = {}
    calls = {}
    for one in explanation.candidates:
        fact: Record = {"predicted_us": one.cost_us}
        algorithms[one.name] = fact
        if one.reason:
            algorithms[one.name] = {"not_timed": one.reason}
            continue
        if one.cost_us > limit and one.name != explanation.chosen:
            fact["not_timed"] = "predicted to be hopeless"
            continue
        prepared = PyconvLayer(memory, algorithm=one.name).prepare(layer, *arrays)
        fact["error_over_bound"] = conv_error(
            layer, *arrays, prepared.output(), rounding=one.rounding
        )
        if fact["error_over_bound"] > 1:
            fact["not_timed"] = "wrong"
            continue
        calls[one.name] = prepared.run
    samples = alternate(
        calls,
        rounds=budget.rounds,
        turn_seconds=budget.turn_seconds,
        families=dict.fromkeys(calls, "pyconv"),
        rest_seconds=budget.rest_seconds,
    )
    for name, sample in samples.items():
        algorithms[name]["measured_us"] = 1e6 * sample.round
    return {
        "case": f"{layer.id}-{memory}",
        "memory": memory,
        "auto": explanation.chosen,
        **chosen_and_best(explanation.chosen, algorithms),
        "algorithms": algorithms,
    }


def chosen_and_best(auto: str, algorithms: Mapping[str, Record]) -> Record:
    """The fastest algorithm, and auto's time over its."""
    measured = {
        name: fact["measured_us"]
        for name, fact in algorithms.items()
        if "measured_us" in fact
    }
    if auto not in measured:
        return {
            "best": min(measured, key=measured.__getitem__, default=""),
            "regret": None,
        }
    best = min(measured, key=measured.__getitem__)
    return {"best": best, "regret": measured[auto] / measured[best]}


def run_suite(
    suite: Suite, budget: Budget, quick: bool, console: Console
) -> list[Record]:
    """Every layer of a suite in both memory orders."""
    layers = quick_layers(suite) if quick else suite.layers
    records = []
    with progress_bar(console) as progress:
        task = progress.add_task(suite.name, total=len(layers))
        for layer in layers:
            progress.update(task, description=f"{suite.name} {layer.id}")
            arrays = tensors(layer)
            records += [measure(layer, m, arrays, budget) for m in MEMORY_ORDERS]
            progress.advance(task)
    return records


def share(records: Iterable[Record]) -> float:
    """The part of the cases where auto's pick is within 10 % of the best."""
    hits = [record["regret"] <= CLOSE for record in records if record["regret"]]
    return sum(hits) / len(hits) if hits else math.nan


def show_suites(report: standing.Report, console: Console) -> None:
    """How often the choice is right, suite by suite."""
    table = Table(title="auto's pick / best algorithm")
    table.add_column("suite")
    for name in ("cases", "within 10 %", "mean regret", "worst"):
        table.add_column(name, justify="right")
    parts = {name: part["cases"] for name, part in report["suites"].items()}
    parts["all"] = [record for records in parts.values() for record in records]
    for name, records in parts.items():
        regrets = [record["regret"] for record in records if record["regret"]]
        if regrets:
            table.add_row(
                name,
                str(len(regrets)),
                f"{100 * share(records):.0f} %",
                f"{standing.geometric_mean(regrets):.3f}",
                f"{max(regrets):.2f}",
            )
    console.print(table)


def show_models(records: list[Record], console: Console) -> None:
    """Measured over predicted time of each algorithm: 1 is a model that tells true."""
    table = Table(title="measured / predicted us")
    table.add_column("algorithm")
    for name in ("cases", "lowest tenth", "geometric mean", "highest tenth"):
        table.add_column(name, justify="right")
    for name in pc.algorithms("conv"):
        facts = [record["algorithms"].get(name, {}) for record in records]
        off = [
            f["measured_us"] / f["predicted_us"] for f in facts if "measured_us" in f
        ]
        if len(off) < 2:
            continue
        tenths = statistics.quantiles(off, n=10, method="inclusive")
        mean = standing.geometric_mean(off)
        figures = (tenths[0], mean, tenths[-1])
        table.add_row(name, str(len(off)), *(f"{value:.2f}" for value in figures))
    console.print(table)


def show_cases(records: list[Record], console: Console, every: bool) -> None:
    """Case by case, the largest regret first: predicted and measured us."""
    rows = sorted(records, key=lambda record: -(record["regret"] or math.inf))
    table = Table(title="predicted > measured us; largest regret first")
    table.add_column("case", overflow="fold")
    table.add_column("regret", justify="right")
    table.add_column("auto")
    table.add_column("best")
    names = [
        name
        for name in pc.algorithms("conv")
        if any("measured_us" in r["algorithms"].get(name, {}) for r in records)
    ]
    for name in names:
        table.add_column(name, justify="right")
    for record in rows if every else rows[:SHOWN]:
        cells = []
        for name in names:
            fact = record["algorithms"].get(name, {})
            cells.append(
                f"{fact['predicted_us']:.4g} > {fact['measured_us']:.4g}"
                if "measured_us" in fact
                else "-"
            )
        regret = f"{record['regret']:.2f}" if record["regret"] else "-"
        table.add_row(record["case"], regret, record["auto"], record["best"], *cells)
    console.print(table)


def show(report: standing.Report, console: Console, every: bool) -> None:
    """All three tables."""
    records = [r for part in report["suites"].values() for r in part["cases"]]
    if not records:
        console.print("nothing measured yet")
        return
    show_cases(records, console, every)
    show_models(records, console)
    show_suites(report, console)


def main(arguments: list[str]) -> int:
    """Time the algorithms of the chosen suites, or print their report."""
    defaults = Budget(rounds=3, turn_seconds=0.03)
    options = command_line(__doc__, defaults).parse_args(arguments)
    console = Console(width=160 if not sys.stdout.isatty() else None)
    pc.set_num_threads(options.threads)
    path = chosen_path(options, "selection")
    report = standing.load(path)
    if not options.table:
        here = machine.describe()
        budget = chosen_budget(options)
        for suite in chosen_suites(options.suite):
            if suite.layers:
                records = run_suite(suite, budget, options.quick, console)
                report["suites"][suite.name] = {"machine": here, "cases": records}
                write(report, path)
        console.print(f"written: {path}")
    show(report, console, options.every)
    faults = [
        f"{record['case']}: {name}"
        for part in report["suites"].values()
        for record in part["cases"]
        for name, fact in record["algorithms"].items()
        if fact.get("not_timed") == "wrong"
    ]
    for fault in faults:
        console.print(f"[red]wrong[/red] {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
