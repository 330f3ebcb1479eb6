"""Tables of the page: what was measured, as rows that can be sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import gpu_standing, operation_groups, standing
from benchmarks.gpu_standing import Rows
from benchmarks.report.collect import Machine, kind_of

__all__ = ["Pair", "Table", "ladder", "misses", "of_file", "pairs_of"]

FLOPS_WITHIN = {"cpu": 0.01, "cuda": 0.05}
BYTES_WITHIN = 0.3
CLOSE = 1.1  # a regret that counts as a right choice


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what is sorted by: a number, the text, or None: last."""

    text: str
    key: float | str | None


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

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"two columns of {self.title!r} have one name")

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
        return Cell("-", None)
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
    return Table(title, tuple(rows.columns), cells, note)


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
                number(_percent(rung["peak_share"]), ".3g"),
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
        *("MFLOP predicted", "MFLOP measured"),
        *("L1 MB predicted", "L1 MB measured", "L2 MB predicted", "L2 MB measured"),
        *("DRAM MB predicted", "DRAM MB measured", "bound by", "what it changes"),
    )
    return Table(title, columns, tuple(rows), _why_not(told))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


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
    """Summarise the groups of operations."""
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


def _types(name: str, report: dict[str, Any]) -> Iterator[Table]:
    """Put the contenders of each group of element types side by side."""
    threads = name.removesuffix(".json").partition("threads")[2]
    for key, records in report["groups"].items():
        plain = [
            {
                "case": record["case"],
                "contenders": {
                    contender: {"seconds": one} if "round" in one else {}
                    for contender, one in record["contenders"].items()
                },
            }
            for record in records
        ]
        yield _peers(f"Element types: {key}, {threads} threads", plain)


def of_file(machine: Machine, name: str) -> list[Table]:
    """List the tables of one file, but for ladders and the model's misses."""
    report, kind = machine.files[name], kind_of(name)
    if kind == "suites":
        return [*_suites(name, report)]
    if kind == "selection":
        return [_regrets(name, report)]
    if kind == "operations":
        return [_operations(name, report)]
    if kind == "types":
        return [*_types(name, report)]
    return _of_gpu(machine, kind)


def _of_gpu(machine: Machine, kind: str) -> list[Table]:
    """List the tables of a section of a GPU's run."""
    sections = {
        path.removesuffix(".json"): data.get(path.removesuffix(".json"), {})
        for path, data in machine.files.items()
    }
    us = "Medians in microseconds, each side in its quicker memory order."
    if kind == "conv":
        rows = gpu_standing.convolutions(sections)
        return [_written("Convolutions beside cuDNN", rows, us)]
    if kind == "gradients":
        return [
            _written("Gradients beside cuDNN", gpu_standing.gradients(sections), us)
        ]
    if kind == "pool":
        return [_written("Pooling beside PyTorch", gpu_standing.pools(sections))]
    return []
