"""How pyconv stands against PyTorch on ResNet-50's 1x1 and 3x3 layers, in one run.

    python -m benchmarks.ratio [--threads 2] [--batch 8] [--rounds 5] [--layers TEXT]

For each layer every pyconv algorithm (both memory orders) and PyTorch (both) take
turns, see timing.py. Speed is PyTorch's best median over the algorithm's best median:
1 is as fast as PyTorch's better layout, 0.5 half as fast. Each output is checked
against float64 before it is timed. The second figure is the cost of a call with almost
nothing to compute. Prints tables and writes JSON to benchmarks/results/<machine>/.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

import pyconv as pc
from benchmarks import machine
from benchmarks.contenders import AUTO, Pyconv, pyconv_contenders
from benchmarks.oracle import conv_error, tensors
from benchmarks.peers import MAKERS, Contender
from benchmarks.timing import Sample, alternate
from pyconv.movement.layers import NETWORKS, Layer, square

TORCH = ("torch-nchw", "torch-nhwc")


def run_layer(
    layer: Layer,
    contenders: Iterable[Contender],
    *,
    rounds: int,
    turn_seconds: float,
    limit_ms: float,
) -> dict[str, Any]:
    """Check and time one layer: a JSON record with every contender's sample."""
    x, w, b = tensors(layer)
    calls, facts = {}, {}
    for entry in contenders:
        fact: dict[str, Any] = {}
        if isinstance(entry, Pyconv):
            fact = {"algorithm": entry.algorithm, "memory": entry.memory}
            fact["predicted"] = entry.prediction(layer)
            refusal = fact["predicted"]["reason"]
            if not refusal and fact["predicted"]["cost_us"] > 1000 * limit_ms:
                refusal = f"predicted to take longer than {limit_ms:g} ms"
            if refusal:
                facts[entry.name] = {**fact, "not_timed": refusal}
                continue
        prepared = entry.prepare(layer, x, w, b)
        rounding = fact.get("predicted", {}).get("rounding", "direct")
        fact["error_over_bound"] = conv_error(
            layer, x, w, b, prepared.output(), rounding=rounding
        )
        if fact["error_over_bound"] > 1:
            raise SystemExit(f"{entry.name} is wrong on {layer.id}: not timed")
        facts[entry.name] = fact
        calls[entry.name] = prepared.run
    samples = alternate(calls, rounds=rounds, turn_seconds=turn_seconds)
    for name, sample in samples.items():
        facts[name]["seconds"] = sample.as_dict()
        facts[name]["gflops"] = layer.flops / sample.median / 1e9
    record = {
        "layer": layer.id,
        "kernel": layer.kernel,
        "repeat": layer.repeat,
        "flops": layer.flops,
        "compulsory_bytes": layer.compulsory_bytes(),
        "contenders": facts,
    }
    record["speed"] = speeds(facts, samples)
    return record


def speeds(facts: dict[str, Any], samples: dict[str, Sample]) -> dict[str, float]:
    """Per algorithm: PyTorch's best median over the algorithm's best median."""
    best: dict[str, float] = {}
    for name, sample in samples.items():
        algorithm = facts[name].get("algorithm", "torch")
        best[algorithm] = min(best.get(algorithm, math.inf), sample.median)
    torch = best.pop("torch")
    return {algorithm: torch / seconds for algorithm, seconds in best.items()}


def overhead(threads: int, rounds: int) -> dict[str, dict[str, float | int]]:
    """Seconds per call of conv2d on 1x1x8x8 with a 3x3 kernel: pyconv and PyTorch."""
    layer = square("tiny", "conv", 1, 1, 8, 3)
    x, w, b = tensors(layer)
    for entry in (AUTO, MAKERS["torch-nchw"](threads)):
        prepared = entry.prepare(layer, x, w, b)
        if conv_error(layer, x, w, b, prepared.output()) > 1:
            raise SystemExit(f"{entry.name} is wrong on {layer.id}")
    # Called as a user would, without the contender's wrapper around the call.
    torch: Any = import_module("torch")
    tx, tw = torch.from_numpy(x), torch.from_numpy(w)
    torch_conv2d = torch.nn.functional.conv2d
    calls = {"pyconv": lambda: pc.conv2d(x, w), "torch": lambda: torch_conv2d(tx, tw)}
    with torch.inference_mode():
        samples = alternate(calls, rounds=rounds, turn_seconds=0.05)
    return {name: sample.as_dict() for name, sample in samples.items()}


def show(records: list[dict[str, Any]], console: Console) -> None:
    """Milliseconds per contender and the speed of each algorithm, layer by layer."""
    names = list(dict.fromkeys(n for r in records for n in r["contenders"]))
    algorithms = list(dict.fromkeys(a for r in records for a in r["speed"]))
    table = Table(title="median ms; speed = PyTorch's best / pyconv's best")
    table.add_column("layer", overflow="fold")
    for name in names:
        table.add_column(name.replace("-", "\n"), justify="right")
    for algorithm in algorithms:
        table.add_column(f"speed\n{algorithm}", justify="right")
    for record in records:
        row = [record["layer"].removeprefix("resnet50-")]
        for name in names:
            seconds = record["contenders"].get(name, {}).get("seconds")
            row.append(f"{1e3 * seconds['median']:.2f}" if seconds else "-")
        row += [f"{record['speed'].get(a, math.nan):.2f}" for a in algorithms]
        table.add_row(*row)
    console.print(table)
    for algorithm in algorithms:
        values = [r["speed"][algorithm] for r in records if algorithm in r["speed"]]
        mean = math.exp(sum(map(math.log, values)) / len(values))
        console.print(
            f"{algorithm}: {len(values)} layers, lowest {min(values):.2f}, "
            f"geometric mean {mean:.2f}, highest {max(values):.2f}"
        )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn-seconds", type=float, default=0.1)
    parser.add_argument("--limit-ms", type=float, default=1000.0)
    parser.add_argument("--layers", default="", help="only ids with this text in them")
    parser.add_argument("--quick", action="store_true", help="two layers, one round")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run both figures; 1 if PyTorch is missing."""
    options = parse(arguments)
    console = Console(width=160 if not sys.stdout.isatty() else None)
    pc.set_num_threads(options.threads)
    try:
        torch = [MAKERS[name](options.threads) for name in TORCH]
    except ImportError as error:
        console.print(f"The ratio needs PyTorch (pip install torch): {error}")
        return 1
    layers = [
        layer.with_batch(options.batch)
        for layer in NETWORKS["resnet50"]
        if layer.kernel in ((1, 1), (3, 3)) and options.layers in layer.id
    ]
    if options.quick:
        layers, options.rounds = layers[-2:], 1
    records = [
        run_layer(
            layer,
            [*pyconv_contenders(), *torch],
            rounds=options.rounds,
            turn_seconds=options.turn_seconds,
            limit_ms=options.limit_ms,
        )
        for layer in track(layers, "timing", console=console)
    ]
    show(records, console)
    call = overhead(options.threads, options.rounds)
    console.print(
        "conv2d 1x1x8x8, 3x3, us per call (median): "
        + ", ".join(f"{n} {1e6 * s['median']:.2f}" for n, s in call.items())
    )
    name = f"resnet50-batch{options.batch}-threads{options.threads}-vs-torch.json"
    out = options.out or machine.results_folder() / name
    report = {"machine": machine.describe(), "layers": records, "overhead": call}
    out.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"written: {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
