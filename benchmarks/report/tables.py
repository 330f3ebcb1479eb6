"""Tables of the page: what was measured, as rows that can be sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import gpu_standing, operation_groups, standing
from benchmarks.gpu_standing import Rows
from benchmarks.report.collect import Machine

__all__ = ["Table", "ladder", "misses", "of_machine"]

FLOPS_WITHIN = {"cpu": 0.01, "cuda": 0.05}
BYTES_WITHIN = 0.3
CLOSE = 1.1  # a regret that counts as a right choice


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what is sorted by: a number, or the text."""

    text: str
    key: float | str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page.

    Parameters
    ----------
    title : str
        Its heading.
    columns : tuple of str
        Their names.
    rows : tuple of tuple of Cell
        As many cells as there are columns.
    note : str
        A sentence or two on how to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the numbers as they are."""
        return {
            "title": self.title,
            "rows": [
                dict(zip(self.columns, (cell.key for cell in row), strict=True))
                for row in self.rows
            ],
        }


def number(value: float | None, form: str = ".4g") -> Cell:
    """Show a number; a dash where there is none, which sorts last."""
    if value is None:
        return Cell("-", float("inf"))
    if form == ".4g" and value >= 1000:
        form = ",.0f"  # no powers of ten
    return Cell(f"{value:{form}}", float(value))


def word(value: object) -> Cell:
    """Show a text."""
    return Cell(str(value), str(value))


def _written(title: str, rows: Rows, note: str = "") -> Table:
    """Take a table over whose numbers were written out already."""

    def cell(text: str) -> Cell:
        plain = text.strip("`")
        try:
            return Cell(plain, float(plain.removesuffix(" %").replace(",", "")))
        except ValueError:
            return word(plain)

    cells = tuple(tuple(cell(text) for text in row) for row in rows.cells)
    # Two columns of one name are told apart by what stands before them.
    names: list[str] = []
    for name in rows.columns:
        names.append(f"{name} (input)" if name in names else name)
    return Table(title, tuple(names), cells, note)


# ---- ladders ------------------------------------------------------------------------


def ladder(title: str, told: dict[str, Any]) -> Table:
    """List the rungs with their figures, and what each changed."""
    rows = []
    for rung in told["rungs"]:
        if "warm" not in rung:
            continue
        levels = {one["level"]: one for one in rung["levels"]}
        rows.append(
            (
                word(rung["name"]),
                number(rung["warm"]["median_us"]),
                number(rung["cold"]["median_us"]),
                number(rung["gflops"]),
                number(100 * rung["peak_share"], ".3g"),
                number(rung["redundancy"], ".3g"),
                number(rung["predicted_flops"] / 1e6),
                number(_millions(rung["measured_flops"]["value"])),
                *(
                    cell
                    for level in ("l1", "l2", "dram")
                    for cell in (
                        number(levels[level]["predicted"] / 1e6),
                        number(_millions(levels[level]["measured"]["value"])),
                    )
                ),
                word(rung["bound"]),
                word(rung["change"]),
            )
        )
    columns = (
        *("algorithm", "us warm", "us cold", "GFLOP/s", "% of peak", "redundancy"),
        *("MFLOP predicted", "measured"),
        *("L1 MB predicted", "L1 MB measured", "L2 MB predicted", "L2 MB measured"),
        *("DRAM MB predicted", "DRAM MB measured", "bound by", "what it changes"),
    )
    return Table(title, columns, tuple(rows), _why_not(told))


def _millions(value: float | None) -> float | None:
    return None if value is None else value / 1e6


def _why_not(told: dict[str, Any]) -> str:
    """Say why nothing was measured, where that is so, and who is not in the ladder."""
    parts = []
    if told["device"] == "cuda":
        parts.append(
            "Measured by Nsight Compute, every launch alone from empty caches; results "
            "that stay in L2 never cross the device memory's bus."
        )
    reasons = {
        one["measured"]["reason"]
        for rung in told["rungs"]
        for one in rung.get("levels", ())
        if one["measured"]["value"] is None
    }
    parts += [f"Not measured: {reason}." for reason in sorted(reasons)]
    left = [
        f"{rung['name']} ({rung['reason']})" for rung in told["rungs"] if rung["reason"]
    ]
    if left:
        parts.append(f"Left out: {', '.join(left)}.")
    return " ".join(parts)


# ---- the model against what was counted ----------------------------------------------


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
                if measured:
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
            if run.get(quantity):
                short = quantity.removesuffix("_bytes")
                predicted = run[f"predicted_{quantity}"]
                yield case, name, "cuda", short, predicted, run[quantity]


def misses(machine: Machine) -> list[Table]:
    """Say how often the model holds, and list where it does not."""
    held: dict[str, list[bool]] = {}
    rows = []
    for case, name, device, quantity, predicted, measured in (
        *_pairs_of_ladders(machine),
        *_pairs_of_counters(machine),
    ):
        within = FLOPS_WITHIN[device] if quantity == "flops" else BYTES_WITHIN
        ratio = predicted / measured
        fits = abs(ratio - 1) <= within
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


# ---- suites, regrets, operations ------------------------------------------------------


def _suites(name: str, report: dict[str, Any]) -> Iterator[Table]:
    """Give a summary of the goals, then each suite with its peers side by side."""
    threads = name.removesuffix(".json").partition("threads")[2]
    found = standing.standings(report)
    yield Table(
        f"Against the peers, {threads} threads",
        ("suite", "against", "cases", "mean", "lowest", "goal", "under the goal"),
        tuple(
            (
                word(one.title),
                word(one.goal.against),
                number(len(one.cases), "d"),
                number(one.mean, ".2f"),
                number(one.least, ".2f"),
                number(one.goal.least, "g"),
                number(len(one.under), "d"),
            )
            for one in found
        ),
        "Ratios are the best peer's time over pyconv's best: above 1 pyconv is faster.",
    )
    for part in report["suites"].values():
        yield _peers(f"{part['title']}, {threads} threads", part["cases"])


def _peers(title: str, records: Sequence[dict[str, Any]]) -> Table:
    """Put every contender's milliseconds side by side."""
    names = list(dict.fromkeys(n for record in records for n in record["contenders"]))
    rows = []
    for record in records:
        timed = {
            name: one["seconds"]["round"]
            for name, one in record["contenders"].items()
            if "seconds" in one
        }
        ours = [t for name, t in timed.items() if name.startswith("pyconv-layer")]
        ours = ours or [t for name, t in timed.items() if name.startswith("pyconv")]
        peers = [t for name, t in timed.items() if not name.startswith("pyconv")]
        ratio = min(peers) / min(ours) if peers and ours else None
        cells = [number(_thousands(timed.get(name))) for name in names]
        rows.append((word(record["case"]), number(ratio, ".2f"), *cells))
    return Table(
        title,
        ("case", "ratio", *(f"{name} ms" for name in names)),
        tuple(rows),
    )


