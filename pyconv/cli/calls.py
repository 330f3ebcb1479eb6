"""Calls described in words: an operation with options, a problem, or a layer's name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from inspect import signature
from math import prod
from typing import Any

import numpy as np

import pyconv as pc
from pyconv.movement.layers import Layer
from pyconv.movement.problems import EXAMPLE, layers_named, parse_layer
from pyconv.problem import DTYPES
from pyconv.readers import NAMES, READERS

__all__ = ["Array", "Described", "add_call", "described", "dtype_named", "stand_in"]

Array = np.ndarray[Any, Any]
# Makes an array of a shape and a type: one that takes no memory, or one of numbers.
Maker = Callable[[tuple[int, ...], str], Array]
# A title, a public function and its arguments.
Described = tuple[str, Callable[..., Any], dict[str, Any]]

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


def add_call(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add what describes a call: an operation with shapes and options, or a layer."""
    parser.add_argument(
        "operation",
        nargs="?",
        metavar="operation|problem",
        help=f'a convolution such as "{EXAMPLE}", or with --input one of: '
        + ", ".join(NAMES)
        + ("; without it, some usual convolutions and poolings" if optional else ""),
    )
    parser.add_argument("--layer", help="resnet50.conv3_2b, or resnet50 for all of it")
    parser.add_argument("--batch", type=int, help="samples of a layer: 1 if left out")
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


def dtype_named(name: str) -> np.dtype[Any]:
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


def stand_in(shape: tuple[int, ...], dtype: str) -> Array:
    """Make an array of a shape and packed strides that takes no memory."""
    one = np.zeros(1, dtype_named(dtype))
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


def _given(options: argparse.Namespace, make: Maker) -> dict[str, Any]:
    """Collect what was given on the command line, and make the arrays."""
    given: dict[str, Any] = {"layout": options.layout, "algorithm": options.algorithm}
    for name in _ARGUMENTS:
        value = getattr(options, name)
        if value is not None:
            given[name] = value
    given["x"] = make(options.input, options.dtype)
    if options.weight is not None:
        given["weight"] = make(options.weight, options.dtype)
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


def _operation(options: argparse.Namespace, make: Maker) -> Described:
    """Read an operation's name with its options."""
    if options.input is None:
        raise ValueError("--input is needed, such as --input 8,64,56,56")
    if options.batch is not None:
        raise ValueError("--batch is of a layer; an operation's is in --input")
    name, given = options.operation, _given(options, make)
    forward = _forward(name)
    known = signature(forward).parameters
    for key in _ARGUMENTS:
        if key in given and key not in known:
            raise ValueError(f"--{key.replace('_', '-')} is no option of {name}")
    if name.startswith("max_unpool"):
        given["indices"] = _places(options, make)
    elif NAMES[name] is not forward:
        taken = _taken(forward.__name__, {**given, "algorithm": "auto"})
        call: Any = READERS[forward](**taken, dry=True)
        given["grad_output"] = given["columns"] = make(call.shape, options.dtype)
        given["input_size"] = options.input
        if "indices" in signature(NAMES[name]).parameters:
            given["indices"] = _indices(forward, taken, call.shape, make)
        if name == "col2im":
            given["output_size"] = call.problem.input[3 - call.layout.rank :]
    return name, NAMES[name], _taken(name, given)


def _places(options: argparse.Namespace, make: Maker) -> Array:
    """Make the indices of what is unpooled: of each plane, the first places."""
    shape = options.input
    if make is stand_in:
        return stand_in(shape, "int64")
    last = options.layout == "NHWC"
    spatial = shape[1:-1] if last else shape[2:]
    plane = np.arange(prod(spatial)).reshape(*spatial, *(1,) * last)
    places: Array = np.broadcast_to(plane, shape).copy()
    return places


def _indices(
    forward: Callable[..., Any],
    taken: dict[str, Any],
    shape: tuple[int, ...],
    make: Maker,
) -> Array:
    """Make the places of maxima: real ones where the arrays are."""
    if make is stand_in:
        return stand_in(shape, "int64")
    found: Array = forward(**taken, return_indices=True)[1]
    return found


def _layer(layer: Layer, options: argparse.Namespace, make: Maker) -> Described:
    """Turn a layer into the call of its convolution."""
    for key in ("input", *_ARGUMENTS):
        if getattr(options, key) is not None:
            flag = f"--{key.replace('_', '-')}"
            raise ValueError(f"{flag} is of an operation; {layer.name!r} has its own")
    if options.batch is not None:
        layer = layer.with_batch(options.batch)
    shape = layer.x_shape
    if options.layout == "NHWC":
        shape = (shape[0], *shape[2:], shape[1])
    name = f"conv{layer.rank}d"
    arguments = {
        "x": make(shape, options.dtype),
        "weight": make(layer.w_shape, options.dtype),
        "stride": layer.stride,
        "padding": layer.pads,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "layout": options.layout,
        "algorithm": options.algorithm,
    }
    title = f"{layer.network}.{layer.name}" if layer.network else layer.name
    return title, NAMES[name], arguments


def described(
    options: argparse.Namespace, make: Maker = stand_in
) -> Iterator[Described]:
    """Read the calls that a command line describes; layers may be several.

    Raises
    ------
    ValueError
        For what is missing, unknown or does not fit together.
    """
    text = options.operation
    if options.layer is not None:
        if text is not None:
            raise ValueError(f"{text!r} and --layer: one of them is enough")
        for layer in layers_named(options.layer):
            yield _layer(layer, options, make)
    elif text is None:
        raise ValueError(f'an operation, --layer or a problem is needed: "{EXAMPLE}"')
    elif text in NAMES:
        yield _operation(options, make)
    elif re.match(r"\s*[a-z]\d", text, re.IGNORECASE):
        yield _layer(parse_layer(text), options, make)
    else:
        raise ValueError(
            f"no operation is called {text!r}; there are: {', '.join(NAMES)}; or a "
            f'problem such as "{EXAMPLE}"'
        )
