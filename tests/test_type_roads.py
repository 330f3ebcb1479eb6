"""Halves, integers and complex numbers by other roads: views, layers, batches, choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core, compiled, problem
from pyconv.problem import DTYPES
from pyconv.selection import quickest
from tests.cases import CONV_CASES, FLOAT_ISAS, in_order, normal
from tests.element_types import (
    BFLOAT16,
    COMPLEX,
    HALVES,
    INTEGERS,
    ORDERS,
    UNIT,
    whole,
)

CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
ALGORITHMS = pc.algorithms("conv")

each_half = pytest.mark.parametrize("dtype", HALVES, ids=str)


def test_both_languages_have_one_table_of_types() -> None:
    """Sizes, results and sums of problem.py are those of csrc/core/element.hpp."""
    compiled_types = _core.element_types()
    assert sorted(DTYPES.values()) == list(range(len(compiled_types)))
    for name, code in DTYPES.items():
        dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
        x = np.ones((1, 1, 1, 1), dtype)
        asked = pc.explain(pc.conv2d, x, x).problem
        assert asked.dtype == code
        assert compiled_types[code] == (
            asked.itemsize,
            problem.result_type(code),
            problem.sum_type(code),
        ), name
        assert asked.itemsize == dtype.itemsize


@pytest.mark.parametrize("dtype", [*HALVES, *INTEGERS, *COMPLEX], ids=str)
def test_any_strides(dtype: Any) -> None:
    """Views backwards, with gaps, into an output with gaps: what dense arrays give."""
    make = whole if dtype in INTEGERS else normal
    full = (2, 8, 12, 14)
    x = make(full, dtype, 1) if dtype not in COMPLEX else normal(full, dtype, 1)
    w = (
        make((6, 4, 3, 3), dtype, 2)
        if dtype not in COMPLEX
        else normal((6, 4, 3, 3), dtype, 2)
    )
    for order in ORDERS:
        seen = in_order(x, order)[:, ::-2, ::-1, 1::2]
        filters = w[::-1, :, ::-1]
        for algorithm in ALGORITHMS:
            options = {"padding": 1, "algorithm": algorithm}
            try:
                dense = pc.conv2d(
                    in_order(seen, order), np.ascontiguousarray(filters), **options
                )
            except pc.UnsupportedAlgorithm:
                continue
            room = np.zeros((2, 12, 12, 21), dense.dtype)
            out = room[:, 10::-2, :, ::3]
            y = pc.conv2d(seen, filters, out=out, **options)
            assert y is out
            np.testing.assert_array_equal(y, dense, err_msg=f"{algorithm} {order}")
            assert (room[:, 1::2] == 0).all()
            assert (room[..., 1::3] == 0).all()


@each_half
def test_layers_where_x_is_not_finite(dtype: Any, isa: Callable[[str], None]) -> None:
    """Winograd computes such tiles anew, from weights that are not packed."""
    x, w = normal((1, 64, 20, 20), dtype, 1), normal((64, 64, 3, 3), dtype, 2)
    x[0, 3, 5, 6] = np.nan
    layer = pc.Conv2d(w, padding=1)
    strict = pc.conv2d(x, w, padding=1, algorithm="reference").astype(np.float32)
    for name in FLOAT_ISAS:
        isa(name)
        y = layer(x).astype(np.float32)
        assert (np.isnan(y) == np.isnan(strict)).all()
        near = np.abs(y - strict)[np.isfinite(strict)]
        assert near.max() <= 2 * UNIT[dtype] * np.abs(strict[np.isfinite(strict)]).max()


@each_half
@pytest.mark.parametrize("batch", [1, 3, 17])
def test_batches_are_widened_in_parts(dtype: Any, batch: int) -> None:
    x, w = normal((batch, 64, 56, 56), dtype, 1), normal((8, 64, 3, 3), dtype, 2)
    layer = pc.Conv2d(w, padding=1, algorithm="widened")
    y = pc.conv2d(x, w, padding=1, algorithm="widened")
    for n in range(batch):
        alone = pc.conv2d(x[n : n + 1], w, padding=1, algorithm="widened")
        np.testing.assert_array_equal(y[n : n + 1], alone)
    np.testing.assert_allclose(
        layer(x).astype(np.float32), y.astype(np.float32), 0, 0.5
    )


def test_the_choice_is_one_in_both_languages() -> None:
    """What C++ widens a layer for is what Python would take of the float algorithms."""
    for case in CONV_CASES:
        x = np.zeros(case.x, np.float16)
        w = np.zeros(case.w, np.float16)
        problem = pc.explain(CONV[case.rank], x, w, **case.options).problem
        plan = compiled.plan(problem, "widened")
        single = replace(problem, dtype=0, weight_dtype=0)
        best = quickest(single, compiled.candidates, keeps_weights=True)
        assert best is not None
        assert plan.packing.startswith(f"widened for {best.name}, "), case.name
