"""What the command line looks like: colours, help and progress by rich, where it is.

Without rich, or where the output is no terminal, the same text comes plain.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["formatter", "say", "show", "show_json", "track"]

Item = TypeVar("Item")

# How lines are painted: the first pattern that fits decides.
_STYLES = (
    (re.compile(r"^> "), "bold green"),  # what auto takes
    (re.compile(r"^ *\S+ +(refused|left out): "), "dim"),
    (re.compile(r"^  +(algorithm|rung|compulsory|kernel) "), "bold cyan"),
    (re.compile(r"^ {6}\S"), "italic"),  # a rung's sentence
    (re.compile(r"^  not measured "), "yellow"),
)


def _rich() -> Any:
    """Give rich, or None where it is not installed."""
    try:
        import rich.console  # noqa: PLC0415 - need not be there
        import rich.progress  # noqa: PLC0415
        import rich.text  # noqa: PLC0415
    except ImportError:
        return None
    return rich


def formatter() -> type[argparse.HelpFormatter]:
    """Choose how help is laid out: rich_argparse's colours, if it is installed."""
    try:
        from rich_argparse import RichHelpFormatter  # noqa: PLC0415 - need not be there
    except ImportError:
        return argparse.HelpFormatter
    found: type[argparse.HelpFormatter] = RichHelpFormatter
    return found


def say(text: object) -> None:
    """Print lines, painted where the terminal shows it; at once."""
    rich = _rich()
    if rich is None or not sys.stdout.isatty():
        print(text, flush=True)
        return
    console = rich.console.Console(highlight=False, soft_wrap=True)
    for line in str(text).splitlines():
        style = next((name for like, name in _STYLES if like.match(line)), "")
        console.print(rich.text.Text(line, style=style))


def show(told: Iterable[tuple[str, Any]], options: argparse.Namespace) -> None:
    """Print what is told of each call as it comes: tables under names, or JSON.

    JSON of a --layer is a list, which may be of one. What is told prints, and has
    ``to_dict``.
    """
    found = []
    for title, one in told:
        if options.json:
            found.append({"name": title, **one.to_dict()})
            continue
        if options.layer is not None:
            say(title)
        say(one)
    show_json(found, options)


def show_json(found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the JSON of all calls, if that was asked for."""
    if options.json:
        print(json.dumps(found if options.layer is not None else found[0], indent=2))


def track(
    items: Iterable[Item], what: str, total: int | None = None, shown: bool = True
) -> Iterator[Item]:
    """Show how far an iteration is, on the error output of a terminal.

    Parameters
    ----------
    items : iterable
        What is iterated over.
    what : str
        A word or two for the bar.
    total : int, optional
        How many there are, where `items` has no length.
    shown : bool
        Whether to show it: not where results are printed as they come.
    """
    rich = _rich()
    if rich is None or not shown or not sys.stderr.isatty():
        yield from items
        return
    if total is None and isinstance(items, Sequence):
        total = len(items)
    progress = rich.progress.Progress(
        console=rich.console.Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # what is printed is the program's output
        redirect_stderr=False,
    )
    with progress:
        yield from progress.track(items, total=total, description=what)
