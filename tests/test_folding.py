"""A folded batch normalisation computes what the two layers did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import normal


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fold_batch_norm(dtype: Any) -> None:
    x, w = normal((2, 6, 7, 8), dtype, 1), normal((8, 3, 3, 3), dtype, 2)
    mean, gamma, beta, bias = (normal((8,), dtype, seed) for seed in range(3, 7))
    var = np.abs(normal((8,), dtype, 8)) + dtype(0.1)

    def column(a: Any) -> Any:
        return a.reshape(-1, 1, 1)

    for b, g, s in ((bias, gamma, beta), (None, gamma, beta), (bias, None, None)):
        y = pc.conv2d(x, w, b, padding=1, groups=2).astype(np.float64)
        y = (y - column(mean)) / np.sqrt(column(var) + 1e-3)
        y = y * (1 if g is None else column(g)) + (0 if s is None else column(s))
        weight, shift = pc.fold_batch_norm(w, b, mean, var, g, s, 1e-3)
        assert weight.dtype == shift.dtype == dtype
        folded = pc.conv2d(x, weight, shift, padding=1, groups=2)
        scale = np.finfo(dtype).eps * 100 * np.abs(y).max()
        np.testing.assert_allclose(folded, y, rtol=0, atol=scale)


def test_bad_calls() -> None:
    w, one = np.ones((4, 2, 3, 3), np.float32), np.ones(4, np.float32)
    for error, words, args in (
        (TypeError, "weight", (w.tolist(), None, one, one)),
        (TypeError, "mean", (w, None, None, one)),
        (TypeError, "var", (w, None, one, 1.0)),
        (ValueError, "weight", (one, None, one, one)),
        (ValueError, "mean", (w, None, one[:3], one)),
        (ValueError, "gamma", (w, None, one, one, w)),
        (ValueError, "var", (w, None, one, -one)),
    ):
        with pytest.raises(error, match=words):
            pc.fold_batch_norm(*args)
