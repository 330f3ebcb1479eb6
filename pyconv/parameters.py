"""Reading parameters: the user's words into exact integers, or an error that says why.

Every number is checked before any array is touched. Booleans and floats are not
integers here; NumPy's integers are.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyconv.errors import ShapeError

__all__ = [
    "LARGEST",
    "Pair",
    "check_size",
    "choice",
    "flag",
    "integer",
    "paddings",
    "per_axis",
    "sizes_of",
]

Pair = tuple[int, int]

# Beyond this no array axis reaches, and every product and sum of the index arithmetic
# stays far inside 64 bits.
LARGEST = 2**40 - 1

PADDING_WORDS = ("valid", "same", "same_lower", "full")


def integer(name: str, value: object, least: int) -> int:
    """Read one integer of at least `least`."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{name} must be an integer, not {type(value).__name__} ({value!r:.60})"
        )
    if isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be an integer, not an array")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    if number > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}, got {number}")
    return number


def per_axis(name: str, value: object, rank: int, least: int) -> tuple[int, ...]:
    """Read one integer for every spatial axis, or one each."""
    if isinstance(value, (tuple, list)):
        if len(value) != rank:
            raise ValueError(
                f"{name} must be an integer or {rank} of them, got {len(value)}: "
                f"{value!r:.60}"
            )
        return tuple(
            integer(f"{name}[{axis}]", item, least) for axis, item in enumerate(value)
        )
    return (integer(name, value, least),) * rank


def sizes_of(name: str, value: object, count: int) -> tuple[int, ...]:
    """Read a shape."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(
            f"{name} must be a tuple of integers, not {type(value).__name__}"
        )
    if len(value) != count:
        raise ValueError(f"{name} must have {count} entries, got {value!r:.80}")
    return tuple(integer(f"{name}[{axis}]", size, 0) for axis, size in enumerate(value))


def paddings(
    value: object,
    extents: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Pair, ...]:
    """Read a padding: an int, one each, (before, after) pairs, or a word."""
    rank = len(extents)
    if isinstance(value, str):
        return tuple(
            _padding_by_word(value, *axis)
            for axis in zip(extents, kernel, stride, dilation, strict=True)
        )
    if isinstance(value, (tuple, list)) and any(
        isinstance(item, (tuple, list)) for item in value
    ):
        if len(value) != rank or not all(
            isinstance(item, (tuple, list)) and len(item) == 2 for item in value
        ):
            raise ValueError(
                f"padding must be {rank} (before, after) pairs, got {value!r:.60}"
            )
        return tuple(
            (
                integer(f"padding[{axis}][0]", pair[0], 0),
                integer(f"padding[{axis}][1]", pair[1], 0),
            )
            for axis, pair in enumerate(value)
        )
    return tuple((size, size) for size in per_axis("padding", value, rank, 0))


def _padding_by_word(
    word: str, extent: int, kernel: int, stride: int, dilation: int
) -> Pair:
    """Turn a word into the padding of one axis."""
    reach = dilation * (kernel - 1)
    if reach > LARGEST:
        raise ShapeError(
            f"padding={word!r} with dilation={dilation} and a kernel of {kernel} spans "
            f"{reach + 1} elements, more than the {LARGEST} that an axis may have"
        )
    if word == "valid":
        return (0, 0)
    if word == "full":
        return (reach, reach)
    if word in ("same", "same_lower"):
        outputs = -(-extent // stride)
        total = max((outputs - 1) * stride + reach + 1 - extent, 0)
        small, large = total // 2, total - total // 2
        return (small, large) if word == "same" else (large, small)
    raise ValueError(
        f"padding must be integers, pairs or one of {', '.join(PADDING_WORDS)}, "
        f"got {word!r:.60}"
    )


def choice(name: str, value: object, choices: Mapping[Any, int]) -> int:
    """Read one of a few words."""
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if value not in choices:
        words = ", ".join(repr(word) for word in choices)
        raise ValueError(f"{name} must be one of {words}, got {value!r:.60}")
    return choices[value]


def flag(name: str, value: object) -> bool:
    """Read a boolean."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return bool(value)


def check_size(what: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse a result that this machine could never hold."""
    size = itemsize
    for extent in shape:
        size *= extent
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > min(memory, 2**62):
        raise ShapeError(
            f"{what} would take {size} bytes (shape {shape}); this machine has {memory}"
        )
