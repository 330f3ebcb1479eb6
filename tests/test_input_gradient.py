"""Input gradients in one piece: the bits of their phases' direct convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import FLOAT_ISAS, Array, in_order, integers, normal
from tests.guard import Guards
from tests.test_grad import DTYPES, ORDERS, TRANSPOSED, TRANSPOSED_CASES
from tests.test_guard_pages import ENDS, REMAINDERS

ALGORITHMS = pc.algorithms("conv_input")
# x, weight, stride, padding, output_padding, groups, dilation
CASES: tuple[tuple[Any, ...], ...] = (
    *TRANSPOSED_CASES,
    ((2, 37, 9, 11), (37, 35, 3, 3), 2, 1, 1, 1, 1),  # more than a panel
    ((3, 20, 7, 7), (20, 40, 2, 2), 2, 0, 0, 1, 1),
    ((1, 5, 3, 300), (5, 33, 3, 5), 2, 1, 1, 1, 1),  # a long line is stored in parts
    ((1, 64, 6, 6), (64, 32, 3, 3), 1, 1, 0, 2, 1),  # no phases
    ((2, 12, 5, 19), (12, 1, 4, 4), 2, 1, 0, 12, 1),
    ((1, 12, 9, 8), (12, 3, 3, 5), (3, 2), (1, 2), (0, 1), 4, (1, 2)),
    ((1, 20, 33, 40), (20, 3, 4, 4), 2, 1, 0, 1, 1),  # few channels
    ((1, 5, 2, 700), (5, 9, 1, 6), (1, 3), 0, 0, 1, 1),
)
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def both(case: tuple[Any, ...], algorithm: str, x: Array, w: Array, **how: Any) -> Any:
    """The phases' result and the whole's, which is refused with a reason or right."""
    x_shape, _, stride, padding, extra, groups, dilation = case
    function = TRANSPOSED[len(x_shape) - 2]
    window = (stride, padding, extra, groups, dilation)
    bias = how.pop("bias", None)
    phases = function(x, w, bias, *window, algorithm="direct", **how)
    try:
        return phases, function(x, w, bias, *window, algorithm=algorithm, **how)
    except pc.UnsupportedAlgorithm:
        return phases, None


@each_algorithm
@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_bits_as_phases(case: tuple[Any, ...], algorithm: str) -> None:
    for dtype in DTYPES:
        w = normal(case[1], dtype, 2)
        bias = normal((case[1][1] * case[5],), dtype, 3)
        for order in ORDERS:
            x = in_order(normal(case[0], dtype, 1), order)
            plain, _ = both(case, "interleaved", x, w)
            residual = in_order(normal(plain.shape, dtype, 4), order)
            for how in (
                {},
                {"bias": bias, "activation": "relu"},
                {"bias": bias, "activation": "gelu", "residual": residual},
            ):
                phases, whole = both(case, algorithm, x, w, **how)
                if whole is not None:
                    np.testing.assert_array_equal(whole, phases)


@each_algorithm
@pytest.mark.parametrize("case", CASES, ids=str)
def test_views_and_batches(case: tuple[Any, ...], algorithm: str) -> None:
    x = normal((5, *case[0][1:]), np.float32, 1)
    w = normal(case[1], np.float32, 2)
    phases, whole = both(case, algorithm, x, w)
    if whole is None:
        return
    one, _ = both(case, algorithm, x[3:4], w)
    np.testing.assert_array_equal(one, whole[3:4])
    views = (np.asfortranarray(x), x[:, ::-1].copy()[:, ::-1])
    for view in views:
        out = np.full((*phases.shape[:-1], 2 * phases.shape[-1]), 7, np.float32)
        weight = np.asfortranarray(w)
        _, y = both(case, algorithm, view, weight, out=out[..., ::2])
        np.testing.assert_array_equal(y, whole)
        assert (out[..., 1::2] == 7).all()


@each_algorithm
def test_padding_adds_no_term(algorithm: str) -> None:
    for groups in (1, 4):
        case = ((1, 4, 5, 6), (4, 4 // groups, 4, 4), 2, 1, 0, groups, 1)
        x, w = normal(case[0], np.float32, 1), normal(case[1], np.float32, 2)
        w[1, 0, 0, 3], w[2, 0, 3, 1] = np.nan, np.inf
        x[0, 3, 2, 2] = -np.inf
        phases, whole = both(case, algorithm, x, w)
        assert np.isfinite(phases).any()
        if whole is not None:
            np.testing.assert_array_equal(whole, phases)


@each_algorithm
@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_forced_isas(name: str, algorithm: str, isa: Callable[[str], None]) -> None:
    isa(name)
    for case in CASES[-8:]:
        x, w = normal(case[0], np.float32, 1), normal(case[1], np.float32, 2)
        phases, whole = both(case, algorithm, x, w)
        if whole is not None:
            np.testing.assert_array_equal(whole, phases)


@each_algorithm
def test_threads_change_no_bit(algorithm: str, threads: Callable[[int], None]) -> None:
    for case in (
        ((5, 40, 30, 31), (40, 70, 3, 3), 2, 1, 0, 1, 1),
        ((2, 64, 40, 41), (64, 2, 4, 4), 2, 1, 0, 16, 1),
    ):
        x, w = normal(case[0], np.float32, 1), normal(case[1], np.float32, 2)
        found = []
        for count in (1, 2, 5):
            threads(count)
            _, whole = both(case, algorithm, x, w)
            found.append(whole)
        for whole in found[1:]:
            if whole is not None:
                np.testing.assert_array_equal(whole, found[0])


@pytest.mark.parametrize("at", ENDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto", "direct"])
def test_guard_pages(algorithm: str, order: str, at: str) -> None:
    for count in REMAINDERS:
        for k, c, width, groups, stride, kernel in (
            (count, 3, 5, 1, 2, 2),
            (3, count, 4, 1, 2, 3),
            (2, 3, count, 1, 3, 4),
            (count, count, 6, count, 2, 4),
        ):
            for dtype in DTYPES:
                x = integers((2, k, 3, width), dtype, 1)
                w = integers((k, c // groups, 2, kernel), dtype, 2)
                expected = pc.conv_transpose2d(
                    x, w, None, stride, 0, 0, groups, algorithm="reference"
                )
                with Guards() as guards:
                    given = (guards.copy(x, order, at), guards.copy(w, "first", at))
                    held = guards.copy(np.full_like(expected, np.nan), order, at)
                    for _ in range(2):
                        try:
                            y = pc.conv_transpose2d(
                                *given,
                                None,
                                stride,
                                0,
                                0,
                                groups,
                                algorithm=algorithm,
                                out=held,
                            )
                        except pc.UnsupportedAlgorithm:
                            continue
                        np.testing.assert_array_equal(y, expected)


def test_auto_takes_the_whole_and_says_so() -> None:
    x, w = normal((1, 64, 14, 14), np.float32, 1), normal((64, 32, 2, 2), np.float32, 2)
    with pc.trace() as calls:
        y = pc.conv_transpose2d(x, w, stride=2)
    assert [call.operation for call in calls] == ["conv_transpose2d"]
    assert calls[0].algorithm in ALGORITHMS
    assert calls[0].shapes["y"] == y.shape
    with pc.trace() as calls:
        pc.grad.conv2d_input(y.shape, w, x, 2)
    assert [call.operation for call in calls] == ["conv2d_input"]
    with pc.trace() as calls:
        pc.conv_transpose2d(x, w, stride=2, algorithm="implicit_gemm")
    assert [call.algorithm for call in calls] == ["implicit_gemm"] * 4
