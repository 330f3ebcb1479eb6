"""Adjoints, on problems drawn by hypothesis: <conv(x), g> = <x, grad(g)> for all x, g."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv as pc
from pyconv import _core
from tests.cases import in_order, normal
from tests.test_fuzz import conv_problems, orders, pool_problems

CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
WEIGHTS = tuple(name for name, _ in _core.weight_algorithms())
POOLS = tuple(name for name, _ in _core.pool_grad_algorithms())
seeds = st.integers(0, 2**32 - 1)


def agree(one: float, other: float, size: float) -> bool:
    """Equal up to the rounding of float64 sums whose terms add up to `size`."""
    return abs(one - other) <= 1e-12 * (size + 1)


@settings(max_examples=250)
@given(conv_problems(), orders, seeds)
def test_convolutions(problem: Any, order: str, seed: int) -> None:
    x_shape, w_shape, options, _ = problem
    for other in ("activation", "padding_mode"):
        options.pop(other)
    x, w = normal(x_shape, np.float64, seed), normal(w_shape, np.float64, seed + 1)
    rank = x.ndim - 2
    y = CONV[rank](x, w, **options)
    g = normal(y.shape, np.float64, seed + 2)
    product = (y * g).sum()
    size = (CONV[rank](abs(x), abs(w), **options) * abs(g)).sum()
    handed = in_order(g, order)
    dx = getattr(pc.grad, f"conv{rank}d_input")(x_shape, w, handed, **options)
    assert dx.shape == x_shape
    assert agree((dx * x).sum(), product, size)
    for algorithm in WEIGHTS:
        options["algorithm"] = algorithm
        try:
            dw = getattr(pc.grad, f"conv{rank}d_weight")(
                in_order(x, order), w_shape, handed, **options
            )
        except pc.UnsupportedAlgorithm:
            assert algorithm in ("depthwise", "grouped")
            continue
        assert agree((dw * w).sum(), product, size), algorithm


@settings(max_examples=250)
@given(pool_problems(), orders, st.booleans(), seeds)
def test_pools(problem: Any, order: str, count: bool, seed: int) -> None:
    shape, kernel, options = problem
    x = normal(shape, np.float64, seed)
    mean = pc.avg_pool2d(x, kernel, count_include_pad=count, **options)
    largest, index = pc.max_pool2d(x, kernel, return_indices=True, **options)
    g = normal(mean.shape, np.float64, seed + 1)
    inside = np.where(index >= 0, largest, 0)
    for algorithm in POOLS:
        try:
            dx = pc.grad.avg_pool2d(
                in_order(g, order),
                shape,
                kernel,
                count_include_pad=count,
                algorithm=algorithm,
                **options,
            )
        except pc.UnsupportedAlgorithm:
            assert algorithm != "reference"
            continue
        size = (abs(dx) * abs(x)).sum() + (abs(mean) * abs(g)).sum()
        assert agree((dx * x).sum(), (mean * g).sum(), size), algorithm
        dx = pc.grad.max_pool2d(in_order(g, order), index, shape, algorithm=algorithm)
        size = (abs(inside) * abs(g)).sum()
        assert agree((dx * x).sum(), (inside * g).sum(), size), algorithm
