"""The gradient of a bias: right, and the same bits in every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests.cases import FLOAT_ISAS, Array, in_order, integers, normal
from tests.guard import Guards
from tests.oracle import gamma

SHAPES = (
    (3, 5, 7, 9),
    (2, 33, 4, 4),
    (3, 40, 9, 13),  # small planes, longer than there are partial sums
    (1, 1, 1, 1),
    (2, 130, 3, 5),  # more channels than are summed together
    (1, 9, 37, 41),  # more pixels than are gathered together
    (1, 2, 40, 61),
    (2, 6, 11),
    (1, 4, 3, 4, 5),
)
DTYPES = (np.float32, np.float64)


def bias(g: Array, **options: Any) -> Array:
    found: Array = getattr(pc.grad, f"conv{g.ndim - 2}d_bias")(g, **options)
    return found


def views(g: Array) -> list[Array]:
    """One gradient in memory orders and strides of every kind."""
    gaps = np.full((*g.shape[:-1], 2 * g.shape[-1]), np.nan, g.dtype)
    gaps[..., ::2] = g
    rows = np.full((*g.shape[:-1], g.shape[-1] + 3), np.nan, g.dtype)
    rows[..., :-3] = g
    return [
        in_order(g, "first"),
        in_order(g, "last"),
        np.asfortranarray(g),
        np.ascontiguousarray(g[:, ::-1])[:, ::-1],
        gaps[..., ::2],
        rows[..., :-3],
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_right_and_the_same_in_every_order(shape: Any, dtype: Any) -> None:
    g = normal(shape, dtype)
    axes = (0, *range(2, g.ndim))
    exact = g.astype(np.longdouble).sum(axes)
    bound = gamma(g.size // shape[1], dtype) * abs(g.astype(np.longdouble)).sum(axes)
    first = bias(g)
    assert first.dtype == dtype
    assert first.shape == shape[1:2]
    assert (abs(first - exact) <= bound).all()
    for view in views(g):
        np.testing.assert_array_equal(bias(view), first)
    last = np.moveaxis(g, 1, -1)
    np.testing.assert_array_equal(bias(last, layout="NHWC"), first)


def test_any_number_of_threads_gives_the_same(threads: Callable[[int], None]) -> None:
    for order in ("first", "last"):
        g = in_order(normal((3, 70, 40, 41), np.float32), order)
        expected = bias(g)
        for count in (1, 2, 3, 8):
            threads(count)
            np.testing.assert_array_equal(bias(g), expected)


def test_every_instruction_set_gives_the_same(isa: Callable[[str], None]) -> None:
    for shape in SHAPES:
        g = normal(shape, np.float32)
        expected = bias(g)
        before = _core.active_isa()
        for name in FLOAT_ISAS:
            isa(name)
            for order in ("first", "last"):
                np.testing.assert_array_equal(bias(in_order(g, order)), expected)
        isa(before)


def test_an_empty_batch_gives_zeros() -> None:
    assert (pc.grad.conv2d_bias(np.zeros((0, 3, 4, 4), np.float32)) == 0).all()


def test_unbatched() -> None:
    g = normal((5, 6, 7), np.float32)
    np.testing.assert_array_equal(pc.grad.conv2d_bias(g), pc.grad.conv2d_bias(g[None]))


def test_nan_and_infinity_stay_with_their_filter() -> None:
    g = np.ones((2, 20, 3, 3), np.float32)
    g[1, 3, 2, 1], g[0, 7, 0, 0] = np.nan, -np.inf
    for order in ("first", "last"):
        found = bias(in_order(g, order))
        assert np.isnan(found[3])
        assert found[7] == -np.inf
        assert (np.delete(found, (3, 7)) == 18).all()


LANES = _core.machine()["vector_bytes"] // 4


@pytest.mark.parametrize("at", ["end", "start"])
@pytest.mark.parametrize("order", ["first", "last"])
def test_nothing_past_a_buffer_is_read(order: str, at: str) -> None:
    for count in range(1, 2 * LANES + 2):
        for shape in ((2, count, 3, 7), (1, 3, 2, count)):
            for dtype in DTYPES:
                g = integers(shape, dtype, 1)
                with Guards() as guards:
                    np.testing.assert_array_equal(
                        bias(guards.copy(g, order, at)), g.sum((0, 2, 3))
                    )


@pytest.mark.usefixtures("fast_path")
def test_a_call_seen_before_is_one_look_up() -> None:
    g = integers((2, 3, 4, 5), np.float32, 1)
    expected = bias(g)
    hits = _core.fast_path_info()["hits"]
    np.testing.assert_array_equal(bias(2 * g), 2 * expected)
    assert _core.fast_path_info()["hits"] == hits + 1
    with pc.trace() as calls:
        bias(g)
    assert calls[0].operation == "conv2d_bias"
    assert calls[0].flops == g.size
