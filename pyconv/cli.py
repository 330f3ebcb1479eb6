"""The command line: python -m pyconv info | explain | warmup."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import numpy as np

import pyconv as pc
from pyconv.backends import CudaBackend
from pyconv.cuda.warmup import architecture_of, warm
from pyconv.planning import choose
from pyconv.problem import DTYPES
from pyconv.protocols import Problem
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
    _add_arguments(explain)
    explain.add_argument("--json", action="store_true", help="print JSON")
    warmup = commands.add_parser(
        "warmup", help="compile CUDA kernels before they are asked for; needs no GPU"
    )
    warmup.add_argument(
        "operation",
        nargs="?",
        choices=tuple(NAMES),
        metavar="operation",
        help="as of explain; without it, some usual convolutions and poolings",
    )
    _add_arguments(warmup)
    warmup.add_argument(
        "--arch", nargs="+", help="sm_90 sm_120 (default: that of the GPU here)"
    )
    return parser


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what describes a call: shapes and options."""
    parser.add_argument("--input", type=_integers, help="8,64,56,56")
    parser.add_argument("--weight", type=_integers, help="64,64,3,3")
    parser.add_argument("--kernel-size", type=_one_or_all, help="3, or 3,5")
    parser.add_argument("--output-size", type=_one_or_all, help="of adaptive pooling")
    parser.add_argument("--norm-type", type=float, help="of lp_pool: 1, 2")
    parser.add_argument("--stride", type=_one_or_all)
    parser.add_argument("--padding", type=_padding, help="1, 1,2 or same")
    parser.add_argument("--output-padding", type=_one_or_all, help="conv_transpose's")
    parser.add_argument("--dilation", type=_one_or_all)
    parser.add_argument("--groups", type=int)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--layout", choices=("NCHW", "NHWC"), default="NCHW")
    parser.add_argument("--algorithm", default="auto")


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
    if options.input is None:
        raise ValueError("--input is needed, such as --input 8,64,56,56")
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


# What is compiled where no call is described: layers of ResNet-50 and MobileNetV2.
_USUAL = (
    ("conv2d", (8, 3, 224, 224), "--weight 64,3,7,7 --stride 2 --padding 3"),
    ("conv2d", (8, 64, 56, 56), "--weight 64,64,3,3 --padding 1"),
    ("conv2d", (8, 64, 56, 56), "--weight 256,64,1,1"),
    ("conv2d", (8, 144, 56, 56), "--weight 144,1,3,3 --padding 1 --groups 144"),
    ("max_pool2d", (8, 64, 112, 112), "--kernel-size 3 --stride 2 --padding 1"),
    ("avg_pool2d", (8, 256, 56, 56), "--kernel-size 2"),
)


def _usual() -> Iterator[argparse.Namespace]:
    """Describe the usual calls, in both orders and three types."""
    for operation, (n, c, h, w), rest in _USUAL:
        for layout, shape in (("NCHW", (n, c, h, w)), ("NHWC", (n, h, w, c))):
            size = ",".join(map(str, shape))
            for dtype in ("float32", "float16", "bfloat16"):
                words = f"warmup {operation} --input {size} {rest} --layout {layout}"
                yield _parser().parse_args([*words.split(), "--dtype", dtype])


def _problems(told: pc.Explanation) -> list[Problem]:
    """List what is launched for a call: its problem, or those of its phases."""
    phases = [part.explanation for part in told.parts if part.what == "phase"]
    return [one.problem for one in phases] or [told.problem]


def _warm_up(options: argparse.Namespace) -> None:
    """Compile what a call, or each of the usual ones, would launch on a GPU."""
    architectures = [architecture_of(name) for name in options.arch or [None]]
    backend = CudaBackend()
    for call in _usual() if options.operation is None else [options]:
        asked, call.algorithm = call.algorithm, "auto"  # the CPU has others
        for problem in _problems(_explain(call)):
            plan = choose(problem, backend, asked).plan
            for architecture in architectures:
                print(warm(plan, architecture), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr, and exit status 2."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "info":
            facts = pc.info()
            print(json.dumps(facts, indent=2) if options.json else facts)
        elif options.command == "warmup":
            _warm_up(options)
        else:
            explained = _explain(options)
            print(explained.to_json() if options.json else explained)
    except (TypeError, ValueError, RuntimeError, ImportError) as error:
        print(f"pyconv: {error}", file=sys.stderr)
        return 2
    return 0
