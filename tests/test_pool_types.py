"""Halves and integers in poolings, and halves in every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests import oracle
from tests.cases import POOL_CASES, PoolCase, ids, in_order, normal
from tests.element_types import HALVES, INTEGERS, ORDERS, UNIT, whole

each_half = pytest.mark.parametrize("dtype", HALVES, ids=str)


@pytest.mark.parametrize("dtype", [*HALVES, *INTEGERS], ids=str)
@pytest.mark.parametrize("case", POOL_CASES, ids=ids(POOL_CASES))
def test_max_pooling(case: PoolCase, dtype: Any) -> None:
    make = normal if dtype in HALVES else whole
    x = make(case.x, dtype, 1)
    pool = {1: pc.max_pool1d, 2: pc.max_pool2d, 3: pc.max_pool3d}[case.rank]
    # float64 holds all that is drawn.
    wide = x.astype(np.float64)
    truth, places = oracle.max_pool(wide, case.kernel, **case.options)
    least = -np.inf if dtype in HALVES else np.iinfo(dtype).min
    for order in ORDERS:
        for algorithm in pc.algorithms("pool"):
            try:
                y, indices = pool(
                    in_order(x, order),
                    case.kernel,
                    **case.options,
                    return_indices=True,
                    algorithm=algorithm,
                )
            except pc.UnsupportedAlgorithm:
                assert algorithm != "reference"
                continue
            assert y.dtype == dtype
            np.testing.assert_array_equal(indices, places)
            empty = places < 0
            np.testing.assert_array_equal(y[~empty].astype(np.float64), truth[~empty])
            assert (y[empty] == np.asarray(least).astype(dtype)).all()


@each_half
def test_pooling_and_gradients_of_halves(dtype: Any) -> None:
    x = normal((2, 5, 12, 13), dtype, 1)
    wide = x.astype(np.float32)
    unit = UNIT[dtype]

    def near(y: Any, exact: Any) -> None:
        assert y.dtype == dtype
        error = np.abs(y.astype(np.float32) - exact)
        assert (error <= 2 * unit * (np.abs(exact) + 1e-6)).all()

    for order in ORDERS:
        seen = in_order(x, order)
        near(pc.avg_pool2d(seen, 3, 2), pc.avg_pool2d(wide, 3, 2))
        near(pc.lp_pool2d(seen, 2, 3), pc.lp_pool2d(wide, 2, 3))
        y, indices = pc.max_pool2d(seen, 3, 2, return_indices=True)
        near(
            pc.grad.max_pool2d(y, indices, x.shape),
            pc.grad.max_pool2d(y.astype(np.float32), indices, x.shape),
        )
        # A view with gaps: the indices are laid beside what is widened.
        near(
            pc.grad.max_pool2d(y[:, ::2], indices[:, ::2], (2, 3, 12, 13)),
            pc.grad.max_pool2d(
                y[:, ::2].astype(np.float32), indices[:, ::2], (2, 3, 12, 13)
            ),
        )
        g = normal((2, 7, 10, 11), dtype, 4)
        near(
            pc.grad.conv2d_weight(seen, (7, 5, 3, 3), g),
            pc.grad.conv2d_weight(wide, (7, 5, 3, 3), g.astype(np.float32)),
        )
        w = normal((7, 5, 3, 3), dtype, 2)
        near(
            pc.grad.conv2d_input(x.shape, w, in_order(g, order)),
            pc.grad.conv2d_input(
                x.shape, w.astype(np.float32), g.astype(np.float32), accuracy="strict"
            ),
        )
        near(
            pc.conv_transpose2d(in_order(g, order), w, stride=2),
            pc.conv_transpose2d(
                g.astype(np.float32), w.astype(np.float32), stride=2, accuracy="strict"
            ),
        )


@each_half
def test_columns_and_bias_gradients_of_halves(dtype: Any) -> None:
    x = normal((2, 3, 8, 9), dtype, 1)
    columns = pc.im2col(x, 3, padding=1, stride=2)
    wide = pc.im2col(x.astype(np.float32), 3, padding=1, stride=2)
    assert columns.dtype == dtype
    np.testing.assert_array_equal(columns.astype(np.float32), wide)
    for given in (columns, np.asfortranarray(columns), columns[0]):
        y = pc.col2im(given, (8, 9), 3, padding=1, stride=2)
        exact = pc.col2im(given.astype(np.float32), (8, 9), 3, padding=1, stride=2)
        np.testing.assert_array_equal(y, exact.astype(dtype))
    for order in ORDERS:
        seen = in_order(x, order)
        np.testing.assert_array_equal(pc.im2col(seen, 3, padding=1, stride=2), columns)
        sums = pc.grad.conv2d_bias(seen)
        exact = pc.grad.conv2d_bias(in_order(x.astype(np.float32), order))
        np.testing.assert_array_equal(sums, exact.astype(dtype))


def test_types_that_have_no_mean_are_refused() -> None:
    x = np.ones((1, 2, 4, 4), np.int16)
    for call in (
        lambda: pc.avg_pool2d(x, 2),
        lambda: pc.lp_pool2d(x, 2, 2),
        lambda: pc.max_pool2d(x.astype(np.complex64), 2),
        lambda: pc.im2col(x, 2),
        lambda: pc.grad.conv2d_weight(x, (1, 2, 2, 2), np.ones((1, 1, 3, 3), np.int16)),
    ):
        with pytest.raises(TypeError, match="supported are"):
            call()
