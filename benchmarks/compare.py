"""Two runs of a benchmark, timing by timing: which is quicker, and how surely.

Question: did a change make anything slower? Timings of the same case and contender are
paired, as different cases differ by more than any change; a group's ratio is the
geometric mean over its cases, with a 95 % bootstrap interval over them.

    python -m benchmarks.compare before.json after.json [--all] [--fail-below 0.97]

Takes what make bench, operations, types and selection wrote, and benchmarks.gpu. A ratio
is the time before over the time after: above 1, after is quicker. The peers' ratios
(--all) say how far the machine itself moved.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

__all__ = ["Comparison", "Timing", "compare", "main", "timings"]

OURS = "pyconv"
# Keys that only hold timings, and name nothing.
SILENT = {"seconds", "times", "contenders", "suites", "groups", "cases", "algorithms"}
FEW = 3  # cases: fewer say nothing of how cases differ


@dataclass(frozen=True, slots=True)
class Timing:
    """The middle half of one contender's samples, in any unit."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contender's cases of one group, before over after."""

    group: str
    contender: str
    cases: int
    ratio: float
    low: float
    high: float
    slowest: str
    slowest_ratio: float

    def __str__(self) -> str:
        """Write a line of a table."""
        sure = " " if self.low <= 1 <= self.high else "*"
        return (
            f"{self.group:<22.22} {self.contender:<30.30} {self.cases:>5} "
            f"{self.ratio:>6.3f} {self.low:>6.3f} {self.high:>6.3f}{sure} "
            f"{self.slowest_ratio:>6.3f} {self.slowest}"
        )


HEADER = (
    f"{'group':<22} {'contender':<30} {'cases':>5} {'ratio':>6} {'95 %':>6} "
    f"{'':>6}  {'least':>6} at"
)


def _timing(node: dict[str, Any]) -> Timing | None:
    """Read a record of a median and its quartiles, in seconds or microseconds."""
    for unit in ("", "_us"):
        names = [
            f"{part}{unit}" for part in ("first_quartile", "median", "third_quartile")
        ]
        values = [node.get(name) for name in names]
        if all(isinstance(value, float | int) and value > 0 for value in values):
            return Timing(*map(float, values))  # type: ignore[arg-type]
    return None


def timings(
    report: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Timing]]:
    """Find every timing of a report, under the names that lead to it."""
    if isinstance(report, list):
        for number, one in enumerate(report):
            name = (
                one.get("case", str(number)) if isinstance(one, dict) else str(number)
            )
            yield from timings(one, (*path, str(name)))
        return
    if not isinstance(report, dict):
        return
    found = _timing(report)
    if found is not None:
        yield path, found
        return
    for key, one in report.items():
        yield from timings(one, path if key in SILENT else (*path, str(key)))


def compare(before: Any, after: Any) -> list[Comparison]:
    """Pair two reports' timings, and sum them up by group and contender."""
    old, new = dict(timings(before)), dict(timings(after))
    pairs: dict[tuple[str, str], dict[str, tuple[Timing, Timing]]] = {}
    for path in old.keys() & new.keys():
        group, *case, contender = path if len(path) > 1 else ("", *path)
        mine = pairs.setdefault((group, contender), {})
        mine[" ".join(case) or group] = (old[path], new[path])
    return [
        _compared(group, contender, cases)
        for (group, contender), cases in sorted(pairs.items())
    ]


def _compared(
    group: str, contender: str, cases: dict[str, tuple[Timing, Timing]]
) -> Comparison:
    """Sum up one contender's cases."""
    logs = {
        name: math.log(old.median / new.median) for name, (old, new) in cases.items()
    }
    values = np.array(list(logs.values()))
    low, high = _interval(values, list(cases.values()))
    slowest = min(logs, key=lambda name: logs[name])
    return Comparison(
        group=group,
        contender=contender,
        cases=len(cases),
        ratio=math.exp(values.mean()),
        low=math.exp(low),
        high=math.exp(high),
        slowest=slowest,
        slowest_ratio=math.exp(logs[slowest]),
    )


def _interval(
    logs: np.ndarray[Any, Any], pairs: list[tuple[Timing, Timing]]
) -> tuple[float, float]:
    """Give the interval of the mean; of few cases, what their quartiles allow."""
    if len(logs) < FEW or np.ptp(logs) == 0:
        lows = [math.log(old.low / new.high) for old, new in pairs]
        highs = [math.log(old.high / new.low) for old, new in pairs]
        return sum(lows) / len(lows), sum(highs) / len(highs)
    found = bootstrap((logs,), np.mean, method="percentile", rng=0, n_resamples=2000)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _read(path: Path) -> Any:
    """Read a report; ValueError with a sentence if it is none."""
    try:
        report = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no whole JSON file: {error}") from error
    if next(timings(report), None) is None:
        raise ValueError(
            f"{path} holds no timings: it is no report of these benchmarks"
        )
    return report


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a group of ours is surely slower than allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--all", action="store_true", help="the peers' timings too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--fail-below",
        type=float,
        default=0.0,
        metavar="RATIO",
        help="exit with 1 if the whole interval of a group of ours is below",
    )
    options = parser.parse_args(arguments)
    try:
        found = compare(_read(options.before), _read(options.after))
        if not found:
            raise ValueError(
                f"{options.before} and {options.after} have no case in common"
            )
    except ValueError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    ours = [one for one in found if OURS in one.contender]
    shown = found if options.all else ours
    if options.json:
        rows = [
            {name: getattr(one, name) for name in one.__dataclass_fields__}
            for one in shown
        ]
        print(json.dumps(rows, indent=1))
    else:
        print(HEADER)
        print("\n".join(map(str, shown)))
        print("ratio: before / after, above 1 after is quicker; *: surely not 1")
    return int(any(one.high < options.fail_below for one in ours))


if __name__ == "__main__":
    raise SystemExit(main())
