"""dot_product beyond one tile: every kind, form and instruction set, to the last pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import in_order, normal
from tests.element_types import BFLOAT16, ORDERS, UNIT, whole
from tests.guard import Guards

# x, filters, kernel, options: bands and patches, rows that are the input itself, tiles
# with one row left over, panels with one filter left over, groups, strides, volumes.
CASES: tuple[tuple[tuple[int, ...], int, tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 64, 9, 11), 33, (3, 3), {"padding": 1}),
    ((1, 70, 12, 33), 64, (3, 3), {"padding": (1, 2), "dilation": (1, 2)}),
    ((3, 64, 5, 13), 40, (1, 1), {}),
    ((2, 128, 7, 7), 96, (1, 1), {"stride": 2}),
    ((2, 96, 8, 8), 70, (1, 1), {"padding": 1}),
    ((1, 3, 31, 29), 17, (7, 7), {"stride": 2, "padding": 3}),
    ((2, 66, 10, 10), 68, (3, 3), {"groups": 2, "padding": 1}),
    ((1, 64, 4, 6, 7), 36, (3, 3, 3), {"padding": 1}),
    ((1, 32, 40, 40), 34, (5, 5), {"padding": 2, "padding_mode": "reflect"}),
    ((2, 17, 1, 50), 19, (1, 4), {"padding": ((0, 0), (3, 0))}),
    ((1, 64, 2, 2), 33, (1, 1), {"stride": 2, "padding": ((0, 1), (0, 1))}),
    ((1, 262, 5, 6), 17, (3, 3), {"padding": 1}),
)
DOT_ISAS = tuple(name for name in _core.isa_names() if name.startswith("avx512"))
PAIRS = (
    ("i1", "i1"),
    ("u1", "i1"),
    ("i1", "u1"),
    ("u1", "u1"),
    ("i2", "i2"),
    ("u2", "u2"),
    ("i4", "i4"),
    ("u8", "u8"),
)
CONV = {4: pc.conv2d, 5: pc.conv3d}

each_isa = pytest.mark.parametrize("name", _core.isa_names())


def weight_shape(x: Any, filters: int, kernel: Any, options: Any) -> tuple[int, ...]:
    return (filters, x[1] // options.get("groups", 1), *kernel)


def refused(conv: Any, x: Any, w: Any, options: Any) -> str:
    told = pc.explain(conv, x, w, **options).candidates
    return next(one.reason for one in told if one.name == "dot_product")


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers(case: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    shape, filters, kernel, options = case
    conv = CONV[len(shape)]
    for first, second in PAIRS:
        x = whole(shape, np.dtype(first), 1)
        w = whole(weight_shape(shape, filters, kernel, options), np.dtype(second), 2)
        truth = conv(x, w, algorithm="reference", **options)
        bias = whole((filters,), truth.dtype, 3)
        added = conv(x, w, bias, algorithm="reference", **options)
        for order in ORDERS:
            seen = in_order(x, order)
            y = conv(seen, w, algorithm="dot_product", **options)
            np.testing.assert_array_equal(y, truth, err_msg=f"{first} {second} {order}")
            y = conv(
                seen,
                w,
                bias,
                residual=truth,
                activation="relu6",
                algorithm="dot_product",
                **options,
            )
            both = np.clip((added + truth).astype(truth.dtype), 0, 6)
            np.testing.assert_array_equal(y, both, err_msg=f"{first} {second} {order}")


@pytest.mark.parametrize("name", DOT_ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bfloats(case: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    shape, filters, kernel, options = case
    conv = CONV[len(shape)]
    x = normal(shape, BFLOAT16, 1)
    w = normal(weight_shape(shape, filters, kernel, options), BFLOAT16, 2)
    if refused(conv, x, w, options):
        pytest.skip(f"{name} does not multiply bfloat16")
    like = conv(x.astype(np.float32), w.astype(np.float32), **options)
    more = {
        "bias": normal((filters,), np.float32, 3),
        "residual": normal(like.shape, BFLOAT16, 4),
    }
    for activation in (None, "relu", "leaky_relu", "silu"):
        single = oracle.conv(
            x.astype(np.float32),
            w.astype(np.float32),
            bias=more["bias"],
            residual=more["residual"].astype(np.float32),
            activation=activation,
            **options,
        )
        answer = oracle.rounded(single, BFLOAT16, UNIT[BFLOAT16])
        results = []
        for order in ORDERS:
            for part in (slice(None), slice(0, 1)):
                seen = in_order(x[part], order)
                residual = in_order(more["residual"][part], order)
                y = conv(
                    seen,
                    w,
                    more["bias"],
                    residual=residual,
                    activation=activation,
                    algorithm="dot_product",
                    **options,
                )
                if len(y) == len(x):
                    assert answer.worst(y) <= 1, (activation, order)
                results.append(y[:1].astype(np.float32))
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_byte_past_the_end(case: Any, name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    shape, filters, kernel, options = case
    conv = CONV[len(shape)]
    for dtype in (BFLOAT16, np.dtype("i1"), np.dtype("i2")):
        make = normal if dtype == BFLOAT16 else whole
        x = make(shape, dtype, 1)
        w = make(weight_shape(shape, filters, kernel, options), dtype, 2)
        if refused(conv, x, w, options):
            continue
        expected = conv(x, w, algorithm="dot_product", **options)
        for order in ORDERS:
            for at in ("start", "end"):
                with Guards() as guards:
                    held = guards.copy(np.zeros_like(expected), order, at)
                    conv(
                        guards.copy(x, order, at),
                        guards.copy(w, "first", at),
                        algorithm="dot_product",
                        out=held,
                        **options,
                    )
                    same = held.astype(np.float64) == expected.astype(np.float64)
                    assert same.all(), (dtype, order, at)


def test_what_is_not_finite_over_padding() -> None:
    x = normal((1, 64, 6, 6), BFLOAT16, 1)
    w = normal((32, 64, 3, 3), BFLOAT16, 2)
    w[:, :, 0, 0] = ml_dtypes.bfloat16(np.inf)
    y = pc.conv2d(x, w, padding=1).astype(np.float32)
    assert np.isfinite(y[:, :, 0]).all()
    assert np.isfinite(y[:, :, :, 0]).all()
    layer = pc.Conv2d(w, padding=1)
    np.testing.assert_array_equal(layer(x).astype(np.float32), y)
