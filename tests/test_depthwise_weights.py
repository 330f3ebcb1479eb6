"""Weight gradients of depthwise convolutions: the bits of `direct`, channels in the lanes."""

from __future__ import annotations

from collections.abc import Callable
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
    assert calls[0].algorithm == "depthwise"
