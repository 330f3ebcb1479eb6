"""No gradient reads or writes one byte past a buffer, for every remainder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests.cases import Array, integers
from tests.guard import Guards
from tests.test_guard_pages import ENDS, ORDERS, REMAINDERS

WEIGHTS = tuple(name for name, _ in _core.weight_algorithms() if name != "reference")
POOLS = tuple(name for name, _ in _core.pool_grad_algorithms() if name != "reference")
WINDOWS = ((3, 1, 1), (2, 2, 0), (3, 2, 1))


def held(guards: Guards, like: Array, order: str, at: str) -> Array:
    """A guarded array that nothing has written."""
    return guards.copy(np.full_like(like, np.nan), order, at)


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", WEIGHTS)
def test_weight(algorithm: str, order: str, at: str) -> None:
    for count in REMAINDERS:
        for c, k, width, groups, stride, padding in (
            (count, 3, 5, 1, 1, 0),
            (3, count, 5, 1, 1, 1),
            (2, 3, count + 2, 1, 2, 1),
            (2 * count, 3 * count, 4, count, 1, 1),
            (count, count, 4, count, 1, 1),
        ):
            if algorithm == "depthwise" and not c == k == groups:
                continue
            if algorithm == "grouped" and (groups == 1 or c > 8 * groups):
                continue
            for dtype in (np.float32, np.float64):
                x = integers((2, c, 4, width), dtype, 1)
                w_shape = (k, c // groups, 2, 3)
                options: dict[str, Any] = {
                    "stride": stride,
                    "padding": padding,
                    "groups": groups,
                }
                y = pc.conv2d(x, integers(w_shape, dtype, 2), **options)
                g = integers(y.shape, dtype, 3)
                expected = pc.grad.conv2d_weight(
                    x, w_shape, g, algorithm="reference", **options
                )
                with Guards() as guards:
                    dw = pc.grad.conv2d_weight(
                        guards.copy(x, order, at),
                        w_shape,
                        guards.copy(g, order, at),
                        algorithm=algorithm,
                        out=held(guards, expected, "first", at),
                        **options,
                    )
                    np.testing.assert_array_equal(dw, expected)


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", POOLS)
def test_pools(algorithm: str, order: str, at: str) -> None:
    for count in REMAINDERS:
        for shape in ((1, count, 3, 4), (1, 2, 5, count + 2)):
            for kernel, stride, padding in WINDOWS:
                for dtype in (np.float32, np.float64):
                    window = (kernel, stride, padding)
                    x = integers(shape, dtype, 1)
                    y, index = pc.max_pool2d(x, *window, return_indices=True)
                    g = integers(y.shape, dtype, 2)
                    _max(x, g, index, algorithm, order, at)
                    expected = pc.grad.avg_pool2d(
                        g, shape, *window, divisor_override=1, algorithm="reference"
                    )
                    with Guards() as guards:
                        dx = pc.grad.avg_pool2d(
                            guards.copy(g, order, at),
                            shape,
                            *window,
                            divisor_override=1,
                            algorithm=algorithm,
                            out=held(guards, x, order, at),
                        )
                        np.testing.assert_array_equal(dx, expected)


def _max(x: Array, g: Array, index: Array, algorithm: str, order: str, at: str) -> None:
    expected = pc.grad.max_pool2d(g, index, x.shape, algorithm="reference")
    with Guards() as guards:
        dx = pc.grad.max_pool2d(
            guards.copy(g, order, at),
            guards.copy(index, order, at),
            x.shape,
            algorithm=algorithm,
            out=held(guards, x, order, at),
        )
        np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("norm", [1, 2, 3, 2.7])
def test_norms(norm: float, order: str, at: str) -> None:
    for count in REMAINDERS:
        for shape in ((1, count, 3, 4), (1, 2, 5, count + 2)):
            x = integers(shape, np.float32, 1)
            y = pc.lp_pool2d(x, norm, 2, 1)
            g = integers(y.shape, np.float32, 2)
            expected = pc.grad.lp_pool2d(x, g, norm, 2, 1, algorithm="reference")
            with Guards() as guards:
                dx = pc.grad.lp_pool2d(
                    guards.copy(x, order, at),
                    guards.copy(g, order, at),
                    norm,
                    2,
                    1,
                    y=guards.copy(y, order, at),
                    algorithm="direct",
                    out=held(guards, x, order, at),
                )
                np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)
