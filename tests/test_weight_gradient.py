"""The direct weight gradient however it is cut: in bands and pieces, x and grad exchanged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests import oracle
from tests.cases import FLOAT_ISAS, in_order, normal
from tests.test_grad import DTYPES, ORDERS, weight_gradient, worst

Array = np.ndarray[Any, Any]

CASES: tuple[tuple[Any, ...], ...] = (
    # x, filters, groups
    ((2, 256, 34, 30), 64, 1),  # several passes, the larger operand in the lanes
    ((1, 40, 45, 61), 200, 1),
    ((3, 90, 11, 13), 70, 1),  # a last panel of few filters, tiles of unequal rows
    ((37, 33, 5, 4), 17, 1),  # several samples at a time
    ((2, 300, 1, 1), 40, 1),
    ((3, 36, 9, 8), 48, 3),
    ((2, 3, 20, 31), 33, 1),  # taps of a row side by side
    ((1, 34, 13, 12), 40, 2),
)


def gapped(a: Array) -> Array:
    """The same values, with elements that are not theirs between the rows."""
    wide = np.full((*a.shape[:-1], a.shape[-1] + 3), np.nan, a.dtype)
    wide[..., : a.shape[-1]] = a
    return wide[..., : a.shape[-1]]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_a_tap_has_the_same_bits_alone(
    case: tuple[Any, ...],
    name: str,
    isa: Callable[[str], None],
    threads: Callable[[int], None],
) -> None:
    isa(name)
    shape, k, groups = case
    w_shape = (k, shape[1] // groups)
    for dtype in DTYPES:
        x, g = normal(shape, dtype, 1), normal((shape[0], k, *shape[2:]), dtype, 2)
        whole = pc.grad.conv2d_weight(
            x, (*w_shape, 3, 3), g, padding=1, groups=groups, algorithm="direct"
        )
        out = in_order(np.full(whole.shape, np.nan, dtype), "last")
        threads(7)
        pc.grad.conv2d_weight(
            in_order(x, "last"),
            whole.shape,
            g,
            padding=1,
            groups=groups,
            algorithm="direct",
            out=out,
        )
        np.testing.assert_array_equal(out, whole)
        window = ((1, 1), ((1, 1), (1, 1)), (1, 1), groups)
        truth, scale = weight_gradient(x, (*w_shape, 3, 3), g, window)
        assert worst(whole, truth, scale, g.size // k + 1) <= 1
        for order, other in product(ORDERS, repeat=2):
            given = in_order(x, order), in_order(g, other)
            for count, pair in ((1, given), (2, given), (5, tuple(map(gapped, given)))):
                threads(count)
                dw = pc.grad.conv2d_weight(
                    pair[0],
                    (*w_shape, 1, 1),
                    pair[1],
                    groups=groups,
                    algorithm="direct",
                )
                np.testing.assert_array_equal(dw[..., 0, 0], whole[..., 1, 1])


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 15, 9, 20, 19), (3, 2, 3), {"padding": (1, 0, 1), "stride": (1, 2, 1)}),
        ((5, 20, 4, 5, 6), (2, 3, 1), {"padding": 1, "dilation": (2, 1, 1)}),
        ((1, 3, 70, 80, 9), (7, 3, 3), {"stride": (2, 3, 2)}),
        ((2, 1, 5, 6, 90), (2, 1, 40), {"stride": (1, 1, 3)}),
    ],
    ids=str,
)
def test_depth(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    options: dict[str, Any],
    threads: Callable[[int], None],
) -> None:
    w_shape = (35, shape[1], *kernel)
    x = normal(shape, np.float32, 1)
    y = pc.conv3d(x, normal(w_shape, np.float32, 2), **options)
    g = normal(y.shape, np.float32, 3)
    results = []
    for count, order in ((1, "first"), (2, "last"), (3, "first")):
        threads(count)
        dw = pc.grad.conv3d_weight(
            in_order(x, order), w_shape, in_order(g, order), **options
        )
        results.append(dw)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])
    strides = oracle.triple(options.get("stride", 1), 3)
    holes = oracle.triple(options.get("dilation", 1), 3)
    pads = oracle.pairs(options.get("padding", 0), shape[2:], kernel, strides, holes)
    truth, scale = weight_gradient(x, w_shape, g, (strides, pads, holes, 1))
    assert worst(results[0], truth, scale, g.size // 35 + 1) <= 1