def _thousands(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _regrets(name: str, report: dict[str, Any]) -> Table:
    """List auto's choices, the worst first."""
    threads = name.removesuffix(".json").partition("threads")[2]
    records = [one for part in report["suites"].values() for one in part["cases"]]
    records.sort(key=lambda one: -one["regret"])
    close = sum(one["regret"] <= CLOSE for one in records)
    rows = []
    for one in records:
        auto, best = (one["algorithms"][one[key]] for key in ("auto", "best"))
        rows.append(
            (
                word(one["case"]),
                word(one["auto"]),
                word(one["best"]),
                number(one["regret"], ".3f"),
                number(auto.get("measured_us")),
                number(auto.get("predicted_us")),
                number(best.get("measured_us")),
            )
        )
    columns = ("case", "auto", "best", "regret", "auto us", "predicted us", "best us")
    return Table(
        f"Regrets of auto, {threads} threads",
        columns,
        tuple(rows),
        f"The time of auto's choice over the quickest algorithm's. {close} of "
        f"{len(records)} are within {CLOSE}.",
    )


def _operations(name: str, report: dict[str, Any]) -> Table:
    """Summarise the groups of operations, or of element types."""
    threads = name.removesuffix(".json").partition("threads")[2]
    rows = Rows(
        list(operation_groups.HEADINGS),
        [
            operation_groups.cells(operation_groups.row(report, key))
            for key in operation_groups.GROUPS
            if key in report["groups"]
        ],
    )
    return _written(f"Pooling, gradients, transposed, {threads} threads", rows)


def of_machine(machine: Machine) -> list[Table]:
    """List a machine's tables but for its ladders and the model's misses."""
    tables: list[Table] = []
    for name, report in machine.of_kind("suites").items():
        tables += _suites(name, report)
    tables += [_regrets(*one) for one in machine.of_kind("selection").items()]
    tables += [_operations(*one) for one in machine.of_kind("operations").items()]
    if {"conv.json", "gradients.json", "pool.json", "ceilings.json"} <= {
        *machine.files
    }:
        sections = {
            name.removesuffix(".json"): data[name.removesuffix(".json")]
            for name, data in machine.files.items()
            if name.removesuffix(".json") in data
        }
        us = "Medians in microseconds, each side in its quicker memory order."
        tables += [
            _written(
                "Convolutions beside cuDNN", gpu_standing.convolutions(sections), us
            ),
            _written("Gradients beside cuDNN", gpu_standing.gradients(sections), us),
            _written("Pooling beside PyTorch", gpu_standing.pools(sections)),
        ]
    return tables
