"""The command line: python -m pyconv info | explain | profile | whatif | warmup."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable

import numpy as np

import pyconv as pc
from pyconv.cli.calls import Array, add_call, described, dtype_named
from pyconv.cli.warmup import warm_up
from pyconv.cli.whatif import add_machine, what_if

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    facts = commands.add_parser("info", help="what this installation and machine have")
    facts.add_argument("--json", action="store_true", help="print JSON")
    explain = commands.add_parser("explain", help="what a call would do; nothing runs")
    add_call(explain)
    explain.add_argument("--json", action="store_true", help="print JSON")
    profile = commands.add_parser(
        "profile", help="run a call on the CPU: time, bytes and operations"
    )
    add_call(profile)
    profile.add_argument(
        "--seconds", type=float, default=0.2, help="how long it is timed"
    )
    profile.add_argument("--json", action="store_true", help="print JSON")
    whatif = commands.add_parser(
        "whatif", help="what the model expects on a machine that is not here"
    )
    add_call(whatif)
    add_machine(whatif)
    warmup = commands.add_parser(
        "warmup", help="compile CUDA kernels before they are asked for; needs no GPU"
    )
    add_call(warmup, optional=True)
    warmup.add_argument(
        "--arch", nargs="+", help="sm_90 sm_120 (default: that of the GPU here)"
    )
    return parser


def _numbers(shape: tuple[int, ...], dtype: str) -> Array:
    """Make an array of numbers, the same on every run."""
    random = np.random.default_rng(0)
    kind = dtype_named(dtype)
    if kind.kind in "iu":
        return random.integers(0, 4, shape).astype(kind)
    array: Array = random.standard_normal(shape, np.float32).astype(kind)
    return array


def _info(options: argparse.Namespace) -> None:
    facts = pc.info()
    print(json.dumps(facts, indent=2) if options.json else facts)


def _explain(options: argparse.Namespace) -> None:
    _show(
        (
            (title, pc.explain(function, **arguments))
            for title, function, arguments in described(options)
        ),
        options,
    )


def _profile(options: argparse.Namespace) -> None:
    _show(
        (
            (title, pc.profile(function, seconds=options.seconds, **arguments))
            for title, function, arguments in described(options, _numbers)
        ),
        options,
    )


def _show(
    told: Iterable[tuple[str, pc.Explanation | pc.Profile]], options: argparse.Namespace
) -> None:
    """Print what is told of each call as it comes: tables under names, or JSON.

    JSON of a --layer is a list, which may be of one.
    """
    found = []
    for title, one in told:
        if options.json:
            found.append({"name": title, **one.to_dict()})
            continue
        if options.layer is not None:
            print(title)
        print(one, flush=True)
    if options.json:
        print(json.dumps(found if options.layer is not None else found[0], indent=2))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr, and exit status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], None]] = {
        "info": _info,
        "explain": _explain,
        "profile": _profile,
        "whatif": what_if,
        "warmup": lambda given: warm_up(given, parser.parse_args),
    }
    try:
        commands[options.command](options)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        ImportError,
        MemoryError,
    ) as error:
        print(f"pyconv: {error}", file=sys.stderr)
        return 2
    return 0
