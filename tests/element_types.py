"""The types beside float32 and float64, and arrays of them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from pyconv.problem import DTYPES

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), BFLOAT16)
UNIT = {HALVES[0]: 2.0**-11, BFLOAT16: 2.0**-8}
INTEGERS = tuple(np.dtype(name) for name in DTYPES if "int" in name)
COMPLEX = (np.dtype(np.complex64), np.dtype(np.complex128))
ORDERS = ("first", "last")


def whole(shape: tuple[int, ...], dtype: Any, seed: int) -> Any:
    """Integers over all of a small type's range, and a good part of a large one's."""
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**40)), min(info.max, 2**40)
    return np.random.default_rng(seed).integers(low, high, shape, dtype, endpoint=True)
