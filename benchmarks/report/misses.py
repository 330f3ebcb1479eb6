"""The model against what was counted: how often it holds, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.report.cells import Table, number, word
from benchmarks.report.collect import Machine

__all__ = ["Pair", "misses", "pairs_of"]

FLOPS_WITHIN = {"cpu": 0.01, "cuda": 0.05}
BYTES_WITHIN = 0.3

# Case, algorithm, device, quantity, predicted and measured.
Pair = tuple[str, str, str, str, float, float]


def _pairs_of_ladders(machine: Machine) -> Iterator[Pair]:
    """Give what was counted of each rung."""
    ladders = [
        (title, told)
        for report in machine.of_kind("ladders").values()
        for title, told in report["ladders"].items()
    ]
    for title, told in ladders:
        for rung in told["rungs"]:
            if "warm" not in rung:
                continue
            flops = {
                "level": "flops",
                "predicted": rung["predicted_flops"],
                "measured": rung["measured_flops"],
            }
            for one in (flops, *rung["levels"]):
                measured = one["measured"]["value"]
                if measured is not None:
                    yield (
                        *(title, rung["name"], told["device"]),
                        *(one["level"], one["predicted"], measured),
                    )


def _pairs_of_counters(machine: Machine) -> Iterator[Pair]:
    """Give what ncu counted of each kernel."""
    runs = [
        (case, name, run)
        for report in machine.of_kind("counters").values()
        for case, found in report["counters"].items()
        if isinstance(found, dict)
        for name, run in found.items()
    ]
    for case, name, run in runs:
        for quantity in ("flops", "l1_bytes", "l2_bytes", "dram_bytes"):
            if quantity in run:
                short = quantity.removesuffix("_bytes")
                predicted = run[f"predicted_{quantity}"]
                yield case, name, "cuda", short, predicted, run[quantity]


def _pairs_of_simulation(machine: Machine) -> Iterator[Pair]:
    """Give what a simulation counted of each algorithm."""
    for report in machine.of_kind("simulated").values():
        for case, runs in report["simulated"].items():
            for name, run in runs.items():
                for quantity, measured in run["measured"].items():
                    predicted = run["predicted"][quantity]
                    yield (
                        f"{case}, simulated",
                        name,
                        "cpu",
                        quantity,
                        predicted,
                        measured,
                    )


def pairs_of(machine: Machine, name: str) -> list[Pair]:
    """Give what was counted in one file, each with what is predicted."""
    data = {name: machine.files[name]}
    alone = Machine(machine.name, data)
    return [
        *_pairs_of_ladders(alone),
        *_pairs_of_counters(alone),
        *_pairs_of_simulation(alone),
    ]


def misses(pairs: Sequence[Pair]) -> list[Table]:
    """Say how often the model holds, and list where it does not."""
    held: dict[str, list[bool]] = {}
    rows = []
    for case, name, device, quantity, predicted, measured in pairs:
        within = FLOPS_WITHIN[device] if quantity == "flops" else BYTES_WITHIN
        fits = abs(predicted - measured) <= within * measured
        ratio = predicted / measured if measured else None
        held.setdefault(quantity, []).append(fits)
        if not fits:
            rows.append(
                (
                    word(case),
                    word(name),
                    word(quantity),
                    number(predicted / 1e6),
                    number(measured / 1e6),
                    number(ratio, ".2f"),
                )
            )
    if not held:
        return []
    summary = tuple(
        (
            word(quantity),
            number(len(fits), "d"),
            number(sum(fits), "d"),
            number(100 * sum(fits) / len(fits), ".0f"),
        )
        for quantity, fits in held.items()
    )
    return [
        Table(
            "How often the model holds",
            ("quantity", "counted", "within bounds", "%"),
            summary,
            "Operations within 1 % on a CPU and 5 % on a GPU, bytes within 30 %.",
        ),
        Table(
            "Where it does not",
            ("case", "algorithm", "quantity", "predicted M", "measured M", "ratio"),
            tuple(sorted(rows, key=lambda row: str(row[2].key))),
        ),
    ]
