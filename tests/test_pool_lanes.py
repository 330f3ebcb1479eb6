"""Pooling with channels in the lanes: counts of them, and a NaN in any place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import FLOAT_ISAS, in_order, integers, normal

DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
# kernel, stride, padding: windows that share columns, and that share none
WINDOWS = (
    (1, 1, 0),
    (2, 2, 0),
    (2, 1, 1),
    (3, 2, 1),
    (3, 1, 1),
    (3, 3, 0),
    (4, 2, 1),
    ((2, 3), 2, (0, 1)),
    ((9, 2), 1, 0),
    (5, 1, 2),
)

each_isa = pytest.mark.parametrize("name", FLOAT_ISAS)


def check_max(x: Any, view: Any, window: Any) -> None:
    """Values and places are those of the definition, bit for bit."""
    kernel, stride, padding = window
    sizes: Any = {"kernel_size": kernel, "stride": stride, "padding": padding}
    with_places: Any = {**sizes, "return_indices": True}
    y, where = pc.max_pool2d(x, **with_places, algorithm="reference")
    again = pc.max_pool2d(view, **with_places, algorithm="direct")
    np.testing.assert_array_equal(again[0], y)
    np.testing.assert_array_equal(again[1], where)
    value = pc.max_pool2d(view, **sizes, algorithm="direct")
    np.testing.assert_array_equal(value, y)


@each_isa
def test_channels_of_every_count(name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    for channels in (*range(2, 36), 47, 64, 65, 130):
        x = integers((2, channels, 9, 11), np.float32, channels)
        x[1, channels // 2, 3, 4] = np.nan
        x[0, 1, :, -1] = -np.inf
        for dtype in DTYPES:
            own = x.astype(dtype)
            for window in WINDOWS:
                check_max(own, in_order(own, "last"), window)
                small = in_order(own * dtype(0.1), "last")
                first = in_order(small, "first")
                for pool in (pc.avg_pool2d, lambda x, *w, **o: lp(x, 2, *w, **o)):
                    np.testing.assert_array_equal(
                        pool(small, *window, algorithm="direct"),
                        pool(first, *window, algorithm="direct"),
                    )


def lp(x: Any, norm: float, kernel: Any, stride: Any, padding: Any, **more: Any) -> Any:
    """Of avg_pool2d's arguments."""
    return pc.lp_pool2d(x, norm, kernel, stride, padding=padding, **more)


@each_isa
def test_nan_in_any_place(name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    x = normal((1, 20, 7, 8), np.float32)
    for place in range(7 * 8):
        for channel in (0, 7, 9, 16, 19):
            touched = x.copy()
            touched[0, channel].flat[place] = np.nan
            for order in ORDERS:
                for window in ((3, 2, 1), (2, 2, 0), (3, 1, 1)):
                    check_max(touched, in_order(touched, order), window)


@each_isa
def test_nothing_but_nan(name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    for dtype in DTYPES:
        x = np.full((2, 19, 9, 40), np.nan, dtype)
        for order in ORDERS:
            for window in WINDOWS:
                check_max(x, in_order(x, order), window)


@pytest.mark.parametrize("kind", [pc.global_avg_pool, pc.global_max_pool])
@each_isa
def test_tall_windows(name: str, kind: Any, isa: Callable[[str], None]) -> None:
    """Of many rows, long and short: those are taken some at a time."""
    isa(name)
    for shape in ((2, 5, 40, 7), (1, 24, 33, 31), (1, 3, 17, 300), (3, 70, 9, 9)):
        for dtype in DTYPES:
            x = normal(shape, dtype)
            x[0, 1, shape[2] - 2, 3] = np.nan
            first = kind(x)
            np.testing.assert_array_equal(kind(in_order(x, "last")), first)
            wide = x.astype(np.longdouble)
            if kind is pc.global_max_pool:
                np.testing.assert_array_equal(first[..., 0, 0], wide.max((2, 3)))
                continue
            terms = shape[2] * shape[3]
            u = np.finfo(dtype).eps / 2
            bound = (terms + 1) * u / (1 - terms * u) * np.abs(wide).mean((2, 3))
            error = np.abs(first[..., 0, 0] - wide.mean((2, 3)))
            finite = np.isfinite(bound)
            assert np.isnan(error[~finite]).all()
            assert (error[finite] <= bound[finite]).all()
