"""The direct weight gradient however it is cut: in bands and pieces, x and grad exchanged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests import oracle
from tests.cases import FLOAT_ISAS, ConvCase, in_order, normal
from tests.test_grad import DTYPES, ORDERS, geometry, weight_gradient, worst

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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_padding_adds_no_term(
    name: str,
    bad: float,
    isa: Callable[[str], None],
    threads: Callable[[int], None],
) -> None:
    """Where a tap lies in the padding, a gradient that is not finite is not met."""
    isa(name)
    for shape, k, kernel, groups, window in (
        ((2, 5, 7, 8), 6, (3, 3), 1, {"padding": 1}),
        ((2, 40, 6, 5), 33, (3, 2), 1, {"padding": 1, "stride": 2}),
        ((1, 3, 9, 12), 40, (5, 5), 1, {"padding": 2}),  # taps of a row side by side
        ((2, 8, 7, 9), 8, (3, 3), 4, {"padding": ((0, 2), (2, 0)), "dilation": 2}),
        ((3, 6, 5, 7), 6, (3, 3), 6, {"padding": 1}),
        ((1, 2, 3, 4), 3, (2, 3), 1, {"padding": 5}),  # some taps meet nothing else
        ((1, 2, 3, 4), 3, (1, 1), 1, {"padding": 1}),
        ((2, 3, 30), 4, (4,), 1, {"padding": ((3, 0),), "stride": 3}),
    ):
        rank = len(kernel)
        w_shape = (k, shape[1] // groups, *kernel)
        gradient = getattr(pc.grad, f"conv{rank}d_weight")
        for dtype in DTYPES:
            x, w = normal(shape, dtype, 1), np.ones(w_shape, dtype)
            given = {**window, "groups": groups}
            g = normal(getattr(pc, f"conv{rank}d")(x, w, **given).shape, dtype, 2)
            g[0, 0].flat[0] = g[-1, k // 2].flat[-1] = 0
            case = ConvCase("", shape, k, kernel, **given)
            truth, scale = weight_gradient(x, w_shape, g, geometry(case))
            g[0, 0].flat[0] = g[-1, k // 2].flat[-1] = bad
            by_definition = gradient(x, w_shape, g, algorithm="reference", **given)
            dirty = ~np.isfinite(by_definition)
            for algorithm in pc.algorithms("conv_weight"):
                for order in ORDERS:
                    more = {"algorithm": algorithm, **given}
                    found = []
                    for count in (1, 3):
                        threads(count)
                        out = np.full(w_shape, 7, dtype)
                        try:
                            dw = gradient(
                                in_order(x, order),
                                w_shape,
                                in_order(g, order),
                                out=in_order(out, order),
                                **more,
                            )
                        except pc.UnsupportedAlgorithm:
                            break
                        found.append(dw)
                        assert (np.isfinite(dw) == ~dirty).all(), algorithm
                        np.testing.assert_array_equal(dw[dirty], by_definition[dirty])
                        clean = np.where(dirty, truth, dw).astype(dtype)
                        terms = g.size // k + 1
                        assert worst(clean, truth, scale, terms) <= 1
                    for dw in found[1:]:
                        np.testing.assert_array_equal(dw, found[0])
