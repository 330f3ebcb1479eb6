"""What reads a public function's arguments, for explain(): the road's own readers, dry.

Nothing is copied, allocated or run. Each reader takes the public function's parameters
by their names and `dry`, and returns the Call that the function would plan, or the
Adjoint whose phases it would convolve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyconv import (
    adaptive_pooling,
    bias_arguments,
    columns,
    columns_arguments,
    conv_arguments,
    convolution,
    grad,
    pool_arguments,
    pool_grad_arguments,
    pooling,
    transposed,
    unpooling,
    weight_arguments,
)
from pyconv.adjoint import Adjoint, read_adjoint
from pyconv.grad.arguments import read_input
from pyconv.running import Call

__all__ = ["NAMES", "READERS"]

Reader = Callable[..., Call | Adjoint]


def _pool_gradient(name: str) -> Reader:
    """Read a pooling's gradient; a maximum's windows are in its indices."""
    known = name.removeprefix("adaptive_") if "max" in name else name
    nothing = {"indices": None, "x": None, "y": None}

    def reader(**given: Any) -> Call:
        if "x" in given:  # a norm: its gradient has x's shape
            given["input_size"] = getattr(given["x"], "shape", None)
        return pool_grad_arguments.prepare(known, **{**nothing, **given})

    return reader


def _adjoint(read: Callable[..., Any], rank: int) -> Reader:
    """Read an input gradient or a transposed convolution."""

    def reader(dry: bool, **given: Any) -> Adjoint:
        taken, how = read(rank, **given)
        return read_adjoint(*taken, **how, dry=dry)

    return reader


def _readers() -> dict[str, tuple[Any, Reader]]:
    """List every function, and what reads it, by its name below pyconv."""
    found: dict[str, tuple[Any, Reader]] = {}
    for rank in (1, 2, 3):
        name = f"conv{rank}d"
        found[name] = (
            getattr(convolution, name),
            partial(conv_arguments.prepare, rank),
        )
        found[f"grad.{name}_input"] = (
            getattr(grad, f"{name}_input"),
            _adjoint(read_input, rank),
        )
        found[f"grad.{name}_weight"] = (
            getattr(grad, f"{name}_weight"),
            partial(weight_arguments.prepare, rank),
        )
        found[f"grad.{name}_bias"] = (
            getattr(grad, f"{name}_bias"),
            partial(bias_arguments.prepare, rank),
        )
        name = f"conv_transpose{rank}d"
        found[name] = (
            getattr(transposed, name),
            _adjoint(transposed.read_transposed, rank),
        )
        name = f"max_unpool{rank}d"
        found[name] = (getattr(unpooling, name), partial(unpooling.read, rank))
    for name in pool_arguments.POOLS:
        function = getattr(pooling, name, None) or getattr(adaptive_pooling, name)
        found[name] = (function, partial(pool_arguments.prepare, name))
        if hasattr(grad, name):
            found[f"grad.{name}"] = (getattr(grad, name), _pool_gradient(name))
    found["im2col"] = (columns.im2col, columns_arguments.prepare_im2col)
    found["col2im"] = (columns.col2im, columns_arguments.prepare_col2im)
    return found


_FOUND = _readers()

READERS: dict[Any, Reader] = dict(_FOUND.values())
NAMES: dict[str, Callable[..., Any]] = {name: f for name, (f, _) in _FOUND.items()}
