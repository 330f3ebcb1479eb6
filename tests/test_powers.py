"""The powers of Lp pooling: units in the last place, special values, sameness of bits.

The gradient of a norm of one element hands them out bare: with a norm of 1 going in, it
is sign(x) |x|^(p - 1). The truth is taken a type wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import FLOAT_ISAS, Array, in_order, normal
from tests.precision import every_exponent, needs_longdouble, units

DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
# Those that are products and square roots, and those that are not.
MULTIPLIED = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 6.5, 8.0)
GENERAL = (1e-3, 1 / 3, 2 / 3, 0.7, 1.25, 2.7, 7.3, 9.0, 10.5, 31.4, 100.0)
NEGATIVE = (-0.5, -0.1, -0.99)

each_isa = pytest.mark.parametrize("name", FLOAT_ISAS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def powers(x: Array, exponent: float, algorithm: str = "direct") -> Array:
    """sign(x) |x|^exponent of a list of values, as one plane."""
    own = x.reshape(1, 1, -1)
    one = np.ones_like(own)
    with np.errstate(all="ignore"):
        y = pc.grad.lp_pool1d(own, one, exponent + 1, 1, y=one, algorithm=algorithm)
    return np.asarray(y).reshape(-1)


def stated(dtype: Any, exponent: float) -> float:
    """What csrc/cpu/micro/power.hpp states, in units in the last place."""
    if exponent in MULTIPLIED:
        return max(math.ceil(exponent), 1)
    return 1.0 if dtype is np.float32 else 1.5 + abs(exponent)


@needs_longdouble
@each_isa
@each_dtype
def test_stated_accuracy(dtype: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    rng = np.random.default_rng(1)
    near_one = rng.uniform(0.5, 2, 100_000).astype(dtype)
    x = np.concatenate([every_exponent(dtype, 64), near_one])
    x = x[np.isfinite(x) & (x != 0)]
    for asked in (*MULTIPLIED, *GENERAL, *NEGATIVE):
        # The exponent is what is left of the norm, which is a float64.
        exponent = np.longdouble(asked + 1) - 1
        with np.errstate(over="ignore", under="ignore"):
            truth = np.abs(x).astype(np.longdouble) ** exponent
            rounded = truth.astype(dtype)
        y = powers(x, asked)
        assert (np.signbit(y) == np.signbit(x))[y != 0].all()
        # Past the range of numbers, and where a result is just about to leave it.
        whole = np.isfinite(rounded) & (rounded < np.finfo(dtype).max * 0.999)
        assert (np.isinf(y) == np.isinf(rounded))[whole | np.isinf(y)].all(), asked
        y, truth, values = np.abs(y[whole]), truth[whole], x[whole]
        error = units(y, truth)
        worst = int(error.argmax())
        assert error[worst] <= stated(dtype, asked), (
            f"{values[worst]!r} ** {asked}: {error[worst]}"
        )


@each_isa
@each_dtype
def test_special_values(dtype: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    x = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, -1], dtype)
    for algorithm in ("reference", "direct"):
        for exponent in (*MULTIPLIED, *GENERAL):
            y = powers(x, exponent, algorithm)
            expected = np.array([np.nan, np.inf, -np.inf, 0, 0, 1, -1], dtype)
            np.testing.assert_array_equal(y, expected)
        # The slope at 0 has no sign there, and no bound.
        for exponent in NEGATIVE:
            y = powers(x, exponent, algorithm)
            expected = np.array([np.nan, 0, 0, np.nan, np.nan, 1, -1], dtype)
            np.testing.assert_array_equal(y, expected)
        # Nothing from windows whose norm is 0.
        nothing = np.zeros((1, 1, 7), dtype)
        dx = pc.grad.lp_pool1d(
            x.reshape(1, 1, 7), nothing + 1, 3.7, 1, y=nothing, algorithm=algorithm
        )
        np.testing.assert_array_equal(dx, nothing)


@each_isa
@each_dtype
def test_norms_of_one_and_of_special_values(
    dtype: Any, name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    x = np.array([3, -3, 1e-3, 0, -0.0, np.inf, -np.inf, np.nan], dtype)
    # Rounded (p + 1) / p times where the power is a product, then once by the root.
    for norm in (0.5, 1.5, 2.7, 3.0, 4.0, 8.0, 11.0):
        with np.errstate(all="ignore"):
            y = pc.lp_pool1d(x.reshape(1, 1, -1), norm, 1, algorithm="direct")[0, 0]
        np.testing.assert_allclose(y[:3], np.abs(x[:3]), rtol=8 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(y[3:], [0, 0, np.inf, np.inf, np.nan])
        assert not np.signbit(y[:7]).any()


@each_isa
@each_dtype
def test_bits_depend_on_the_value_alone(
    dtype: Any, name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    x = normal((131,), dtype, 3) * 4
    for norm in (0.7, 1.5, 2.7, 3.0):
        pooled = pc.lp_pool1d(x.reshape(1, 1, -1), norm, 1).reshape(-1)
        raised = powers(x, norm - 1)
        for length in range(1, 70, 3):
            for start in (0, 1, 7):
                part = x[start : start + length]
                y = pc.lp_pool1d(part.reshape(1, 1, -1), norm, 1).reshape(-1)
                np.testing.assert_array_equal(y, pooled[start : start + length])
                y = powers(part, norm - 1)
                np.testing.assert_array_equal(y, raised[start : start + length])


@each_isa
def test_orders_threads_and_batch_change_no_bit(
    name: str, isa: Callable[[str], None], threads: Callable[[int], None]
) -> None:
    isa(name)
    for shape, kernel, stride, padding in (
        ((3, 70, 15, 21), 3, 2, 1),
        ((2, 6, 40, 90), 2, 2, 0),
        ((2, 17, 7, 7), 3, 1, 1),
        ((2, 3, 9, 50), 2, 3, 1),
    ):
        x = normal(shape, np.float32, 1)
        for norm in (2.7, 3.0):
            options = {"stride": stride, "padding": padding, "algorithm": "direct"}
            y = pc.lp_pool2d(x, norm, kernel, **options)
            g = normal(y.shape, np.float32, 2)
            dx = pc.grad.lp_pool2d(x, g, norm, kernel, y=y, **options)
            for order in ORDERS:
                for count in (1, 2):
                    threads(count)
                    for some in (slice(None), slice(1, 2)):
                        own = in_order(x[some], order)
                        again = pc.lp_pool2d(own, norm, kernel, **options)
                        np.testing.assert_array_equal(again, y[some])
                        again = pc.grad.lp_pool2d(
                            own,
                            in_order(g[some], order),
                            norm,
                            kernel,
                            y=in_order(y[some], order),
                            **options,
                        )
                        np.testing.assert_array_equal(again, dx[some])
