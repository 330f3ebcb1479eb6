"""The command line: python -m pyconv info | explain | profile | bench | whatif | warmup."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable

import pyconv as pc
from pyconv.cli.calls import add_call, described
from pyconv.cli.console import formatter, say, show
from pyconv.cli.profiling import add_device, bench, profile
from pyconv.cli.warmup import warm_up
from pyconv.cli.whatif import add_machine, what_if

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    shape = formatter()
    parser = argparse.ArgumentParser(
        prog="pyconv", description=__doc__, formatter_class=shape
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=help_text, description=help_text, formatter_class=shape
        )

    facts = command("info", "what this installation and machine have")
    facts.add_argument("--json", action="store_true", help="print JSON")
    explain = command("explain", "what a call would do; nothing runs")
    add_call(explain)
    explain.add_argument("--json", action="store_true", help="print JSON")
    profiled = command("profile", "run a call: its time, bytes and operations")
    add_call(profiled)
    add_device(profiled)
    benched = command(
        "bench", "run a call by every algorithm: what each changes in how data moves"
    )
    add_call(benched)
    add_device(benched)
    whatif = command("whatif", "what the model expects on a machine that is not here")
    add_call(whatif)
    add_machine(whatif)
    warmup = command(
        "warmup", "compile CUDA kernels before they are asked for; needs no GPU"
    )
    add_call(warmup, optional=True)
    warmup.add_argument(
        "--arch", nargs="+", help="sm_90 sm_120 (default: that of the GPU here)"
    )
    return parser


def _info(options: argparse.Namespace) -> None:
    facts = pc.info()
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        say(facts)


def _explain(options: argparse.Namespace) -> None:
    show(
        (
            (title, pc.explain(function, **arguments))
            for title, function, arguments in described(options)
        ),
        options,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr, and exit status 2."""
    parser = _parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(words)
    commands: dict[str, Callable[[argparse.Namespace], None]] = {
        "info": _info,
        "explain": _explain,
        "profile": lambda given: profile(given, words),
        "bench": lambda given: bench(given, words),
        "whatif": what_if,
        "warmup": lambda given: warm_up(given, parser.parse_args),
    }
    try:
        commands[options.command](options)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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
