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
from pyconv.problem import DTYPES
from pyconv.readers import NAMES, READERS

__all__ = ["main"]

# Options that become arguments of the same name, with an example each.
_ARGUMENTS = {
    "weight": "64,64,3,3",
    "kernel_size": "3",
    "output_size": "7",
    "norm_type": "2",
    "stride": "2",
    "padding": "1",
    "output_padding": "1",
    "dilation": "2",
    "groups": "4",
}


def _integers(text: str) -> tuple[int, ...]:
    """Read 8,64,56,56, or 3, of one axis."""
    return tuple(int(part) for part in text.removesuffix(",").split(","))


def _padding(text: str) -> Any:
    """Read a word, an integer or integers."""
    if text.isalpha() or "_" in text:
        return text
    return _one_or_all(text)


def _one_or_all(text: str) -> Any:
    """Read an integer, or one for each axis."""
    values = _integers(text)
    return values if "," in text else values[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    facts = commands.add_parser("info", help="what this installation and machine have")
    facts.add_argument("--json", action="store_true", help="print JSON")
    explain = commands.add_parser("explain", help="what a call would do; nothing runs")
    explain.add_argument(
        "operation", choices=tuple(NAMES), metavar="operation", help=", ".join(NAMES)
    )
    explain.add_argument("--input", type=_integers, required=True, help="8,64,56,56")
    explain.add_argument("--weight", type=_integers, help="64,64,3,3")
    explain.add_argument("--kernel-size", type=_one_or_all, help="3, or 3,5")
    explain.add_argument("--output-size", type=_one_or_all, help="of adaptive pooling")
    explain.add_argument("--norm-type", type=float, help="of lp_pool: 1, 2")
    explain.add_argument("--stride", type=_one_or_all)
    explain.add_argument("--padding", type=_padding, help="1, 1,2 or same")
    explain.add_argument("--output-padding", type=_one_or_all, help="conv_transpose's")
    explain.add_argument("--dilation", type=_one_or_all)
    explain.add_argument("--groups", type=int)
    explain.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    explain.add_argument("--layout", choices=("NCHW", "NHWC"), default="NCHW")
    explain.add_argument("--algorithm", default="auto")
    explain.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _dtype(name: str) -> np.dtype[Any]:
    """Find a type by its name; bfloat16 is another package's."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        from ml_dtypes import bfloat16  # noqa: PLC0415 - need not be there
    except ImportError:
        raise TypeError(
            "--dtype bfloat16 needs the package ml_dtypes, which is not installed"
        ) from None
    dtype: np.dtype[Any] = np.dtype(bfloat16)
    return dtype


def _stand_in(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Make an array of a shape and packed strides that takes no memory."""
    one = np.zeros(1, _dtype(dtype))
    steps = np.cumprod((1, *shape[:0:-1]))[::-1] * one.itemsize
    return np.lib.stride_tricks.as_strided(one, shape, tuple(map(int, steps)))


def _forward(name: str) -> Callable[..., Any]:
    """Find the operation whose result, or its gradient, an operation takes."""
    if name == "col2im":
        return pc.im2col
    whole = name.removeprefix("grad.")
    for part in ("_input", "_weight", "_bias"):
        whole = whole.removesuffix(part)
    return NAMES[whole]


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Collect what was given on the command line, arrays as stand-ins."""
    given: dict[str, Any] = {"layout": options.layout, "algorithm": options.algorithm}
    for name in _ARGUMENTS:
        value = getattr(options, name)
        if value is not None:
            given[name] = value
    given["x"] = _stand_in(options.input, options.dtype)
    if options.weight is not None:
        given["weight"] = _stand_in(options.weight, options.dtype)
        given["weight_size"] = options.weight
    return given


def _taken(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Pick those of the values that a function takes; it must have all it needs."""
    known = signature(NAMES[name]).parameters
    for key, example in _ARGUMENTS.items():
        flag = f"--{key.replace('_', '-')}"
        if key not in given and key in known and known[key].default is known[key].empty:
            raise ValueError(f"{flag} is needed, such as {flag} {example}")
    return {key: value for key, value in given.items() if key in known}


def _explain(options: argparse.Namespace) -> pc.Explanation:
    name, given = options.operation, _given(options)
    forward = _forward(name)
    known = signature(forward).parameters
    for key in _ARGUMENTS:
        if key in given and key not in known:
            raise ValueError(f"--{key.replace('_', '-')} is no option of {name}")
    if name.startswith("max_unpool"):
        given["indices"] = _stand_in(options.input, "int64")
    elif NAMES[name] is not forward:
        taken = _taken(forward.__name__, {**given, "algorithm": "auto"})
        call: Any = READERS[forward](**taken, dry=True)
        given["grad_output"] = given["columns"] = _stand_in(call.shape, options.dtype)
        given["indices"] = _stand_in(call.shape, "int64")
        given["input_size"] = options.input
        if name == "col2im":
            given["output_size"] = call.problem.input[3 - call.layout.rank :]
    return pc.explain(NAMES[name], **_taken(name, given))


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
