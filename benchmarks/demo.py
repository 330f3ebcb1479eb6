"""`make demo`: a photograph and ResNet-50 through every algorithm, checked, then timed.

1. A real photograph goes through conv2d (a bank of filters) and pooling, with every
   registered CPU algorithm in both memory orders, and the CUDA ones where there is a
   GPU. Each result is held against the definition in float64.
2. Every conv layer of ResNet-50 (batch 1) is checked and timed per algorithm.

Writes a table and two pictures to build/demo/. Exits with 1 if any result is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

import pyconv as pc
from benchmarks import machine, photograph
from benchmarks.contenders import MEMORY_ORDERS, Pyconv, arrange
from benchmarks.oracle import conv_error, tensors
from benchmarks.pictures import Row, draw_layers, draw_photograph
from benchmarks.timing import Sample, alternate
from pyconv.movement.layers import NETWORKS, Layer

Array = NDArray[Any]

FOLDER = machine.ROOT / "build" / "demo"

POOLS = (("max", 2), ("avg", 3))


@dataclass(frozen=True)
class Check:
    """One result against the oracle: its largest error over the bound."""

    operation: str
    algorithm: str
    where: str
    error_over_bound: float

    @property
    def good(self) -> bool:
        """Within the bound."""
        return self.error_over_bound <= 1


@dataclass(frozen=True)
class Timed:
    """A layer: a sample per algorithm that was timed, the reason for one that was not."""

    layer: Layer
    samples: dict[str, Sample]
    predicted: dict[str, dict[str, Any]]
    not_timed: dict[str, str]


def pool(kind: str) -> Any:
    """The public pooling function of a kind."""
    return pc.max_pool2d if kind == "max" else pc.avg_pool2d


def check_cpu(x: Array, w: Array) -> Iterator[Check]:
    """Every registered CPU algorithm, both memory orders."""
    exact, bound = photograph.exact_filters(x, w)
    for memory in MEMORY_ORDERS:
        arranged = arrange(x, memory)
        # Three groups; for algorithms of one group the same filters among zeros.
        for weight, groups in ((w, 3), (photograph.among_zeros(w), 1)):
            arguments = (arranged, weight, None, 1, "same", 1, groups)
            for one in pc.explain(pc.conv2d, *arguments).candidates:
                if one.reason:
                    continue
                y = pc.conv2d(*arguments, algorithm=one.name)
                error = photograph.excess(y, exact, bound, one.rounding)
                yield Check(f"conv2d, {groups} group(s)", one.name, memory, error)
        for kind, size in POOLS:
            for one in pc.explain(pool(kind), arranged, size).candidates:
                if one.reason:
                    continue
                y = pool(kind)(arranged, size, algorithm=one.name)
                error = photograph.excess(y, *photograph.exact_pool(x, kind, size))
                yield Check(f"{kind}_pool2d", one.name, memory, error)


def check_cuda(x: Array, w: Array) -> Iterator[Check]:
    """Every registered CUDA algorithm that takes these shapes."""
    cupy: Any = import_module("cupy")
    gx, gw = cupy.asarray(x), cupy.asarray(w)
    exact, bound = photograph.exact_filters(x, w)
    explained = pc.explain(pc.conv2d, gx, gw, None, 1, "same", 1, 3)
    for candidate in explained.candidates:
        if not candidate.reason:
            y = pc.conv2d(gx, gw, None, 1, "same", 1, 3, algorithm=candidate.name)
            error = photograph.excess(cupy.asnumpy(y), exact, bound)
            yield Check("conv2d", candidate.name, "cuda nchw", error)
    for kind, size in POOLS:
        for candidate in pc.explain(pool(kind), gx, size).candidates:
            if not candidate.reason:
                y = pool(kind)(gx, size, algorithm=candidate.name)
                answer = photograph.exact_pool(x, kind, size)
                error = photograph.excess(cupy.asnumpy(y), *answer)
                yield Check(f"{kind}_pool2d", candidate.name, "cuda nchw", error)


def why_no_gpu() -> str:
    """One line on why CUDA is not used; empty if it is."""
    try:
        with pc.device("cuda"):
            return ""
    except pc.BackendUnavailable as error:
        return str(error).splitlines()[0]


def show_checks(checks: list[Check], console: Console) -> None:
    """One row per operation and algorithm."""
    table = Table(title="the photograph, against the definition in float64")
    for column in ("operation", "algorithm", "where", "error / bound", ""):
        table.add_column(column, justify="right" if "error" in column else "left")
    for c in checks:
        mark = "[green]agrees[/]" if c.good else "[red]WRONG[/]"
        error = f"{c.error_over_bound:.3f}"
        table.add_row(c.operation, c.algorithm, c.where, error, mark)
    console.print(table)


def show_photograph(x: Array, w: Array) -> Path:
    """The photograph and what became of it, as one picture."""
    y = pc.conv2d(x, w, None, 1, "same", 1, 3)
    colours = y.reshape(3, len(photograph.FILTERS), *y.shape[2:])
    by_name = dict(zip(photograph.FILTERS, np.moveaxis(colours, 1, 0), strict=True))
    slope = np.hypot(by_name["sobel_x"], by_name["sobel_y"]).max(0)

    def upright(planes: Array) -> Array:
        return np.moveaxis(planes, 0, -1)

    panels = {
        "photograph (427 x 640)": upright(x[0]),
        "blur, 5x5 binomial": upright(by_name["blur"]),
        "sharpen": upright(by_name["sharpen"]),
        "Sobel x (grey is 0)": 0.5 + by_name["sobel_x"].mean(0) / 4,
        "Sobel y (grey is 0)": 0.5 + by_name["sobel_y"].mean(0) / 4,
        "slope, hypot of both": slope / 2,
        "Laplacian (grey is 0)": 0.5 + by_name["laplacian"].mean(0) / 2,
        "max_pool2d 8x8": upright(pc.max_pool2d(x, 8)[0]),
    }
    path = FOLDER / "photograph.png"
    draw_photograph(panels, path, "One photograph through pyconv.conv2d and max_pool2d")
    return path


def time_layer(layer: Layer, *, rounds: int, limit_ms: float) -> Timed:
    """Check and time one layer with every registered algorithm."""
    x, w, b = tensors(layer)
    calls, predicted, not_timed = {}, {}, {}
    for name in pc.algorithms("conv"):
        contender = Pyconv(name, "nchw")
        predicted[name] = contender.prediction(layer)
        if predicted[name]["reason"]:
            not_timed[name] = f"refused, {predicted[name]['reason']}"
        elif predicted[name]["cost_us"] > 1000 * limit_ms:
            not_timed[name] = f"predicted to take more than {limit_ms:g} ms a call"
        else:
            prepared = contender.prepare(layer, x, w, b)
            error = conv_error(
                layer, x, w, b, prepared.output(), rounding=predicted[name]["rounding"]
            )
            if error > 1:
                raise SystemExit(f"{name} is wrong on {layer.id}: {error:.2f} bounds")
            calls[name] = prepared.run
    samples = alternate(calls, rounds=rounds, turn_seconds=0.04, rest_seconds=0.1)
    return Timed(layer, samples, predicted, not_timed)


def timed_algorithms(timed: list[Timed]) -> list[str]:
    """Names of the algorithms that were timed on one layer at least."""
    return [n for n in pc.algorithms("conv") if any(n in t.samples for t in timed)]


def why_missing(timed: list[Timed]) -> list[str]:
    """One line per algorithm and reason why times are missing."""
    lines = []
    for name in pc.algorithms("conv"):
        reasons = Counter(t.not_timed[name] for t in timed if name in t.not_timed)
        for reason, count in reasons.most_common():
            lines.append(f"{name}, {count} of {len(timed)} layers: {reason}")
    return lines


def layer_label(layer: Layer) -> str:
    """Such as "conv3_1b 128->128 3x3/2 @56": channels, kernel/stride, width."""
    kernel = "x".join(map(str, layer.kernel))
    stride = f"/{layer.stride[0]}" if layer.stride[0] > 1 else ""
    return f"{layer.name} {layer.c}->{layer.k} {kernel}{stride} @{layer.spatial[0]}"


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table whose first column is text and the others numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def time_table(timed: list[Timed]) -> list[str]:
    """Median milliseconds and GFLOP/s of each layer and algorithm."""
    names = timed_algorithms(timed)
    rows = []
    for t in timed:
        row = [layer_label(t.layer), str(t.layer.repeat), f"{t.layer.flops / 1e6:.0f}"]
        for name in names:
            if name in t.samples:
                seconds = t.samples[name].median
                row.append(f"{1e3 * seconds:.2f} ({t.layer.flops / seconds / 1e9:.0f})")
            else:
                row.append("-")
        rows.append(row)
    return markdown_table(["layer", "times", "MFLOP", *names], rows)


def bytes_table(timed: list[Timed]) -> list[str]:
    """Predicted MiB into L1 of each layer and algorithm, beside the compulsory MiB."""
    names = [n for n in pc.algorithms("conv") if any_taken(timed, n)]
    rows = []
    for t in timed:
        row = [layer_label(t.layer), f"{t.layer.compulsory_bytes() / 2**20:.1f}"]
        for name in names:
            moved = t.predicted[name]["bytes"]["l1"] / 2**20
            row.append("-" if t.predicted[name]["reason"] else f"{moved:.1f}")
        rows.append(row)
    return markdown_table(["layer", "compulsory", *names], rows)


def any_taken(timed: list[Timed], name: str) -> bool:
    """Whether an algorithm takes one layer at least."""
    return any(not t.predicted[name]["reason"] for t in timed)


def write_markdown(
    timed: list[Timed], checks: list[Check], note: str, limit_ms: float
) -> Path:
    """The tables with their machine, as build/demo/resnet50.md."""
    m = machine.describe()
    lines = [
        "# ResNet-50's convolution layers, batch 1, float32, NCHW",
        "",
        f"{m['cpu']}, {m['threads']} threads, {m['isa']}; {m['compiler']}; {m['when']}.",
        f"Commit {m['commit'] or 'unknown'}. {note}",
        "",
        "## Time",
        "",
        "Median ms per call (GFLOP/s); each result was checked against exact float64",
        "sums before it was timed. A layer is written as its channels, kernel/stride",
        '@width; "times" is how often it occurs. One that is predicted to take more',
        f"than {limit_ms:g} ms a call is not timed.",
        "",
        *time_table(timed),
        "",
        "Why a time is missing:",
        "",
        *(f"- {line}" for line in why_missing(timed)),
        "",
        "## MiB into L1",
        "",
        "Predicted by each algorithm's own model; compulsory counts every array once.",
        "",
        *bytes_table(timed),
        "",
        "## The photograph, against the definition in float64",
        "",
        "| operation | algorithm | where | error / bound |",
        "|---|---|---|---:|",
        *(
            f"| {c.operation} | {c.algorithm} | {c.where} | {c.error_over_bound:.3f} |"
            for c in checks
        ),
    ]
    path = FOLDER / "resnet50.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def show_layers(timed: list[Timed], console: Console) -> None:
    """The times on the screen, the quickest bold, and the sums over the network."""
    names = timed_algorithms(timed)
    table = Table(title="ResNet-50's convolution layers, batch 1: median ms per call")
    table.add_column("layer", no_wrap=True)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for t in timed:
        best = min(t.samples, key=lambda n: t.samples[n].median, default=None)
        cells = [
            f"{1e3 * t.samples[n].median:.2f}" if n in t.samples else "-" for n in names
        ]
        cells = [
            f"[bold]{c}[/]" if n == best else c
            for n, c in zip(names, cells, strict=True)
        ]
        table.add_row(layer_label(t.layer), *cells)
    console.print(table)
    for name in names:
        within = [t for t in timed if name in t.samples]
        count = sum(t.layer.repeat for t in within)
        total = sum(t.layer.repeat * t.samples[name].median for t in within)
        console.print(f"{name}: {1e3 * total:.0f} ms for {count} of 53 layers")
    console.print("\nwhy a time is missing:")
    for line in why_missing(timed):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def draw(timed: list[Timed]) -> Path:
    """The picture of times and predicted bytes."""
    rows = [
        Row(
            label=layer_label(t.layer),
            compulsory_bytes=t.layer.compulsory_bytes(),
            milliseconds={n: 1e3 * s.median for n, s in t.samples.items()},
            predicted_bytes={
                n: p["bytes"]["l1"] for n, p in t.predicted.items() if not p["reason"]
            },
        )
        for t in timed
    ]
    m = machine.describe()
    title = (
        "ResNet-50's convolution layers, batch 1, float32\n"
        f"{m['cpu']}, {m['threads']} threads, {m['isa']}"
    )
    path = FOLDER / "resnet50.png"
    names = [n for n in pc.algorithms("conv") if any_taken(timed, n)]
    draw_layers(rows, names, path, title)
    return path


def main(arguments: list[str]) -> int:
    """Run the demo; 1 if a result was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-ms", type=float, default=150.0)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 130)
    FOLDER.mkdir(parents=True, exist_ok=True)
    reason = why_no_gpu()
    note = f"Fell back to the CPU: {reason}" if reason else "CPU and CUDA were checked."
    console.print(escape(note), soft_wrap=True)

    x, w = photograph.load(), photograph.bank()
    checks = list(check_cpu(x, w))
    if not reason:
        checks += check_cuda(x, w)
    show_checks(checks, console)
    written = [show_photograph(x, w)]

    timed = [
        time_layer(layer, rounds=options.rounds, limit_ms=options.limit_ms)
        for layer in track(NETWORKS["resnet50"], "ResNet-50", console=console)
    ]
    show_layers(timed, console)
    written += [write_markdown(timed, checks, note, options.limit_ms), draw(timed)]
    for path in written:
        console.print(f"written: {path.relative_to(machine.ROOT)}")
    wrong = [c for c in checks if not c.good]
    if wrong:
        console.print(f"[red]{len(wrong)} results are wrong[/]")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
