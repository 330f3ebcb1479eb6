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
from benchmarks.shapes import NETWORKS, Layer
from benchmarks.timing import Sample, alternate

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
            for name in pc.algorithms("pool"):
                y = pool(kind)(arranged, size, algorithm=name)
                error = photograph.excess(y, *photograph.exact_pool(x, kind, size))
                yield Check(f"{kind}_pool2d", name, memory, error)


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
            not_timed[name] = f"refused: {predicted[name]['reason']}"
        elif predicted[name]["cost_us"] > 1000 * limit_ms:
            not_timed[name] = f"about {predicted[name]['cost_us'] / 1e6:.1g} s"
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


def table_rows(timed: list[Timed]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the ResNet-50 table, as plain text."""
    names = pc.algorithms("conv")
    header = ["layer", "times", "input", "C", "K", "kernel", "MFLOP", "compulsory MiB"]
    header += [f"{n} ms (GFLOP/s)" for n in names]
    header += [f"{n} MiB into L1" for n in names]
    rows = []
    for t in timed:
        layer = t.layer
        stride = f"/{layer.stride[0]}" if layer.stride[0] > 1 else ""
        row = [
            layer.name,
            str(layer.repeat),
            "x".join(map(str, layer.spatial)),
            str(layer.c),
            str(layer.k),
            "x".join(map(str, layer.kernel)) + stride,
            f"{layer.flops / 1e6:.0f}",
            f"{layer.compulsory_bytes() / 2**20:.1f}",
        ]
        for name in names:
            if name in t.samples:
                seconds = t.samples[name].median
                row.append(f"{1e3 * seconds:.2f} ({layer.flops / seconds / 1e9:.0f})")
            else:
                row.append(f"- ({t.not_timed[name]})")
        row += [f"{t.predicted[n]['bytes']['l1'] / 2**20:.1f}" for n in names]
        rows.append(row)
    return header, rows


def write_markdown(
    timed: list[Timed], checks: list[Check], note: str, limit_ms: float
) -> Path:
    """The table with its machine, as build/demo/resnet50.md."""
    header, rows = table_rows(timed)
    m = machine.describe()
    lines = [
        "# ResNet-50's convolution layers, batch 1, float32, NCHW",
        "",
        f"{m['cpu']}, {m['threads']} threads, {m['isa']}; {m['compiler']}; {m['when']}.",
        f"Commit {m['commit'] or 'unknown'}. {note}",
        "",
        "Median per call; each result was checked against exact float64 sums before it",
        'was timed. "times" is how often the layer occurs. Bytes are predicted by the',
        "algorithm's own model; compulsory bytes count every array once. Where a time is",
        f"missing, the prediction was above {limit_ms:g} ms a call and is given instead.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "## The photograph, against the definition in float64",
        "",
        "| operation | algorithm | where | error / bound |",
        "|---|---|---|---|",
        *(
            f"| {c.operation} | {c.algorithm} | {c.where} | {c.error_over_bound:.3f} |"
            for c in checks
        ),
    ]
    path = FOLDER / "resnet50.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def show_layers(timed: list[Timed], console: Console) -> None:
    """The table on the screen, and the sums over the network."""
    header, rows = table_rows(timed)
    keep = [0, 1, 2, 3, 4, 5, 6, *range(8, 8 + len(pc.algorithms("conv")))]
    table = Table(title="ResNet-50's convolution layers, batch 1: median per call")
    for i in keep:
        table.add_column(header[i], justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(escape(row[i]) for i in keep))
    console.print(table)
    for name in pc.algorithms("conv"):
        within = [t for t in timed if name in t.samples]
        count = sum(t.layer.repeat for t in within)
        total = sum(t.layer.repeat * t.samples[name].median for t in within)
        console.print(f"{name}: {1e3 * total:.0f} ms for {count} of 53 layers")


def draw(timed: list[Timed]) -> Path:
    """The picture of times and predicted bytes."""
    rows = [
        Row(
            label=f"{t.layer.name}  {t.layer.c} to {t.layer.k}, "
            f"{t.layer.kernel[0]}x{t.layer.kernel[1]}"
            + (f"/{t.layer.stride[0]}" if t.layer.stride[0] > 1 else "")
            + f", {t.layer.spatial[0]} wide",
            compulsory_bytes=t.layer.compulsory_bytes(),
            milliseconds={n: 1e3 * s.median for n, s in t.samples.items()},
            predicted_bytes={n: p["bytes"]["l1"] for n, p in t.predicted.items()},
        )
        for t in timed
    ]
    m = machine.describe()
    title = (
        "ResNet-50's convolution layers, batch 1, float32\n"
        f"{m['cpu']}, {m['threads']} threads, {m['isa']}"
    )
    path = FOLDER / "resnet50.png"
    draw_layers(rows, pc.algorithms("conv"), path, title)
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
    console.print(
        f"A layer predicted to take longer than {options.limit_ms:g} ms a call is not "
        "timed; its prediction is given instead (--limit-ms)."
    )
    written += [write_markdown(timed, checks, note, options.limit_ms), draw(timed)]
    for path in written:
        console.print(f"written: {path.relative_to(machine.ROOT)}")
    wrong = [c for c in checks if not c.good]
    if wrong:
        console.print(f"[red]{len(wrong)} results are wrong[/]")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
