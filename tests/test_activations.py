"""The smooth activations: units in the last place, special values, and sameness of bits.

A 1x1 convolution with a weight of 1 hands the values themselves to the epilogue. The
truth is taken a type wider; the tail of the normal distribution, which no wider NumPy
function gives, from erf's series and erfc's continued fraction (Abramowitz and Stegun
7.1.6, 7.1.14).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import FLOAT_ISAS, Array, in_order
from tests.precision import every_exponent, needs_longdouble, units

SMOOTH = ("sigmoid", "tanh", "gelu", "silu")
# What csrc/cpu/micro/smooth.hpp states, in units in the last place.
STATED = {
    np.float32: {"sigmoid": 1.8, "silu": 2.0, "tanh": 1.5, "gelu": 0.51},
    np.float64: {"sigmoid": 1.8, "silu": 2.2, "tanh": 1.5, "gelu": 3.5},
}
# The baseline has no fused multiply-add: one rounding more in silu.
STATED_WITHOUT_FMA = {np.float32: {"silu": 2.3}, np.float64: {"silu": 2.3}}
DTYPES = tuple(STATED)
# Those whose sums, and so whatever is made of them, agree bit for bit.
SAME_BITS = ("im2col", "implicit_gemm", "direct", "few_channels")

each_isa = pytest.mark.parametrize("name", FLOAT_ISAS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def activated(values: Array, activation: str, algorithm: str = "direct") -> Array:
    """One activation of a list of values, as pixels of one channel."""
    one = np.ones((1, 1, 1, 1), values.dtype)
    x = values.reshape(1, 1, 1, -1)
    y = pc.conv2d(x, one, activation=activation, algorithm=algorithm)
    return np.asarray(y).reshape(-1)


def swept(dtype: Any) -> Array:
    """Every exponent, and densely where the functions bend, meet and vanish."""
    last = 120 if dtype is np.float32 else 800
    ranges = (4, 45, last)
    dense = [np.linspace(-end, end, 30_001, dtype=dtype) for end in ranges]
    dense.append(np.linspace(-0.5, -0.2, 300_001, dtype=dtype))  # silu's worst
    each = 256 if dtype is np.float32 else 32
    return np.concatenate([every_exponent(dtype, each), *dense])


def normal_tail(x: Array) -> Array:
    """The area of the normal distribution below x, to a longdouble's relative accuracy."""
    high = x.astype(np.float32).astype(np.longdouble)
    wide = x.astype(np.longdouble)
    # x^2 = high^2 + (x - high) (x + high), whose first term is exact.
    bell = np.exp(-high * high / 2) * np.exp(-(wide - high) * (wide + high) / 2)
    z = np.abs(wide) / np.sqrt(np.longdouble(2))
    root = np.sqrt(np.arccos(np.longdouble(-1)))
    fraction = z
    for n in range(300, 0, -1):
        fraction = z + np.longdouble(n) / 2 / np.where(fraction == 0, 1, fraction)
    far = bell / (2 * root * np.where(fraction == 0, 1, fraction))
    term, series = z, z
    for n in range(1, 80):
        term = term * (2 * z * z / (2 * n + 1))
        series = series + term
    near = np.longdouble(0.5) - bell * series / root
    tail = np.where(z < 1.5, near, far)
    return np.where(x < 0, tail, 1 - tail)


def truth_of(values: Array, activation: str) -> Array:
    """The activation in longdouble; values are within what that can hold."""
    z = values.astype(np.longdouble)
    results: dict[str, Callable[[], Array]] = {
        "sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "tanh": lambda: np.tanh(z),
        "silu": lambda: z / (1 + np.exp(-z)),
        "gelu": lambda: z * normal_tail(np.clip(values, -100, 100)),
    }
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return results[activation]()


@needs_longdouble
@each_isa
@each_dtype
def test_stated_accuracy(dtype: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    x = swept(dtype)
    x = x[np.isfinite(x)]
    for activation in SMOOTH:
        y = activated(x, activation)
        error = units(y, truth_of(x, activation))
        worst = int(error.argmax())
        stated = STATED[dtype][activation]
        if name == "baseline":
            stated = STATED_WITHOUT_FMA[dtype].get(activation, stated)
        assert error[worst] <= stated, f"{activation}({x[worst]!r}): {error[worst]}"
        negative = np.signbit(y) & (y != 0)
        assert not negative[x > 0].any()


@each_isa
@each_dtype
def test_special_values(dtype: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    info = np.finfo(dtype)
    x = np.array([np.nan, np.inf, -np.inf, 0, info.max, -info.max], dtype)
    expected = {
        "sigmoid": [np.nan, 1, 0, 0.5, 1, 0],
        "tanh": [np.nan, 1, -1, 0, 1, -1],
        # 0 times infinity, as in the C library's x / (1 + exp(-x)) and PyTorch.
        "gelu": [np.nan, np.inf, np.nan, 0, info.max, 0],
        "silu": [np.nan, np.inf, np.nan, 0, info.max, 0],
    }
    for activation in SMOOTH:
        for algorithm in ("reference", *SAME_BITS):
            y = activated(x, activation, algorithm)
            np.testing.assert_array_equal(y, np.array(expected[activation], dtype))
    tiny = np.array([info.smallest_subnormal, info.tiny, -info.tiny, 1e-30], dtype)
    np.testing.assert_array_equal(activated(tiny, "tanh"), tiny)
    np.testing.assert_array_equal(activated(tiny[1:], "gelu"), tiny[1:] / 2)
    np.testing.assert_array_equal(activated(tiny[1:], "silu"), tiny[1:] / 2)


@each_isa
@each_dtype
def test_bits_depend_on_the_value_alone(
    dtype: Any, name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    rng = np.random.default_rng(3)
    x = (rng.standard_normal(131) * 4).astype(dtype)
    for activation in SMOOTH:
        whole = activated(x, activation)
        for algorithm in SAME_BITS:
            np.testing.assert_array_equal(activated(x, activation, algorithm), whole)
        for length in range(1, 36):
            for start in (0, 1, 7):
                part = activated(x[start : start + length], activation)
                np.testing.assert_array_equal(part, whole[start : start + length])
        # A channel each.
        own = np.broadcast_to(x[None, :, None, None], (1, 131, 1, 3))
        one = np.ones((131, 1, 1, 1), dtype)
        for order in ("first", "last"):
            y = pc.conv2d(
                in_order(own, order),
                one,
                groups=131,
                activation=activation,
                algorithm="depthwise",
            )
            np.testing.assert_array_equal(y[0, :, 0, 1], whole)
        # Values as filters of one pixel, or of one row: other lanes, other tiles.
        for width in (1, 3):
            ones = np.ones((1, 1, 1, width), dtype)
            for order in ("first", "last"):
                for count in (1, 5, 16, 17, 131):
                    w = x[:count].reshape(-1, 1, 1, 1)
                    y = pc.conv2d(in_order(ones, order), w, activation=activation)
                    expected = np.broadcast_to(whole[:count, None], (count, width))
                    np.testing.assert_array_equal(y[0, :, 0], expected)
