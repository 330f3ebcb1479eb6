"""One self-contained HTML page of all results: python -m benchmarks report.

    python -m benchmarks report [--results folder] [--out build/report.html]

Question: what was measured, where does it stand, and does the model of bytes hold? The
page needs no network: figures are SVG, scripts and styles are in it, and so is every
result file, compressed, behind a link. What cannot be read is named in it, and the rest
is shown.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.machine import ROOT
from benchmarks.report import figures, tables
from benchmarks.report.cells import Table
from benchmarks.report.collect import LeftOut, Machine, collected, kind_of
from benchmarks.report.misses import Pair, misses, pairs_of

__all__ = ["main", "written"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, the colours in it, and the numbers behind it as a table."""

    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Climb:
    """A ladder: its pictures and its table."""

    title: str
    problem: str
    pictures: tuple[Picture, ...]
    table: Table


def _climbs(report: dict[str, Any]) -> list[Climb]:
    """Draw every ladder of a file."""
    found = []
    for title, told in report["ladders"].items():
        if not any("warm" in rung for rung in told["rungs"]):
            continue
        drawn = (
            Picture(Markup(figures.times(title, told))),
            Picture(
                Markup(figures.bytes_bars(title, told)), tuple(figures.legend(told))
            ),
            Picture(Markup(figures.roofline(title, told))),
        )
        found.append(Climb(title, told["name"], drawn, tables.ladder(title, told)))
    return found


def _packed(text: str) -> str:
    """Compress a file for the page."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _facts(machine: Machine) -> list[tuple[str, str]]:
    """List what is known of a machine, as words."""
    facts = machine.facts
    versions = facts.get("versions", {})
    shown = {
        "commit": str(facts.get("commit", ""))[:9],
        "when": facts.get("when", ""),
        "system": facts.get("system", ""),
        "compiler": facts.get("compiler", ""),
        "Python": facts.get("python", ""),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }
    return [(name, str(value)) for name, value in shown.items() if value]


def _section(machine: Machine, left_out: list[LeftOut]) -> dict[str, Any]:
    """Collect what the template shows of a machine; what cannot be shown is named."""
    climbs: list[Climb] = []
    shown: list[Table] = []
    pairs: list[Pair] = []
    for name, report in machine.files.items():
        try:
            mine = _climbs(report) if kind_of(name) == "ladders" else []
            rows, counted = (
                tables.of_file(machine, name),
                pairs_of(machine, name),
            )
        except (
            *(KeyError, IndexError, TypeError, ValueError),
            *(AttributeError, StopIteration, ZeroDivisionError),
        ) as error:
            said = f"{type(error).__name__}: {error}"
            reason = f"it is not as pyconv writes it ({said})"
            left_out.append(LeftOut(f"{machine.name}/{name}", reason))
            continue
        climbs += mine
        shown += rows
        pairs += counted
    return {
        "id": machine.name,
        "title": machine.title,
        "facts": _facts(machine),
        "climbs": climbs,
        "tables": [*misses(pairs), *shown],
        "files": {name: _packed(text) for name, text in machine.texts.items()},
    }


def written(machines: list[Machine], left_out: list[LeftOut]) -> str:
    """Write the page of some machines' results; adds to what is left out."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json_link"] = _json_link
    sections = [_section(machine, left_out) for machine in machines]
    return environment.get_template("page.html.j2").render(
        machines=sections,
        left_out=left_out,
        when=datetime.now(timezone.utc).isoformat(timespec="minutes"),
    )


def _json_link(table: Table) -> str:
    """Make a link that holds a table's numbers."""
    text = json.dumps(table.to_dict(), separators=(",", ":"), allow_nan=False)
    return f"data:application/gzip;base64,{_packed(text)}"


def main(arguments: list[str]) -> int:
    """Write the page; 1 if there was nothing to show."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks report",
        description=(__doc__ or "").split("\n", 1)[0],
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "benchmarks" / "results",
        help="a folder of machines' folders (default: benchmarks/results)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "report.html",
        help="the page (default: build/report.html)",
    )
    options = parser.parse_args(arguments)
    try:
        machines, left_out = collected(options.results)
    except FileNotFoundError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    text = written(machines, left_out)
    for one in left_out:
        print(f"report: {one.path} is left out: {one.reason}", file=sys.stderr)
    if not machines:
        print(f"report: {options.results} holds no results", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(f"written: {options.out} ({len(text.encode()) / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
