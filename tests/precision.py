"""Errors of elementwise functions: on which values, and in units in the last place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases import Array

needs_longdouble = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="longdouble is no wider than float64"
)


def every_exponent(dtype: Any, each: int) -> Array:
    """Both signs, every exponent, `each` random mantissas: subnormals and NaNs too."""
    info = np.finfo(dtype)
    bits = np.uint32 if dtype is np.float32 else np.uint64
    exponents = np.arange(2 * 2**info.iexp, dtype=bits) << bits(info.nmant)
    random = np.random.default_rng(7).integers(
        0, 2**info.nmant, (len(exponents), each), dtype=bits
    )
    random[:, :2] = 0, 2**info.nmant - 1
    return (exponents[:, None] | random).reshape(-1).view(dtype)


def units(y: Array, truth: Array) -> Array:
    """Errors in units in the last place of y's type."""
    info = np.finfo(y.dtype)
    _, exponent = np.frexp(truth)
    exponent = np.where(truth == 0, info.minexp, exponent - 1)
    last = np.maximum(exponent, info.minexp) - info.nmant
    return np.abs(y - truth) / np.ldexp(np.longdouble(1), last)
