"""python -m pyconv whatif: the model on a machine that is not here."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyconv as pc
from pyconv.cli.calls import Described, described
from pyconv.cli.console import say, track
from pyconv.movement.events import LEVELS
from pyconv.movement.problems import parse_layer
from pyconv.movement.whatif import (
    Machine,
    Outlook,
    best,
    gpu,
    quantity,
    this_cpu,
    whatif,
    with_cores,
)
from pyconv.protocols import Problem
from pyconv.readers import NAMES

__all__ = ["add_machine", "what_if"]

KERNELS = (1, 2, 3, 5, 7, 9, 11, 15)
CHANNELS = (1, 4, 16, 64, 256, 1024)


def _quantity(unit: str) -> Callable[[str], float]:
    """Make what reads an amount of a unit."""

    def read(text: str) -> float:
        try:
            return quantity(text, unit)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add what describes the machine."""
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="what is left out: of this machine's CPU as measured, or of an H200",
    )
    parser.add_argument("--cores", type=int, help="of a CPU")
    for flag, what in (
        ("--peak", "float32 operations a second, such as 67TFLOP/s"),
        ("--bandwidth", "from memory, such as 4.8TB/s"),
        ("--l3-bandwidth", "from L3 into L2; of a CPU"),
        ("--l2-bandwidth", "from L2"),
        ("--l1-bandwidth", "from L1 and shared memory; of a GPU"),
        ("--l1", "bytes, such as 32KiB; of a CPU"),
        ("--l2", "bytes, such as 50MB"),
        ("--l3", "bytes, such as 256MB; of a CPU"),
    ):
        unit = "FLOP/s" if flag == "--peak" else "B/s" if "band" in flag else "B"
        parser.add_argument(flag, type=_quantity(unit), help=what)
    parser.add_argument(
        "--map",
        action="store_true",
        help="instead: the quickest for other kernel sizes and channels",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


# What an option is of either device: a rate into a level, or a capacity.
_RATES = {
    "cpu": {"bandwidth": "dram", "l3_bandwidth": "l2", "l2_bandwidth": "l1"},
    "cuda": {"bandwidth": "dram", "l2_bandwidth": "l2", "l1_bandwidth": "l1"},
}
_CAPACITIES = {"cpu": ("l1", "l2", "l3"), "cuda": ("l2",)}
_OPTIONS = ("l1_bandwidth", "l2_bandwidth", "l3_bandwidth", "l1", "l2", "l3", "cores")


def _machine(options: argparse.Namespace) -> Machine:
    """Change the machine that is known by what was given."""
    device = options.device
    machine = this_cpu() if device == "cpu" else gpu()
    allowed = {*_RATES[device], *_CAPACITIES[device]} | (
        {"cores"} if device == "cpu" else set()
    )
    for name in _OPTIONS:
        if getattr(options, name) is not None and name not in allowed:
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} is no option of --device {device}")
    if options.cores is not None:
        if options.cores < 1:
            raise ValueError(f"--cores must be at least 1, got {options.cores}")
        machine = with_cores(machine, options.cores)
    if options.peak is not None:
        machine = replace(machine, flops=options.peak)
    rates, capacities = dict(machine.rates), dict(machine.capacities)
    for name, level in _RATES[device].items():
        if getattr(options, name) is not None:
            rates[level] = getattr(options, name)
    for level in _CAPACITIES[device]:
        if getattr(options, level) is not None:
            capacities[level] = int(getattr(options, level))
    return replace(machine, rates=rates, capacities=capacities)


def _table(found: list[Outlook], compulsory: int) -> str:
    """Write a table, quickest first."""
    lines = [
        f"  {'algorithm':<16}{'us':>10}{'bound by':>10}{'MFLOP':>10}"
        + "".join(f"{level + ' MB':>10}" for level in LEVELS)
        + f"{'L1/compulsory':>15}"
    ]
    for one in found:
        if one.reason:
            lines.append(f"  {one.name:<16}refused: {one.reason}")
            continue
        lines.append(
            f"  {one.name:<16}{one.us:>10.4g}{one.bound:>10}{one.flops / 1e6:>10.4g}"
            + "".join(f"{one.bytes[level] / 1e6:>10.4g}" for level in LEVELS)
            + f"{one.bytes['l1'] / compulsory:>15.3g}"
        )
    return "\n".join(lines)


def _problem(call: Described) -> Problem:
    _, function, arguments = call
    return pc.explain(function, **arguments).problem


def _grid(options: argparse.Namespace, machine: Machine) -> list[list[Outlook | None]]:
    """Find the quickest for each kernel size and number of channels and filters."""
    text = options.operation or ""
    if options.layer is not None or text in NAMES or re.search("[ckrstp][0-9]", text):
        raise ValueError(
            "--map takes a problem such as 'n1 h56' and chooses its c, k, r and p"
        )
    return [
        [_quickest(options, machine, text, kernel, channels) for channels in CHANNELS]
        for kernel in track(KERNELS, "whatif --map")
    ]


def _quickest(
    options: argparse.Namespace,
    machine: Machine,
    text: str,
    kernel: int,
    channels: int,
) -> Outlook | None:
    """Find the quickest of one place; None where the groups do not fit the channels."""
    words = f"{text} c{channels} k{channels} r{kernel} p{kernel // 2}"
    layer = parse_layer(words)
    if layer.c % layer.groups:
        return None
    given = argparse.Namespace(**{**vars(options), "operation": words})
    (found,) = best([_problem(call) for call in described(given)], machine)
    return found


def _map(options: argparse.Namespace, machine: Machine) -> None:
    """Print which algorithm is quickest where."""
    rows = _grid(options, machine)
    if options.json:
        print(
            json.dumps(
                {
                    "kernels": KERNELS,
                    "channels": CHANNELS,
                    "quickest": [
                        [None if one is None else one.to_dict() for one in row]
                        for row in rows
                    ],
                },
                indent=2,
            )
        )
        return
    names = [["-" if one is None else one.name for one in row] for row in rows]
    wide = 2 + max(len(name) for row in names for name in row)
    say(machine)
    say(f"{'kernel':<8}" + "".join(f"{f'c=k={c}':<{wide}}" for c in CHANNELS))
    for kernel, row in zip(KERNELS, names, strict=True):
        cells = "".join(f"{name:<{wide}}" for name in row)
        say(f"{f'{kernel}x{kernel}':<8}{cells}".rstrip())


def what_if(options: argparse.Namespace) -> None:
    """Print what the model expects of every algorithm, or the map of the quickest."""
    machine = _machine(options)
    if options.map:
        _map(options, machine)
        return
    data: list[dict[str, Any]] = []
    if not options.json:
        say(machine)
    for call in described(options):
        problem = _problem(call)
        found = whatif(problem, machine)
        data.append(
            {
                "problem": call[0],
                "compulsory_bytes": problem.compulsory_bytes,
                "outlook": [one.to_dict() for one in found],
            }
        )
        if not options.json:
            say(call[0])
            say(_table(found, problem.compulsory_bytes))
    if options.json:
        print(json.dumps(data, indent=2))
