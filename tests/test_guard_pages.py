"""No kernel reads or writes one byte past a buffer, for every remainder of channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests.cases import FLOAT_ALGORITHMS, FLOAT_ISAS, integers, nearest
from tests.guard import Guards

ALGORITHMS = tuple(name for name in FLOAT_ALGORITHMS if name != "reference")
POOLS = tuple(name for name, _ in _core.pool_algorithms() if name != "reference")
LANES = _core.machine()["vector_bytes"] // 4
REMAINDERS = range(1, 2 * LANES + 2)
ORDERS = ("first", "last")
ENDS = ("end", "start")


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv(algorithm: str, order: str, at: str) -> None:
    for count in REMAINDERS:
        for c, k, groups, dtype in (
            (count, 3, 1, np.float32),
            (3, count, 1, np.float32),
            (count, count, count, np.float32),
            (count, count, 1, np.float64),
            (2 * count, 3 * count, count, np.float32),
        ):
            x = integers((1, c, 4, 5), dtype, 1)
            w = integers((k, c // groups, 2, 3), dtype, 2)
            bias = integers((k,), dtype, 3)
            expected = pc.conv2d(x, w, bias, groups=groups, algorithm="reference")
            options: dict[str, Any] = {"groups": groups, "algorithm": algorithm}
            _check_if_taken(x, w, bias, expected, order, at, **options)


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv_rows(algorithm: str, order: str, at: str) -> None:
    for width in REMAINDERS:
        for kernel, stride, padding, groups in (
            (1, 1, 0, 1),
            (1, 2, 0, 1),
            (3, 1, 1, 1),
            (2, 2, 1, 1),
            (3, 2, 1, 2),
            (3, 1, 1, 4),
            (5, 1, 2, 1),
        ):
            x = integers((2, 4, 3, width), np.float32, 1)
            w = integers((LANES + 4, 4 // groups, kernel, kernel), np.float32, 2)
            bias = integers((LANES + 4,), np.float32, 3)
            options: dict[str, Any] = {
                "stride": stride,
                "padding": padding,
                "groups": groups,
            }
            expected = pc.conv2d(x, w, bias, algorithm="reference", **options)
            options["algorithm"] = algorithm
            _check_if_taken(x, w, bias, expected, order, at, **options)


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv_of_few_pixels(algorithm: str, order: str, at: str) -> None:
    """Tiles reach far past a small image, and padding may be all of it."""
    for mode in ("circular", "replicate", "reflect", "zeros"):
        for extent, r, dilation in ((1, 3, 1), (2, 3, 1), (3, 3, 2), (4, 5, 1)):
            padding = min(dilation * (r - 1) // 2, extent - (mode == "reflect"))
            if dilation * (r - 1) + 1 > extent + 2 * padding:
                continue
            x = integers((1, 4, extent, extent), np.float32, 1)
            w = integers((4, 4, r, r), np.float32, 2)
            bias = integers((4,), np.float32, 3)
            options: dict[str, Any] = {
                "padding": padding,
                "dilation": dilation,
                "padding_mode": mode,
            }
            expected = pc.conv2d(x, w, bias, algorithm="reference", **options)
            _check(x, w, bias, expected, order, at, algorithm=algorithm, **options)


@pytest.mark.parametrize("name", FLOAT_ISAS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv_on_each_isa(
    algorithm: str, name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    for count in (1, 2, 3, 5, 7, 9, 17, 31, 33):
        x, w = (
            integers((1, count, 3, 4), np.float32, 1),
            integers((count, count, 2, 3), np.float32, 2),
        )
        x, w, groups = nearest(algorithm, x, w) if count > 3 else (x, w, 1)
        bias = integers((len(w),), np.float32, 3)
        options: dict[str, Any] = {"groups": groups, "algorithm": algorithm}
        expected = pc.conv2d(x, w, bias, groups=groups, algorithm="reference")
        for order in ORDERS:
            _check_if_taken(x, w, bias, expected, order, "end", **options)


def _check_if_taken(x: Any, w: Any, *more: Any, **options: Any) -> None:
    try:
        _check(x, w, *more, **options)
    except pc.UnsupportedAlgorithm:
        assert options["algorithm"] not in ("im2col", "direct")


def _check(
    x: Any, w: Any, bias: Any, expected: Any, order: str, at: str, **options: Any
) -> None:
    with Guards() as guards:
        held = guards.copy(np.full_like(expected, np.nan), order, at)
        try:
            y = pc.conv2d(
                guards.copy(x, order, at),
                guards.copy(w, "first", at),
                guards.copy(bias, "first", at),
                residual=guards.copy(np.ones_like(expected), order, at),
                out=held,
                **options,
            )
        except pc.UnsupportedAlgorithm:
            return
        assert y is held
        # Winograd rounds even whole numbers.
        is_exact = not options["algorithm"].startswith("winograd")
        np.testing.assert_allclose(
            y, expected + 1, rtol=0, atol=0 if is_exact else 1e-2
        )


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", POOLS)
@pytest.mark.parametrize("pool", [pc.max_pool2d, pc.avg_pool2d])
def test_pool(pool: Any, algorithm: str, order: str, at: str) -> None:
    for count in REMAINDERS:
        for shape, stride in (((1, count, 3, 4), 1), ((1, 2, 5, count + 2), 2)):
            for dtype in (np.float32, np.float64):
                x = integers(shape, dtype, 1)
                expected = pool(x, 3, stride, 1, algorithm="reference")
                with Guards() as guards:
                    held = guards.copy(np.full_like(expected, np.nan), order, at)
                    guarded = guards.copy(x, order, at)
                    y = pool(guarded, 3, stride, 1, algorithm=algorithm, out=held)
                    if pool is pc.max_pool2d:
                        pool(guarded, 3, stride, 1, 1, False, True, algorithm=algorithm)
                    pc.adaptive_avg_pool2d(guarded, 2, algorithm=algorithm)
                    for norm in (2, 3, 2.7):
                        pc.lp_pool2d(guarded, norm, 2, stride, algorithm=algorithm)
                    np.testing.assert_array_equal(y, expected)
