"""Tables of the page: what was measured, as rows that can be sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import gpu_standing, operation_groups, standing
from benchmarks.gpu_standing import Rows
from benchmarks.report.cells import Cell, Table, number, word
from benchmarks.report.collect import Machine, kind_of

__all__ = ["ladder", "of_file"]

CLOSE = 1.1  # a regret that counts as a right choice


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
