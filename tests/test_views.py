"""Arrays as users hand them in: any view, any out=, an empty batch, aliases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests import oracle
from tests.cases import FLOAT_ALGORITHMS, in_order, nearest, normal

ORDERS = ("first", "last")

each_algorithm = pytest.mark.parametrize("algorithm", FLOAT_ALGORITHMS)


def odd_views(x: Any) -> dict[str, Any]:
    """Arrays equal to x in every way of lying in memory that must be taken."""
    every_other = (slice(None, None, 2),) * 4
    gaps = np.zeros([2 * n for n in x.shape], x.dtype)[every_other]
    gaps[...] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "gaps": gaps,
        "negative": np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1],
        "fortran": np.asfortranarray(x),
        "width_first": np.ascontiguousarray(x.transpose(3, 1, 0, 2)).transpose(
            2, 1, 3, 0
        ),
        "misaligned": misaligned,
        "byte_swapped": x.astype(x.dtype.newbyteorder()),
        "read_only": locked,
        "subclass": x.view(np.matrix) if x.ndim == 2 else x.view(np.recarray),
    }


@each_algorithm
def test_any_view_is_taken(algorithm: str) -> None:
    for dtype in (np.float32, np.float64):
        if dtype == np.float64 and algorithm.startswith("winograd"):
            continue
        x, w = normal((2, 5, 8, 9), dtype, 1), normal((6, 5, 2, 3), dtype, 2)
        x, w, groups = nearest(algorithm, x, w)
        options: dict[str, Any] = {
            "padding": 1,
            "stride": (2, 1),
            "groups": groups,
            "algorithm": algorithm,
        }
        try:
            expected = pc.conv2d(x, w, **options)
        except pc.UnsupportedAlgorithm as refusal:
            pytest.skip(f"refused: {refusal}")
        for (name, x_view), w_view in zip(
            odd_views(x).items(), odd_views(w).values(), strict=True
        ):
            before = x_view.tobytes()
            y = pc.conv2d(x_view, w_view, **options)
            np.testing.assert_array_equal(y, expected, err_msg=name)
            assert type(y) is np.ndarray
            assert y.dtype == dtype
            assert x_view.tobytes() == before


@each_algorithm
def test_broadcast_views(algorithm: str) -> None:
    x = np.broadcast_to(normal((1, 1, 7, 1), np.float32), (3, 4, 7, 9))
    w = np.broadcast_to(normal((5, 1, 1, 2), np.float32), (5, 4, 3, 2))
    x, w, groups = nearest(algorithm, x, w)
    options: dict[str, Any] = {"groups": groups, "algorithm": algorithm}
    y = pc.conv2d(x, w, **options)
    np.testing.assert_array_equal(y, pc.conv2d(x.copy(), w.copy(), **options))
    scalar = np.broadcast_to(np.float32(2), (1, x.shape[1], 5, 5))
    bias = np.broadcast_to(np.float32(3), w.shape[:1])
    y = pc.conv2d(scalar, w, bias, **options)
    assert oracle.conv(scalar, w, bias, groups=groups).worst(y) <= 1


@each_algorithm
def test_out(algorithm: str) -> None:
    x, w = normal((2, 5, 8, 9), np.float32, 1), normal((6, 5, 3, 3), np.float32, 2)
    x, w, groups = nearest(algorithm, x, w)
    options: dict[str, Any] = {"groups": groups, "algorithm": algorithm}
    expected = pc.conv2d(x, w, **options)
    for order in ORDERS:
        held = in_order(np.full(expected.shape, np.nan, np.float32), order)
        assert pc.conv2d(x, w, **options, out=held) is held
        np.testing.assert_array_equal(held, expected)
        assert pc.conv2d(x, w, **options, out=held) is held
    wide = np.full((2, 2 * len(w), 8, 20), 7, np.float32)
    held = wide[:, ::-2, 1:7, 2:16:2]
    assert pc.conv2d(x, w, **options, out=held) is held
    np.testing.assert_array_equal(held, expected)
    rest = np.ones(wide.shape, bool)
    rest[:, ::-2, 1:7, 2:16:2] = False
    assert (wide[rest] == 7).all(), "wrote outside of out"


def test_residual_may_be_the_input() -> None:
    x, w = normal((1, 4, 6, 7), np.float32, 1), normal((4, 4, 3, 3), np.float32, 2)
    answer = oracle.conv(x, w, padding=1, residual=x, activation="relu")
    y = pc.conv2d(x, w, padding=1, residual=x, activation="relu")
    assert answer.worst(y) <= 1


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (0, 3, 3, 3)])
def test_empty_batch(shape: tuple[int, ...]) -> None:
    y = pc.conv2d(np.zeros(shape, np.float32), np.zeros((4, 3, 3, 3), np.float32))
    assert y.shape == (0, 4, shape[2] - 2, shape[3] - 2)
    assert y.dtype == np.float32


def test_numpy_integers_and_lists_are_parameters() -> None:
    x, w = normal((1, 4, 9, 9), np.float32, 1), normal((4, 2, 3, 3), np.float32, 2)
    expected = pc.conv2d(x, w, None, (2, 1), ((1, 0), (2, 2)), 1, 2)
    y = pc.conv2d(
        x,
        w,
        None,
        [np.int64(2), np.uint8(1)],
        [[1, 0], [2, 2]],
        np.int32(1),
        np.int16(2),
    )
    np.testing.assert_array_equal(y, expected)
