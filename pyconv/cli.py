"""The command line: python -m pyconv info | explain."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

import pyconv as pc
from pyconv.pool_arguments import POOLS

__all__ = ["main"]

_OPERATIONS: dict[str, Callable[..., Any]] = {
    name: getattr(pc, name) for name in ("conv1d", "conv2d", "conv3d", *POOLS)
}

# Options that become arguments of the same name, with an example each.
_ARGUMENTS = {
    "weight": "64,64,3,3",
    "kernel_size": "3",
    "output_size": "7",
    "norm_type": "2",
    "stride": "2",
    "padding": "1",
    "dilation": "2",
    "groups": "4",
}


def _integers(text: str) -> tuple[int, ...]:
    """Read 8,64,56,56."""
    return tuple(int(part) for part in text.split(","))


def _padding(text: str) -> Any:
    """Read a word, an integer or integers."""
    if text.isalpha() or "_" in text:
        return text
    return _one_or_all(text)


def _one_or_all(text: str) -> Any:
    """Read an integer, or one for each axis."""
    values = _integers(text)
    return values[0] if len(values) == 1 else values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    facts = commands.add_parser("info", help="what this installation and machine have")
    facts.add_argument("--json", action="store_true", help="print JSON")
    explain = commands.add_parser("explain", help="what a call would do; nothing runs")
    explain.add_argument("operation", choices=tuple(_OPERATIONS))
    explain.add_argument("--input", type=_integers, required=True, help="8,64,56,56")
    explain.add_argument("--weight", type=_integers, help="64,64,3,3")
    explain.add_argument("--kernel-size", type=_one_or_all, help="of a pooling window")
    explain.add_argument("--output-size", type=_one_or_all, help="of adaptive pooling")
    explain.add_argument("--norm-type", type=float, help="of lp_pool: 1, 2")
    explain.add_argument("--stride", type=_one_or_all)
    explain.add_argument("--padding", type=_padding, help="1, 1,2 or same")
    explain.add_argument("--dilation", type=_one_or_all)
    explain.add_argument("--groups", type=int)
    explain.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    explain.add_argument("--layout", choices=("NCHW", "NHWC"), default="NCHW")
    explain.add_argument("--algorithm", default="auto")
    explain.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _stand_in(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Make an array of a shape and packed strides that takes no memory."""
    steps = np.cumprod((1, *shape[:0:-1]))[::-1] * np.dtype(dtype).itemsize
    one = np.zeros(1, dtype)
    return np.lib.stride_tricks.as_strided(one, shape, tuple(map(int, steps)))


def _explain(options: argparse.Namespace) -> pc.Explanation:
    function = _OPERATIONS[options.operation]
    known = signature(function).parameters
    given: dict[str, Any] = {"layout": options.layout, "algorithm": options.algorithm}
    for name, example in _ARGUMENTS.items():
        flag, value = f"--{name.replace('_', '-')}", getattr(options, name)
        if value is not None and name not in known:
            raise ValueError(f"{flag} is no option of {options.operation}")
        if value is None and name in known and known[name].default is known[name].empty:
            raise ValueError(f"{flag} is needed, such as {flag} {example}")
        if value is not None:
            given[name] = _stand_in(value, options.dtype) if name == "weight" else value
    return pc.explain(function, _stand_in(options.input, options.dtype), **given)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr, and exit status 2."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "info":
            facts = pc.info()
            print(json.dumps(facts, indent=2) if options.json else facts)
        else:
            explained = _explain(options)
            print(explained.to_json() if options.json else explained)
    except (TypeError, ValueError, pc.BackendUnavailable) as error:
        print(f"pyconv: {error}", file=sys.stderr)
        return 2
    return 0
