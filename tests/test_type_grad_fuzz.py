"""Halves in gradients, columns and poolings, on problems drawn by hypothesis.

The truth is float64's, each element's bound that of a float32 sum and one rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv as pc
from tests import oracle
from tests.cases import Array, ConvCase, PoolCase, in_order, normal
from tests.element_types import UNIT
from tests.test_columns import columns_of, image_of
from tests.test_fuzz import conv_problems, orders, pool_problems
from tests.test_grad import geometry, input_gradient, weight_gradient
from tests.test_pool_grad import spread
from tests.test_type_fuzz import halves, laid, seeds, steps, wide

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
# Gradients have no other algorithm for halves; poolings have their reference too.
GRADIENTS = ("widened", "auto")
POOLS = ("reference", "widened", "auto")
norms = st.sampled_from([1, 2, 3, 1.5, 2.7])


def within(y: Array, truth: Array, scale: Array, terms: int, dtype: Any) -> None:
    """Hold halves against a float32 sum of `terms` terms, of sizes that add to `scale`."""
    assert y.dtype == dtype
    bound = oracle.gamma(terms, np.float32) * scale + terms * SMALLEST
    answer = oracle.rounded(oracle.Answer(truth, bound), dtype, UNIT[dtype])
    assert answer.worst(y) <= 1


@settings(max_examples=150)
@given(conv_problems(), halves, orders, steps, seeds)
def test_convolutions(
    problem: Any, dtype: Any, order: str, kind: str, seed: int
) -> None:
    x_shape, w_shape, options, _ = problem
    for other in ("activation", "padding_mode"):
        options.pop(other)
    rank = len(x_shape) - 2
    case = ConvCase("drawn", x_shape, w_shape[0], w_shape[2:], **options)
    x, w = normal(x_shape, dtype, seed), normal(w_shape, dtype, seed + 1)
    y_shape = getattr(pc, f"conv{rank}d")(x, w, **options).shape
    g = normal(y_shape, dtype, seed + 2)
    handed = laid(g, order, kind)
    pixels = g.size // g.shape[1]

    truth, scale = weight_gradient(x, w_shape, g, geometry(case))
    for algorithm in GRADIENTS:
        held = laid(np.full(w_shape, np.nan, dtype), "first", kind)
        dw = getattr(pc.grad, f"conv{rank}d_weight")(
            laid(x, order, kind),
            w_shape,
            handed,
            algorithm=algorithm,
            out=held,
            **options,
        )
        assert dw is held
        within(dw, truth, scale, pixels + 1, dtype)

    axes = (0, *range(2, 2 + rank))
    wide_g = g.astype(np.float64)
    db = getattr(pc.grad, f"conv{rank}d_bias")(handed)
    within(db, wide_g.sum(axes), np.abs(wide_g).sum(axes), pixels, dtype)

    truth, scale = input_gradient(x_shape, w, g, geometry(case))
    terms = w[:, 0].size // options["groups"] + 1
    dx = getattr(pc.grad, f"conv{rank}d_input")(
        x_shape, laid(w, "first", kind), handed, accuracy="strict", **options
    )
    within(dx, truth, scale, terms, dtype)


@settings(max_examples=100)
@given(conv_problems(), halves, orders, steps, seeds)
def test_columns(problem: Any, dtype: Any, order: str, kind: str, seed: int) -> None:
    shape, w_shape, options, _ = problem
    window = (
        w_shape[2:],
        options["dilation"],
        options["padding"],
        options["stride"],
    )
    x = normal(shape, dtype, seed)
    columns = pc.im2col(laid(x, order, kind), *window)
    assert columns.dtype == dtype
    np.testing.assert_array_equal(wide(columns), columns_of(wide(x), *window))
    g = normal(columns.shape, dtype, seed + 1)
    view = g if kind == "dense" else np.asfortranarray(g)
    if kind == "backwards":
        view = g[:, ::-1].copy()[:, ::-1]
    dx = pc.col2im(view, shape[2:], *window)
    within(
        dx,
        image_of(g, shape, *window),
        image_of(abs(wide(g)), shape, *window),
        int(np.prod(w_shape[2:])),
        dtype,
    )


@settings(max_examples=150)
@given(pool_problems(), halves, orders, steps, st.booleans(), norms, seeds)
def test_pools(
    problem: Any,
    dtype: Any,
    order: str,
    kind: str,
    count: bool,
    norm: float,
    seed: int,
) -> None:
    shape, kernel, options = problem
    # Few different values: ties decide which index is right.
    x = np.round(wide(normal(shape, dtype, seed)) * 2).astype(dtype)
    x += np.asarray(seed % 3 / 4).astype(dtype)
    single = wide(x)
    view = laid(x, order, kind)
    largest, where = oracle.max_pool(single, kernel, **options)
    mean = oracle.avg_pool(single, kernel, count_include_pad=count, **options)
    for algorithm in POOLS:
        more: dict[str, Any] = {"algorithm": algorithm, **options}
        y, indices = pc.max_pool2d(view, kernel, return_indices=True, **more)
        assert y.dtype == dtype
        np.testing.assert_array_equal(wide(y), largest)
        np.testing.assert_array_equal(indices, where)
        held = laid(np.full(y.shape, np.nan, dtype), order, kind)
        assert pc.max_pool2d(view, kernel, out=held, **more) is held
        np.testing.assert_array_equal(wide(held), largest)
        y = pc.avg_pool2d(view, kernel, count_include_pad=count, **more)
        assert y.dtype == dtype
        assert oracle.rounded(mean, dtype, UNIT[dtype]).worst(y) <= 1, algorithm
        if options["ceil_mode"]:
            continue
        of_norm = {key: one for key, one in more.items() if key != "ceil_mode"}
        y = pc.lp_pool2d(view, norm, kernel, **of_norm)
        case = PoolCase("drawn", shape, kernel, **options)
        norm_of_windows(case, single.astype(np.float64), norm, y, dtype)


def norm_of_windows(
    case: PoolCase, x: Array, norm: float, y: Array, dtype: Any
) -> None:
    """Hold norms against sums of powers, which the oracle's means are, undivided."""
    powers = oracle.avg_pool(
        np.abs(x) ** norm, case.kernel, divisor_override=1, **case.options
    ).value
    truth = powers.astype(np.float64) ** (1 / norm)
    # Powers and roots: a few units in the last place each.
    within(y, truth, truth, int(np.prod(case.kernel)) + 16, dtype)


