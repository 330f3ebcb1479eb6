"""Nothing of halves and bytes is read or written past a buffer, for every remainder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import Array, integers
from tests.element_types import HALVES
from tests.guard import Guards
from tests.test_guard_pages import ENDS, ORDERS, REMAINDERS
from tests.test_type_fuzz import OF_HALVES

each_half = pytest.mark.parametrize("dtype", HALVES, ids=str)
each_order = pytest.mark.parametrize("order", ORDERS)
each_end = pytest.mark.parametrize("at", ENDS)
WINDOWS = ((3, 1, 1), (2, 2, 0), (3, 2, 1))


def held(guards: Guards, like: Array, order: str, at: str) -> Array:
    """A guarded array that nothing has written."""
    return guards.copy(np.full_like(like, np.nan), order, at)


def same(y: Array, expected: Array) -> None:
    """Equal, as floats: sums of whole numbers so small are exact before they round."""
    np.testing.assert_array_equal(y.astype(np.float32), expected.astype(np.float32))


@each_end
@each_order
@each_half
def test_conv(dtype: Any, order: str, at: str) -> None:
    for count in REMAINDERS:
        for x_shape, w_shape, options in (
            ((2, count, 4, 5), (3, count, 2, 3), {}),
            ((1, 3, 4, 5), (count, 3, 2, 3), {"padding": 1}),
            ((1, count, 4, 5), (count, 1, 2, 3), {"groups": count}),
            ((1, 2, 3, count + 2), (5, 2, 3, 3), {"stride": 2, "padding": 1}),
            ((1, 2, 3, count), (4, 2, 1, 1), {}),
        ):
            x, w = integers(x_shape, dtype, 1), integers(w_shape, dtype, 2)
            bias = integers(w_shape[:1], np.float32, 3)
            single = x.astype(np.float32), w.astype(np.float32)
            exact = pc.conv2d(*single, bias, algorithm="reference", **options)
            residual = integers(exact.shape, dtype, 4)
            expected = (exact + residual.astype(np.float32)).astype(dtype)
            for algorithm in OF_HALVES:
                with Guards() as guards:
                    more: dict[str, Any] = {
                        "residual": guards.copy(residual, order, at),
                        "algorithm": algorithm,
                        "out": held(guards, expected, order, at),
                        "accuracy": "strict",  # Winograd rounds even whole numbers
                        **options,
                    }
                    given = [
                        guards.copy(x, order, at),
                        guards.copy(w, "first", at),
                        guards.copy(bias, "first", at),
                    ]
                    try:
                        y = pc.conv2d(*given, **more)
                    except pc.UnsupportedAlgorithm:
                        assert algorithm == "dot_product"
                        continue
                    assert y is more["out"]
                    same(y, expected)


@each_end
@each_order
@each_half
def test_layers_and_transposed(dtype: Any, order: str, at: str) -> None:
    for count in REMAINDERS:
        x = integers((2, count, 4, 5), dtype, 1)
        w = integers((3, count, 3, 3), dtype, 2)
        spread = integers((count, 3, 3, 2), dtype, 3)
        single = [a.astype(np.float32) for a in (x, w, spread)]
        # Rounded once, from sums that float32 holds exactly.
        expected = pc.conv2d(*single[:2], padding=1, algorithm="reference")
        larger = pc.conv_transpose2d(single[0], single[2], stride=2)
        expected, larger = expected.astype(dtype), larger.astype(dtype)
        with Guards() as guards:
            given = guards.copy(x, order, at)
            layer = pc.Conv2d(
                guards.copy(w, "first", at),
                padding=1,
                algorithm="widened",
                accuracy="strict",
            )
            for _ in range(2):
                out = held(guards, expected, order, at)
                same(layer(given, out=out), expected)
            for _ in range(2):
                out = held(guards, larger, order, at)
                y = pc.conv_transpose2d(
                    given,
                    guards.copy(spread, "first", at),
                    stride=2,
                    accuracy="strict",
                    out=out,
                )
                same(y, larger)


@each_end
@each_order
@each_half
def test_gradients(dtype: Any, order: str, at: str) -> None:
    for count in REMAINDERS:
        for c, k, width, groups, stride in (
            (count, 3, 5, 1, 1),
            (3, count, 5, 1, 1),
            (2, 3, count + 2, 1, 2),
            (count, count, 4, count, 1),
        ):
            x = integers((2, c, 4, width), dtype, 1)
            shape = (k, c // groups, 2, 3)
            window: dict[str, Any] = {"stride": stride, "padding": 1, "groups": groups}
            y = pc.conv2d(x, integers(shape, dtype, 2), **window)
            # Small: a sum of many whole numbers must stay one that a half can hold.
            g = np.sign(integers(y.shape, dtype, 3).astype(np.float32)).astype(dtype)
            x = np.sign(x.astype(np.float32)).astype(dtype)
            wide = (x.astype(np.float32), g.astype(np.float32))
            expected = pc.grad.conv2d_weight(
                wide[0], shape, wide[1], algorithm="reference", **window
            ).astype(dtype)
            sums = wide[1].sum((0, 2, 3))
            with Guards() as guards:
                given = guards.copy(x, order, at), guards.copy(g, order, at)
                dw = pc.grad.conv2d_weight(
                    given[0],
                    shape,
                    given[1],
                    out=held(guards, expected, "first", at),
                    **window,
                )
                same(dw, expected)
                same(pc.grad.conv2d_bias(given[1]), sums.astype(dtype))


@each_end
@each_order
@each_half
def test_columns(dtype: Any, order: str, at: str) -> None:
    for count in REMAINDERS:
        for shape in ((1, count, 4, 5), (2, 2, 3, count + 2)):
            x = integers(shape, dtype, 1)
            columns = pc.im2col(x.astype(np.float32), 3, padding=1).astype(dtype)
            image = pc.col2im(columns.astype(np.float32), shape[2:], 3, padding=1)
            with Guards() as guards:
                y = pc.im2col(
                    guards.copy(x, order, at),
                    3,
                    padding=1,
                    out=held(guards, columns, "first", at),
                )
                same(y, columns)
                y = pc.col2im(
                    guards.copy(columns, "first", at),
                    shape[2:],
                    3,
                    padding=1,
                    out=held(guards, image.astype(dtype), order, at),
                )
                same(y, image)


@each_end
@each_order
@pytest.mark.parametrize("dtype", [*HALVES, np.dtype(np.int8)], ids=str)
def test_pools(dtype: Any, order: str, at: str) -> None:
    for count in REMAINDERS:
        for shape in ((1, count, 3, 4), (1, 2, 5, count + 2)):
            x = integers(shape, dtype, 1)
            for window in WINDOWS:
                y, index = pc.max_pool2d(
                    x.astype(np.float32), *window, return_indices=True
                )
                with Guards() as guards:
                    given = guards.copy(x, order, at)
                    out = guards.copy(np.zeros_like(y, dtype), order, at)
                    same(pc.max_pool2d(given, *window, out=out), y)
                    found = pc.max_pool2d(given, *window, return_indices=True)
                    same(found[0], y)
                    np.testing.assert_array_equal(found[1], index)
                    if dtype not in HALVES:
                        continue
                    pc.avg_pool2d(given, *window)
                    pc.lp_pool2d(given, 2, *window[:2], padding=window[2])
                    _pool_gradients(
                        guards, x, y.astype(dtype), index, window, at, order
                    )


def _pool_gradients(
    guards: Guards,
    x: Array,
    g: Array,
    index: Array,
    window: tuple[int, int, int],
    at: str,
    order: str,
) -> None:
    handed = guards.copy(g, order, at)
    wide = g.astype(np.float32)
    dx = pc.grad.max_pool2d(
        handed,
        guards.copy(index, order, at),
        x.shape,
        out=held(guards, x, order, at),
    )
    same(dx, pc.grad.max_pool2d(wide, index, x.shape))
    how: dict[str, Any] = {"divisor_override": 1}
    dx = pc.grad.avg_pool2d(
        handed, x.shape, *window, out=held(guards, x, order, at), **how
    )
    same(dx, pc.grad.avg_pool2d(wide, x.shape, *window, **how))
