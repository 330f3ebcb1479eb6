"""python -m pyconv profile and bench: run calls, and show what they took and moved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import pyconv as pc
from pyconv.backends import cuda_backend
from pyconv.cli.calls import Array, Described, described, dtype_named
from pyconv.cli.console import say, show, show_json, track
from pyconv.movement import ncu
from pyconv.movement.ladder import (
    Ladder,
    Rung,
    climb,
    heading,
    refuse_without_algorithms,
    rung_lines,
    runs_of,
)

__all__ = ["add_device", "bench", "profile"]


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add where calls run, how long, and who counts."""
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where the arrays are"
    )
    parser.add_argument(
        "--ncu",
        action="store_true",
        help="count on the GPU with Nsight Compute's ncu; means --device cuda",
    )
    parser.add_argument(
        "--seconds", type=float, default=0.2, help="how long a call is timed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    # What ncu runs: each call once.
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)


def _numbers(shape: tuple[int, ...], dtype: str) -> Array:
    """Make an array of numbers, the same on every run."""
    random = np.random.default_rng(0)
    kind = dtype_named(dtype)
    if kind.kind in "iu":
        return random.integers(0, 4, shape).astype(kind)
    array: Array = random.standard_normal(shape, np.float32).astype(kind)
    return array


def _on_gpu(shape: tuple[int, ...], dtype: str) -> Any:
    """Make the same array on the GPU."""
    return cuda_backend().to_device(_numbers(shape, dtype))


def _calls(options: argparse.Namespace) -> Iterator[Described]:
    """Read the calls, their arrays on the device asked for."""
    is_on_gpu = options.ncu or options.device == "cuda"
    if is_on_gpu:
        cuda_backend()  # says in a sentence what is missing
    return described(options, _on_gpu if is_on_gpu else _numbers)


def _count(words: list[str]) -> list[list[ncu.Launch]]:
    """Run the same command once more under ncu, each call once; its launches by call."""
    kept = [word for word in words if word not in ("--ncu", "--json")]
    program = [sys.executable, "-m", "pyconv", *kept, "--device", "cuda", "--once"]
    return ncu.count(program)


def _once(function: Any, arguments: dict[str, Any]) -> None:
    """Make a call between two launches that part it from all others."""
    mark = cuda_backend().measuring.mark
    mark()
    function(**arguments)
    mark()


def _counted(
    options: argparse.Namespace, words: list[str]
) -> tuple[list[list[ncu.Launch]], str]:
    """Count if that was asked for; what was counted, or why nothing was."""
    if not options.ncu:
        return [], ""
    cuda_backend()
    try:
        return _count(words), ""
    except (RuntimeError, ValueError, OSError) as error:
        return [], str(error)


def profile(options: argparse.Namespace, words: list[str]) -> None:
    """Profile each call; `words` are the command line."""
    if options.once:
        for _, function, arguments in _calls(options):
            _once(function, arguments)
        return
    show(_profiles(options, *_counted(options, words)), options)


def _profiles(
    options: argparse.Namespace, counts: list[list[ncu.Launch]], reason: str
) -> Iterator[tuple[str, pc.Profile]]:
    """Profile each call; `reason` is why nothing was counted."""
    calls = track(_calls(options), "profile", shown=options.json)
    for place, (title, function, arguments) in enumerate(calls):
        told = pc.profile(function, seconds=options.seconds, **arguments)
        if place < len(counts):
            told = told.counted(counts[place])
        elif options.ncu:
            told = told.not_counted(reason or "ncu saw no launch of it")
        yield title, told


def _without_algorithm(call: Described) -> Described:
    title, function, arguments = call
    return (
        title,
        function,
        {name: value for name, value in arguments.items() if name != "algorithm"},
    )


def bench(options: argparse.Namespace, words: list[str]) -> None:
    """Climb the ladder of each call; `words` are the command line."""
    if options.algorithm != "auto":
        raise ValueError("bench runs every algorithm; --algorithm is of profile")
    for _, function, _ in described(options):
        refuse_without_algorithms(function)  # before anything is measured
    calls = (_without_algorithm(call) for call in _calls(options))
    if options.once:
        for _, function, arguments in calls:
            for algorithm in _runnable(function, arguments).values():
                _once(function, {**arguments, "algorithm": algorithm})
        return
    counts, reason = _counted(options, words)
    found: list[dict[str, Any]] = []
    for call in calls:
        if not options.json and not found:
            say(pc.ceilings(device="cuda" if options.ncu else options.device))
        found.append(
            {"name": call[0], **_climb(call, options, counts, reason).to_dict()}
        )
    show_json(found, options)


def _runnable(function: Any, arguments: dict[str, Any]) -> dict[str, str]:
    """List the rungs that run, in the order of counting, with what is asked for."""
    told = pc.explain(function, **arguments)
    return {
        one.name: algorithm
        for one, algorithm, reason in runs_of(told, function)
        if not reason
    }


def _climb(
    call: Described,
    options: argparse.Namespace,
    counts: list[list[ncu.Launch]],
    reason: str,
) -> Ladder:
    """Climb one call's ladder, and show each rung as it is done.

    Its launches are taken off the front of `counts`; `reason` is why there are none.
    """
    title, function, arguments = call
    told = pc.explain(function, **arguments)
    by_name = {name: counts.pop(0) for name in _runnable(function, arguments) if counts}
    if not options.json:
        say(f"{title}\n{heading()}")
    rungs = []
    steps = climb(function, seconds=options.seconds, **arguments)
    for step in track(steps, title, len(told.candidates), shown=options.json):
        rung = step
        if options.ncu:
            rung = _with_counts(step, by_name.get(step.name), reason)
        rungs.append(rung)
        if not options.json:
            say("\n".join(rung_lines(rung, told.chosen)))
    return Ladder(tuple(rungs), told.chosen)


def _with_counts(rung: Rung, counts: list[ncu.Launch] | None, reason: str) -> Rung:
    """Put what ncu counted into a rung, or why it did not."""
    told = rung.profile
    if told is None:
        return rung
    if counts is None:
        return replace(rung, profile=told.not_counted(reason or "ncu saw none of it"))
    return replace(rung, profile=told.counted(counts))
