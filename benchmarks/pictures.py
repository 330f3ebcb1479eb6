"""The demo's two pictures: the filtered photograph, and ResNet-50 layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib import ticker

Array = NDArray[Any]

# Okabe and Ito's palette: told apart by the colour-blind, and in print by the marker.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d")


@dataclass(frozen=True)
class Row:
    """One layer in the picture; a missing algorithm was not timed."""

    label: str
    compulsory_bytes: int
    milliseconds: Mapping[str, float]
    predicted_bytes: Mapping[str, float]


def draw_photograph(panels: Mapping[str, Array], path: Path, title: str) -> None:
    """A grid of pictures; each panel (H, W, 3) or (H, W), any range."""
    columns = 4
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4 * columns, 2.8 * rows + 0.5), layout="constrained"
    )
    flat = list(np.ravel(axes))
    for axis, (name, panel) in zip(flat, panels.items(), strict=False):
        axis.imshow(np.clip(panel, 0, 1), cmap="gray", vmin=0, vmax=1)
        axis.set_title(name, fontsize=12)
        axis.set_axis_off()
    for axis in flat[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plain_log_axis(axis: Any) -> None:
    """A logarithmic x axis labelled 0.1, 1, 10; with 2 and 5 between if short."""
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=steps))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())


def draw_layers(
    rows: Sequence[Row], algorithms: Sequence[str], path: Path, title: str
) -> None:
    """Time and predicted bytes of each layer, one marker per algorithm, log axes."""
    # Beside each other within their row, so that equal values do not hide.
    spread = 0.76 / max(len(algorithms) - 1, 1)
    figure, (time_axis, bytes_axis) = plt.subplots(
        1, 2, figsize=(13, 0.5 * len(rows) + 2.4), sharey=True, layout="constrained"
    )
    y = np.arange(len(rows))
    for index, algorithm in enumerate(algorithms):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        for axis, values in (
            (time_axis, [r.milliseconds.get(algorithm, np.nan) for r in rows]),
            (bytes_axis, [r.predicted_bytes.get(algorithm, np.nan) for r in rows]),
        ):
            scaled = np.array(values) / (1 if axis is time_axis else 2**20)
            axis.plot(
                scaled,
                y + spread * (index - (len(algorithms) - 1) / 2),
                marker,
                color=colour,
                label=algorithm,
                markersize=6.5,
                markeredgecolor="white",
                markeredgewidth=0.6,
            )
    compulsory = np.array([r.compulsory_bytes for r in rows]) / 2**20
    bytes_axis.plot(compulsory, y, "k|", markersize=13, label="compulsory")
    time_axis.set_yticks(y, [row.label for row in rows], fontsize=9)
    time_axis.set_ylim(len(rows) - 0.5, -0.5)
    time_axis.set_xlabel("measured time per call, median (ms, log scale)")
    bytes_axis.set_xlabel("predicted bytes moved into L1 (MiB, log scale)")
    for axis in (time_axis, bytes_axis):
        plain_log_axis(axis)
        axis.grid(True, which="major", axis="x", color="0.85")
        for line in y[:-1] + 0.5:
            axis.axhline(line, color="0.92", linewidth=0.8, zorder=0)
        axis.grid(True, which="minor", axis="x", color="0.94", linewidth=0.5)
        axis.set_axisbelow(True)
    handles, labels = bytes_axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(title, fontsize=12)
    figure.savefig(path, dpi=120)
    plt.close(figure)
