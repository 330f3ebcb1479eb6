"""Figures of a ladder, drawn by Matplotlib as SVG in the page's own colours.

Colours are placeholders that become CSS variables, so that one drawing serves light and
dark; text stays text, in the page's font.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pyconv.movement.ceilings import SOURCES

__all__ = ["bytes_bars", "legend", "roofline", "times"]

# Placeholder -> CSS variable.
INK, FAINT, ONE, TWO, THREE = "#010203", "#010204", "#010205", "#010206", "#010207"
VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    ONE: "--one",
    TWO: "--two",
    THREE: "--three",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pyconv",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
LEVELS = ("l1", "l2", "dram")
MARKERS = {"l1": "o", "l2": "s", "dram": "D"}
WIDTH = 7.2
LINES = 26  # of text in a roofline's height
_numbers = count(1)


def _svg(figure: Figure, label: str) -> str:
    """Write a figure as an SVG element with identifiers of its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = f"f{next(_numbers)}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    text = text.replace("url(#", f"url(#{prefix}")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # The size follows the page; the view box keeps the shape.
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{safe}"', 1)


def _ran(told: dict[str, Any]) -> list[dict[str, Any]]:
    """List the rungs that ran."""
    return [rung for rung in told["rungs"] if "warm" in rung]


def moved(rung: dict[str, Any], level: str) -> float:
    """Bytes of a level: measured, or predicted where they were not."""
    (found,) = (one for one in rung["levels"] if one["level"] == level)
    measured = found["measured"]["value"]
    return float(measured or found["predicted"])  # of nothing there is no point to draw


def executed(rung: dict[str, Any]) -> float:
    """Count operations: measured, or predicted where they were not."""
    return float(rung["measured_flops"]["value"] or rung["predicted_flops"])


def _plain(axis: Any) -> None:
    """Write powers of ten as plain numbers, thousands with a k."""

    def words(value: float, _: int) -> str:
        return f"{value:g}" if value < 1000 else f"{value / 1000:g}k"

    axis.set_major_formatter(FuncFormatter(words))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """Write a number with three digits, or all of its whole ones."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _of_peak(share: float | None) -> str:
    return "" if share is None else f", {100 * share:.2g} % of the peak"


def times(title: str, told: dict[str, Any]) -> str:
    """Draw each rung's time; what auto takes stands out."""
    rungs = _ran(told)[::-1]
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 0.32 * len(rungs) + 0.8))
        axes = figure.add_subplot()
        names = [rung["name"] for rung in rungs]
        values = [rung["warm"]["median_us"] for rung in rungs]
        colours = [TWO if name == told["chosen"] else ONE for name in names]
        axes.barh(names, values, color=colours, height=0.62)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 4)
        for place, (rung, value) in enumerate(zip(rungs, values, strict=True)):
            axes.text(
                value * 1.08,
                place,
                f"{_short(value)} us{_of_peak(rung['peak_share'])}",
                va="center",
            )
        axes.set_xlabel(
            "microseconds a call, warm (log); auto's choice in another colour"
        )
        _plain(axes.xaxis)
        axes.tick_params(axis="y", length=0)
        return _svg(figure, f"Time of each algorithm: {title}")


def bytes_bars(title: str, told: dict[str, Any]) -> str:
    """Draw the bytes of each level: compulsory, predicted, measured."""
    rungs = _ran(told)
    compulsory = told["compulsory_bytes"] / 1e6
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 0.36 * len(rungs) + 1.0))
        panels = figure.subplots(1, 3, sharey=True)
        for axes, level in zip(panels, LEVELS, strict=True):
            rows = [
                next(one for one in rung["levels"] if one["level"] == level)
                for rung in rungs
            ]
            places = range(len(rows))
            predicted = [row["predicted"] / 1e6 for row in rows]
            axes.barh([p - 0.18 for p in places], predicted, 0.34, color=ONE)
            seen = [
                (p + 0.18, row["measured"]["value"] / 1e6)
                for p, row in zip(places, rows, strict=True)
                if row["measured"]["value"]
            ]
            if seen:
                axes.barh([p for p, _ in seen], [v for _, v in seen], 0.34, color=TWO)
            axes.axvline(compulsory, color=THREE, linewidth=1.2)
            axes.set_xscale("log")
            axes.set_xlim(compulsory / 3, None)
            axes.set_title(_LEVEL_TITLES[told["device"]][level], fontsize=9)
            _plain(axes.xaxis)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(rungs)), [rung["name"] for rung in rungs])
        panels[0].invert_yaxis()
        panels[1].set_xlabel("MB a call (log)")
        return _svg(figure, f"Bytes through each level: {title}")


