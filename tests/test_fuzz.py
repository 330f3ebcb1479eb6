"""Problems drawn by hypothesis: a fixed budget, the same problems in every run."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import ACTIVATIONS, FLOAT_ALGORITHMS, in_order, normal

CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
CONV_ALGORITHMS = FLOAT_ALGORITHMS
POOL_ALGORITHMS = tuple(name for name, _ in _core.pool_algorithms())

small = st.integers(1, 3)
dtypes = st.sampled_from([np.float32, np.float64])
orders = st.sampled_from(["first", "last"])


@st.composite
def conv_problems(draw: Any) -> tuple[Any, ...]:
    rank = draw(small)
    groups = draw(st.sampled_from([1, 1, 2, 3, 7]))
    n, per_group, k = draw(small), draw(st.integers(1, 6)), draw(st.integers(1, 12))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    spatial, kernel, stride, dilation, padding = [], [], [], [], []
    for _ in range(rank):
        size = draw(st.integers(1, 9 if rank > 1 else 40))
        most = {"reflect": size - 1, "circular": size}.get(mode, 4)
        pad = (draw(st.integers(0, most)), draw(st.integers(0, most)))
        d = draw(small)
        r = draw(st.integers(1, min(4, (size + sum(pad) - 1) // d + 1)))
        spatial.append(size)
        kernel.append(r)
        dilation.append(d)
        stride.append(draw(small))
        padding.append(pad)
    options = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "dilation": tuple(dilation),
        "groups": groups,
        "padding_mode": mode,
        "activation": draw(st.sampled_from([None, *ACTIVATIONS])),
    }
    x = (n, groups * per_group, *spatial)
    return x, (groups * k, per_group, *kernel), options, draw(st.booleans())


@settings(max_examples=250)
@given(conv_problems(), dtypes, orders, st.integers(0, 2**32 - 1))
def test_convolutions(problem: Any, dtype: Any, order: str, seed: int) -> None:
    x_shape, w_shape, options, has_bias = problem
    x, w = normal(x_shape, dtype, seed), normal(w_shape, dtype, seed + 1)
    bias = normal(w_shape[:1], dtype, seed + 2) if has_bias else None
    answers = {
        own: oracle.conv(x, w, bias, **options, rounding=own)
        for own in {oracle.rounding_of(name) for name in CONV_ALGORITHMS}
    }
    for algorithm in CONV_ALGORITHMS:
        try:
            y = CONV[w.ndim - 2](
                in_order(x, order), w, bias, algorithm=algorithm, **options
            )
        except pc.UnsupportedAlgorithm:
            assert algorithm != "reference"
            continue
        answer = answers[oracle.rounding_of(algorithm)]
        assert answer.worst(y) <= 1, algorithm


@st.composite
def pool_problems(draw: Any) -> tuple[Any, ...]:
    n, c = draw(small), draw(st.integers(1, 20))
    spatial, kernel, stride, dilation, padding = [], [], [], [], []
    for _ in range(2):
        size, r, d = draw(st.integers(1, 9)), draw(st.integers(1, 4)), draw(small)
        room = max(d * (r - 1) + 1 - size, 0)
        most = r - 1
        if room > 2 * most:
            d, room = 1, max(r - size, 0)
        low = draw(st.integers(max(room - most, 0), most))
        high = draw(st.integers(max(room - low, 0), most))
        for values, value in (
            (spatial, size),
            (kernel, r),
            (stride, draw(small)),
            (dilation, d),
            (padding, (low, high)),
        ):
            values.append(value)
    options = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "dilation": tuple(dilation),
        "ceil_mode": draw(st.booleans()),
    }
    return (n, c, *spatial), tuple(kernel), options


@settings(max_examples=250)
@given(pool_problems(), dtypes, orders, st.booleans(), st.integers(0, 2**32 - 1))
def test_pools(problem: Any, dtype: Any, order: str, count: bool, seed: int) -> None:
    shape, kernel, options = problem
    # Few different values: ties decide which index is right.
    x = np.round(normal(shape, dtype, seed) * 2)
    largest, where = oracle.max_pool(x, kernel, **options)
    mean = oracle.avg_pool(x, kernel, count_include_pad=count, **options)
    for algorithm in POOL_ALGORITHMS:
        more: dict[str, Any] = {"algorithm": algorithm, **options}
        view = in_order(x, order)
        np.testing.assert_array_equal(pc.max_pool2d(view, kernel, **more), largest)
        y, indices = pc.max_pool2d(view, kernel, return_indices=True, **more)
        np.testing.assert_array_equal(y, largest)
        np.testing.assert_array_equal(indices, where)
        y = pc.avg_pool2d(view, kernel, count_include_pad=count, **more)
        assert mean.worst(y) <= 1, algorithm
