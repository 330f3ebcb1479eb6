"""Gradients by indices: any indices, in any order, as adding one by one gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import in_order, normal

DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
# images, channels, the plane, the outputs
SHAPES = (
    (1, 1, (50, 41), (25, 20)),
    (2, 3, (9, 200), (4, 60)),
    (1, 20, (30, 30), (11, 7)),
    (2, 130, (13, 9), (6, 4)),
    (1, 300, (8, 40), (5, 3)),
)


def drawn(kind: str, shape: Any) -> np.ndarray[Any, Any]:
    """Indices of every output."""
    n, c, plane, outputs = shape
    rng = np.random.default_rng(3)
    size = plane[0] * plane[1]
    index = rng.integers(0, size, (n, c, *outputs))
    if kind == "ascending":
        index = np.sort(index.reshape(n, c, -1), -1)
    elif kind == "descending":
        index = np.sort(index.reshape(n, c, -1), -1)[..., ::-1]
    elif kind == "last":
        index[...] = size - 1
    return np.ascontiguousarray(index.reshape(n, c, *outputs))


@pytest.mark.parametrize("kind", ["any", "ascending", "descending", "last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_indices_in_any_order(
    dtype: Any, shape: Any, kind: str, threads: Callable[[int], None]
) -> None:
    n, c, plane, _ = shape
    index = drawn(kind, shape)
    g = normal(index.shape, dtype, 4)
    sums = np.zeros((n, c, plane[0] * plane[1]), dtype)
    puts = sums.copy()
    for at in np.ndindex(n, c):
        np.add.at(sums[at], index[at].reshape(-1), g[at].reshape(-1))
        for place, value in zip(index[at].flat, g[at].flat, strict=True):
            puts[at][place] = value
    size = (n, c, *plane)
    for order in ORDERS:
        own, there = in_order(g, order), in_order(index, order)
        wide = in_order(np.full((n, c, plane[0], 2 * plane[1]), 7, dtype), order)
        for count in (1, 2):
            threads(count)
            dx = pc.grad.max_pool2d(own, there, size)
            np.testing.assert_array_equal(dx, sums.reshape(size))
            # Pixels and lines that do not follow each other.
            for held in (wide[..., ::2], wide[..., : plane[1]]):
                pc.grad.max_pool2d(own, there, size, out=held)
                np.testing.assert_array_equal(held, sums.reshape(size))
            back = pc.max_unpool2d(own, there, 2, output_size=plane)
            np.testing.assert_array_equal(back, puts.reshape(size))


def test_windows_of_padding_give_nothing() -> None:
    index = drawn("any", SHAPES[2])
    g = normal(index.shape, np.float32, 4)
    size = (1, 20, 30, 30)
    hidden = np.random.default_rng(5).random(index.shape) < 0.5
    expected = pc.grad.max_pool2d(np.where(hidden, 0, g), index, size)
    index[hidden] = -1
    for order in ORDERS:
        dx = pc.grad.max_pool2d(in_order(g, order), in_order(index, order), size)
        np.testing.assert_array_equal(dx, expected)