_LEVEL_TITLES = {
    "cpu": {"l1": "L2 to L1", "l2": "L3 to L2", "dram": "memory"},
    "cuda": {"l1": "L1 and shared memory", "l2": "L2", "dram": "device memory"},
}


def roofline(title: str, told: dict[str, Any]) -> str:
    """Draw every algorithm under the ceilings of arithmetic and of each level."""
    rungs = _ran(told)
    limits = told["ceilings"]
    peak = limits["flops"]["float32"] / 1e9
    sources = SOURCES[told["device"]]
    rates = {
        level: limits["bandwidth"].get(sources[level], limits["bandwidth"]["memory"])[
            "load"
        ]
        / 1e9
        for level in LEVELS
    }
    points = {
        rung["name"]: (
            [executed(rung) / moved(rung, level) for level in LEVELS],
            executed(rung) / rung["warm"]["median_us"] / 1e3,
        )
        for rung in rungs
    }
    every = [x for xs, _ in points.values() for x in xs]
    low, high = min(every) / 2, max(*every, peak / min(rates.values())) * 4
    least = min(y for _, y in points.values()) / 3
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 4.6))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high * 6)
        axes.set_ylim(least, peak * 2)
        for level, rate in rates.items():
            _roof(axes, rate, peak, _LEVEL_TITLES[told["device"]][level])
        axes.plot(
            [min(peak / r for r in rates.values()), high], [peak, peak], color=INK
        )
        knee = peak / rates["dram"]
        axes.text(knee, peak * 1.12, f"{_short(peak)} GFLOP/s")
        for name, (xs, y) in points.items():
            colour = TWO if name == told["chosen"] else ONE
            axes.plot(xs, [y] * 3, color=colour, linewidth=0.6)
            for level, x in zip(LEVELS, xs, strict=True):
                axes.plot([x], [y], MARKERS[level], color=colour, markersize=4)
        _label(axes, {name: (max(xs), y) for name, (xs, y) in points.items()})
        axes.set_xlabel(
            "executed operations a byte: circle L1, square L2, diamond memory (log)"
        )
        axes.set_ylabel("executed GFLOP/s (log)")
        _plain(axes.xaxis)
        _plain(axes.yaxis)
        return _svg(figure, f"Roofline: {title}")


def _roof(axes: Any, rate: float, peak: float, name: str) -> None:
    """Draw what a level's bandwidth allows, and write along it whose it is."""
    low, _ = axes.get_xlim()
    least, _ = axes.get_ylim()
    begin, knee = max(low, least / rate), peak / rate
    if knee <= begin:
        return
    axes.plot([begin, knee], [begin * rate, peak], color=FAINT, linewidth=1)
    (x0, y0), (x1, y1) = axes.transData.transform([(begin, begin * rate), (knee, peak)])
    axes.text(
        begin * 1.1,
        begin * rate * 1.18,
        f"{name}, {rate:,.3g} GB/s",
        fontsize=7.5,
        rotation_mode="anchor",
        rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)),
    )


def _label(axes: Any, ends: dict[str, tuple[float, float]]) -> None:
    """Write names right of their points, at least a line apart."""
    least, most = axes.get_ylim()
    apart = (most / least) ** (1 / LINES)
    last = most
    for name, (x, y) in sorted(ends.items(), key=lambda item: -item[1][1]):
        last = min(y, last / apart)
        axes.annotate(
            name,
            (x, y),
            (x * 1.5, last),
            fontsize=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5},
        )


def legend(told: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """Name the colours of `bytes_bars`: CSS variable and words."""
    counted = any(
        one["measured"]["value"] for rung in _ran(told) for one in rung["levels"]
    )
    found = [("--three", "compulsory"), ("--one", "predicted")]
    return [*found, ("--two", "measured")] if counted else found