@settings(max_examples=100)
@given(pool_problems(), halves, orders, steps, st.booleans(), seeds)
def test_gradients_of_pools(
    problem: Any, dtype: Any, order: str, kind: str, count: bool, seed: int
) -> None:
    shape, kernel, options = problem
    x = normal(shape, dtype, seed)
    largest, index = pc.max_pool2d(x, kernel, return_indices=True, **options)
    g = normal(largest.shape, dtype, seed + 1)
    handed = laid(g, order, kind)
    wide_g = g.astype(np.float64)
    terms = g[0, 0].size + 6

    def scattered(values: Array) -> Array:
        """Add each value where its index points."""
        planes = np.zeros((shape[0] * shape[1], shape[2] * shape[3]))
        flat = index.reshape(len(planes), -1)
        each = np.broadcast_to(np.arange(len(planes))[:, None], flat.shape)
        kept = flat >= 0
        np.add.at(planes, (each[kept], flat[kept]), values.reshape(flat.shape)[kept])
        return planes.reshape(shape)

    mean = lambda values: (
        oracle.avg_pool(values, kernel, count_include_pad=count, **options).value
    )
    spread_g = spread(shape, mean, wide_g), spread(shape, mean, np.abs(wide_g))
    taken, size = scattered(wide_g), scattered(np.abs(wide_g))
    for algorithm in GRADIENTS:
        held = laid(np.full(shape, np.nan, dtype), order, kind)
        dx = pc.grad.avg_pool2d(
            handed,
            shape,
            kernel,
            count_include_pad=count,
            algorithm=algorithm,
            out=held,
            **options,
        )
        assert dx is held
        within(dx, *spread_g, terms, dtype)
        for places in (in_order(index, order), laid(index, order, kind)):
            dx = pc.grad.max_pool2d(handed, places, shape, algorithm=algorithm)
            within(dx, taken, size, terms, dtype)
