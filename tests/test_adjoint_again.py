"""A call of an adjoint seen before takes the short road: the same bits, one look-up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests.cases import in_order, normal
from tests.test_grad import DTYPES, ORDERS, TRANSPOSED, TRANSPOSED_CASES


def hits(function: Any, *args: Any, **kwargs: Any) -> tuple[Any, int]:
    """A result, and how many look-ups found a plan meanwhile."""
    before = _core.fast_path_info()["hits"]
    y = function(*args, **kwargs)
    return y, _core.fast_path_info()["hits"] - before


@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_transposed(case: tuple[Any, ...]) -> None:
    x_shape, w_shape, stride, padding, extra, groups, dilation = case
    function = TRANSPOSED[len(x_shape) - 2]
    for dtype in DTYPES:
        bias = normal((w_shape[1] * groups,), dtype, 3)
        window = (bias, stride, padding, extra, groups, dilation)
        for order in ORDERS:
            for seed in (1, 11):
                x = in_order(normal(x_shape, dtype, seed), order)
                w = normal(w_shape, dtype, seed + 1)
                with pc.trace():
                    truth = function(x, w, *window)
                y = function(x, w, *window)
                np.testing.assert_array_equal(y, truth)
            again, found = hits(function, x, w, *window)
            assert found == 1
            np.testing.assert_array_equal(again, truth)
            assert again.strides == truth.strides


def test_input_gradient_of_views() -> None:
    w = normal((6, 5, 3, 2), np.float32, 1)[::-1, :, :, ::-1]
    g = normal((2, 6, 12, 9), np.float32, 2)[:, :, ::2, ::-1]
    window = ((2, 5, 11, 18), w, g, 2, (1, 0))
    with pc.trace():
        truth = pc.grad.conv2d_input(*window)
    np.testing.assert_array_equal(pc.grad.conv2d_input(*window), truth)
    y, found = hits(pc.grad.conv2d_input, *window)
    assert found == 1
    np.testing.assert_array_equal(y, truth)
    held = np.full((2, 5, 22, 18), 7, np.float32)
    for _ in range(2):
        y = pc.grad.conv2d_input(*window, out=held[:, :, ::2])
        np.testing.assert_array_equal(y, truth)
    assert (held[:, :, 1::2] == 7).all()


def test_residual_and_activation() -> None:
    x, w = normal((2, 3, 5, 4), np.float32, 1), normal((3, 4, 2, 3), np.float32, 2)
    bias, residual = normal((4,), np.float32, 3), normal((2, 4, 14, 12), np.float32, 4)
    how = {"activation": "sigmoid", "residual": residual}
    with pc.trace():
        truth = pc.conv_transpose2d(x, w, bias, 3, **how)
    pc.conv_transpose2d(x, w, bias, 3, **how)
    y, found = hits(pc.conv_transpose2d, x, w, bias, 3, **how)
    assert found == 1
    np.testing.assert_array_equal(y, truth)


def test_a_copy_or_an_overlap_takes_the_long_road() -> None:
    x, w = normal((1, 3, 5, 4), np.float32, 1), normal((3, 4, 2, 2), np.float64, 2)
    for _ in range(2):
        y, found = hits(pc.conv_transpose2d, x, w, None, 2)
        assert found == 0
        assert y.dtype == np.float64
    same = normal((1, 4, 5, 4), np.float32, 3)
    square = normal((4, 4, 1, 1), np.float32, 4)
    out = np.empty_like(same)
    for _ in range(2):
        pc.grad.conv2d_input(same.shape, square, same, out=out)
    with pytest.raises(ValueError, match="overlaps"):
        pc.grad.conv2d_input(same.shape, square, same, out=same)
