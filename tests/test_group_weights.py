"""Weight gradients of few channels a group: the bits of `direct`, filters in the lanes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests import oracle
from tests.cases import FLOAT_ISAS, in_order, normal
from tests.test_grad import CONV, DTYPES, ORDERS, weight_gradient, worst

CASES: tuple[tuple[Any, ...], ...] = (
    # x, kernel, options
    ((2, 37, 9, 8), (3, 3), {"padding": 1}),
    ((3, 16, 12, 11), (5, 9), {"stride": (2, 1), "padding": (2, 6)}),
    ((1, 70, 40, 90), (3, 2), {"dilation": (2, 5), "stride": 3}),
    ((2, 5, 50), (8,), {"padding": ((0, 9),), "stride": 4}),
    ((2, 33, 4, 6, 5), (3, 2, 3), {"padding": (2, 0, 1), "stride": (1, 2, 1)}),
    ((1, 3, 5, 4), (2, 2), {"padding": 3, "stride": 6}),
)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_same_bits_as_direct(
    case: tuple[Any, ...], name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    shape, kernel, options = case
    rank = len(kernel)
    w_shape = (shape[1], 1, *kernel)
    window = {**options, "groups": shape[1]}
    function = getattr(pc.grad, f"conv{rank}d_weight")
    for dtype in DTYPES:
        x = normal(shape, dtype, 1)
        y = CONV[rank](x, normal(w_shape, dtype, 2), **window)
        g = normal(y.shape, dtype, 3)
        direct = function(x, w_shape, g, algorithm="direct", **window)
        for order in ORDERS:
            dw = function(
                in_order(x, order),
                w_shape,
                in_order(g, order),
                algorithm="depthwise",
                **window,
            )
            np.testing.assert_array_equal(dw, direct)
    strides = oracle.triple(options.get("stride", 1), rank)
    holes = oracle.triple(options.get("dilation", 1), rank)
    pads = oracle.pairs(options.get("padding", 0), shape[2:], kernel, strides, holes)
    truth, scale = weight_gradient(x, w_shape, g, (strides, pads, holes, shape[1]))
    assert worst(dw, truth, scale, g.size // g.shape[1] + 1) <= 1


GROUPED: tuple[tuple[Any, ...], ...] = (
    # x, weight, groups, options: lanes full or not, groups across vectors
    ((2, 64, 9, 11), (64, 2, 3, 3), 32, {"padding": 1}),
    ((1, 40, 12, 13), (40, 4, 3, 5), 10, {"stride": (2, 1), "padding": (1, 2)}),
    ((2, 48, 14, 9), (96, 8, 3, 3), 6, {"padding": 1, "dilation": (1, 2)}),
    ((1, 30, 20, 31), (50, 3, 2, 2), 10, {"stride": 2}),
    ((3, 9, 7, 8), (63, 1, 3, 3), 9, {"padding": 1}),
    ((1, 14, 40), (6, 7, 9), 2, {"padding": 4}),
    ((1, 12, 5, 6, 7), (24, 2, 2, 3, 3), 6, {"padding": 1}),
    ((1, 16, 70, 90), (80, 2, 7, 3), 8, {"dilation": (3, 1)}),
)


@pytest.mark.parametrize("case", GROUPED, ids=str)
@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_groups_have_the_bits_of_direct(
    case: tuple[Any, ...],
    name: str,
    isa: Callable[[str], None],
    threads: Callable[[int], None],
) -> None:
    isa(name)
    shape, w_shape, groups, options = case
    rank = len(shape) - 2
    window = {**options, "groups": groups}
    function = getattr(pc.grad, f"conv{rank}d_weight")
    for dtype in DTYPES:
        x = normal(shape, dtype, 1)
        g = normal(CONV[rank](x, normal(w_shape, dtype, 2), **window).shape, dtype, 3)
        direct = function(x, w_shape, g, algorithm="direct", **window)
        for count, order, other in product((1, 3), ORDERS, ORDERS):
            threads(count)
            given = in_order(x, order), w_shape, in_order(g, other)
            dw = function(*given, algorithm="grouped", **window)
            np.testing.assert_array_equal(dw, direct)
            out = in_order(np.full(w_shape, np.nan, dtype), other)
            function(*given, algorithm="grouped", out=out, **window)
            np.testing.assert_array_equal(out, direct)


def test_threads_change_no_bit(threads: Callable[[int], None]) -> None:
    x, g = normal((3, 150, 20, 21), np.float32, 1), normal((3, 150, 20, 21), np.float32)
    found = []
    for count in (1, 2, 5):
        threads(count)
        found.append(
            pc.grad.conv2d_weight(
                x, (150, 1, 3, 3), g, padding=1, groups=150, algorithm="depthwise"
            )
        )
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_auto_takes_it() -> None:
    x, g = normal((1, 64, 14, 14), np.float32, 1), normal((1, 64, 14, 14), np.float32)
    with pc.trace() as calls:
        pc.grad.conv2d_weight(x, (64, 1, 3, 3), g, padding=1, groups=64)
        pc.grad.conv2d_weight(x, (64, 2, 3, 3), g, padding=1, groups=32)
    assert [call.algorithm for call in calls] == ["depthwise", "grouped"]
