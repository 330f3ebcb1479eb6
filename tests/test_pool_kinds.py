"""Norms, adaptive and global pooling: every algorithm, against windows taken one by one.

The oracle lists each output's window axis by axis and reduces it with NumPy in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import FLOAT_ISAS, Array, in_order, integers, normal

ALGORITHMS = tuple(name for name, _ in _core.pool_algorithms())
DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
Windows = tuple[list[list[int]], ...]

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def function(name: str, rank: int) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(pc, f"{name}{rank}d")
    return found


def reduced(x: Array, windows: Windows, reduce: Callable[[Array], Any]) -> Array:
    """Each window of each plane through `reduce`; x is (N, C, *spatial)."""
    out = np.empty((*x.shape[:2], *map(len, windows)), np.float64)
    for place in product(*(range(len(axis)) for axis in windows)):
        chosen = [axis[at] for axis, at in zip(windows, place, strict=True)]
        inside = x[(slice(None), slice(None), *np.ix_(*chosen))]
        out[(..., *place)] = reduce(inside.reshape(*x.shape[:2], -1))
    return out


def adaptive(extents: tuple[int, ...], outputs: tuple[int, ...]) -> Windows:
    return tuple(
        [list(range(o * n // p, math.ceil((o + 1) * n / p))) for o in range(p)]
        for n, p in zip(extents, outputs, strict=True)
    )


def sliding(
    extents: tuple[int, ...], kernel: int, stride: int, padding: int, dilation: int
) -> Windows:
    windows = []
    for n in extents:
        outputs = (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        taps = [
            [o * stride - padding + tap * dilation for tap in range(kernel)]
            for o in range(outputs)
        ]
        windows.append([[at for at in window if 0 <= at < n] for window in taps])
    return tuple(windows)


def within(y: Array, truth: Array, scale: Array, terms: int) -> bool:
    bound = oracle.gamma(terms, y.dtype) * scale + np.finfo(y.dtype).smallest_subnormal
    return bool((np.abs(y - truth) <= bound).all())


SHAPES = (
    ((2, 5, 13), (5,)),
    ((1, 3, 7), (10,)),  # more outputs than inputs
    ((2, 37, 14, 9), (6, 4)),
    ((1, 4, 7, 7), (1, 1)),
    ((3, 20, 8, 12), (4, 3)),  # equal windows
    ((1, 3, 40, 50), (7, 6)),
    ((1, 5, 70, 130), (9, 33)),  # too large to be turned
    ((1, 6, 5, 6, 7), (2, 4, 3)),
)


@pytest.mark.parametrize(("shape", "size"), SHAPES, ids=str)
@each_algorithm
def test_adaptive(
    algorithm: str, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    rank = len(size)
    windows = adaptive(shape[2:], size)
    terms = math.prod(max(map(len, axis)) for axis in windows) + 2
    for dtype in DTYPES:
        for x in (normal(shape, dtype), integers(shape, dtype)):
            wide = x.astype(np.float64)
            mean = reduced(wide, windows, lambda w: w.mean(-1))
            scale = reduced(np.abs(wide), windows, lambda w: w.mean(-1))
            largest = reduced(wide, windows, lambda w: w.max(-1))
            for order in ORDERS:
                view = in_order(x, order)
                y = function("adaptive_avg_pool", rank)(view, size, algorithm=algorithm)
                assert within(y, mean, scale, terms)
                pool = function("adaptive_max_pool", rank)
                y = pool(view, size, algorithm=algorithm)
                np.testing.assert_array_equal(y, largest)
                y, index = pool(view, size, return_indices=True, algorithm=algorithm)
                np.testing.assert_array_equal(y, largest)
                flat = x.reshape(*shape[:2], -1)
                at = index.reshape(*shape[:2], -1)
                np.testing.assert_array_equal(
                    np.take_along_axis(flat, at, -1), y.reshape(*shape[:2], -1)
                )
                np.testing.assert_array_equal(
                    index, pool(x, size, return_indices=True, algorithm="reference")[1]
                )


@each_algorithm
def test_global(algorithm: str) -> None:
    for shape in ((2, 33, 7, 7), (1, 4, 56, 31), (2, 3, 100), (1, 5, 3, 4, 6)):
        x = normal(shape, np.float32)
        axes = tuple(range(2, x.ndim))
        mean = x.astype(np.float64).mean(axes, keepdims=True)
        scale = np.abs(x.astype(np.float64)).mean(axes, keepdims=True)
        for order in ORDERS:
            view = in_order(x, order)
            y = pc.global_avg_pool(view, algorithm=algorithm)
            assert within(y, mean, scale, math.prod(shape[2:]) + 2)
            y, index = pc.global_max_pool(view, True, algorithm=algorithm)
            np.testing.assert_array_equal(y, x.max(axes, keepdims=True))
            first = x.reshape(*shape[:2], -1).argmax(-1)
            np.testing.assert_array_equal(index.reshape(first.shape), first)


@pytest.mark.parametrize("norm", [1, 2, 3, 2.5, np.float32(4), 0.7, 9])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_norms(norm: Any, rank: int) -> None:
    shape = (2, 19, *(9, 12, 7)[:rank])
    for kernel, stride, padding, dilation in ((2, 2, 0, 1), (3, 2, 1, 1), (2, 1, 2, 3)):
        windows = sliding(shape[2:], kernel, stride, padding, dilation)
        terms = kernel**rank
        for dtype in DTYPES:
            x = normal(shape, dtype)
            truth = reduced(
                x.astype(np.float64),
                windows,
                lambda w: (np.abs(w) ** float(norm)).sum(-1) ** (1 / float(norm)),
            )
            for order in ORDERS:
                for algorithm in ALGORITHMS:
                    y = function("lp_pool", rank)(
                        in_order(x, order),
                        norm,
                        kernel,
                        stride,
                        padding=padding,
                        dilation=dilation,
                        algorithm=algorithm,
                    )
                    # Powers and roots: a few units in the last place each.
                    assert within(y, truth, truth, terms + 16), (order, algorithm)


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    x = normal((2, 6, 13, 17), np.float32)
    there = torch.from_numpy(x)
    for size in (1, 5, (4, 17), (None, 3), 20):
        y, index = pc.adaptive_max_pool2d(x, size, return_indices=True)
        value, where = functional.adaptive_max_pool2d(there, size, True)
        np.testing.assert_array_equal(y, value.numpy())
        np.testing.assert_array_equal(index, where.numpy())
        y = pc.adaptive_avg_pool2d(x, size)
        mean = functional.adaptive_avg_pool2d(there, size).numpy()
        np.testing.assert_allclose(y, mean, rtol=1e-5, atol=1e-6)
    for norm in (1, 2, 3):
        y = pc.lp_pool2d(abs(x), norm, 3, 2)
        norms = functional.lp_pool2d(abs(there), norm, 3, 2).numpy()
        np.testing.assert_allclose(y, norms, rtol=1e-5)


@each_algorithm
def test_indices_of_padded_and_infinite_windows(algorithm: str) -> None:
    # Padding lies before every row: no index may point there, whatever the values.
    for shape in ((1, 2, 5, 40), (1, 20, 5, 6)):
        for x in (
            np.full(shape, -np.inf, np.float32),
            np.full(shape, np.nan, np.float32),
            integers(shape, np.float32),
        ):
            for kernel, stride, padding, dilation in (
                (3, 1, 1, 1),
                (3, 2, 2, 2),
                (2, 3, 1, 3),
            ):
                options = {"padding": padding, "dilation": dilation}
                value, index = oracle.max_pool(x, kernel, stride, **options)
                for order in ORDERS:
                    y, where = pc.max_pool2d(
                        in_order(x, order),
                        kernel,
                        stride,
                        return_indices=True,
                        algorithm=algorithm,
                        **options,
                    )
                    np.testing.assert_array_equal(y, value)
                    np.testing.assert_array_equal(where, index)


def test_indices_through_the_cache_of_calls() -> None:
    x = normal((2, 5, 8, 6), np.float32)
    first = pc.max_pool2d(x, 2, return_indices=True)
    hits = _core.fast_path_info()["hits"]
    again = pc.max_pool2d(x, 2, return_indices=True)
    assert _core.fast_path_info()["hits"] == hits + 1
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.ctypes.data != other.ctypes.data
    assert again[1].dtype == np.int64
    a, b = pc.lp_pool2d(x, 1.0, 2), pc.lp_pool2d(x, 2.0, 2)
    np.testing.assert_array_equal(pc.lp_pool2d(x, 1.0, 2), a)
    np.testing.assert_array_equal(pc.lp_pool2d(x, 2.0, 2), b)
    assert not np.array_equal(a, b)


@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_forced_isas_agree(name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    for shape, size in SHAPES:
        x = normal(shape, np.float32)
        pool = function("adaptive_max_pool", len(size))
        expected = pool(x, size, True, algorithm="reference")
        for order in ORDERS:
            for one, other in zip(
                pool(in_order(x, order), size, True), expected, strict=True
            ):
                np.testing.assert_array_equal(one, other)


def test_threads_and_batch_change_no_bit(threads: Callable[[int], None]) -> None:
    x = normal((4, 70, 15, 21), np.float32)
    calls: tuple[Callable[[Array], Array], ...] = (
        lambda x: pc.adaptive_avg_pool2d(x, (4, 5)),
        lambda x: pc.lp_pool2d(x, 2, 3, 2),
        pc.global_avg_pool,
    )
    for call in calls:
        whole = call(x)
        for order in ORDERS:
            view = in_order(x, order)
            for count in (1, 2):
                threads(count)
                np.testing.assert_array_equal(call(view), whole)
                np.testing.assert_array_equal(call(view[2:3]), whole[2:3])


def test_out_and_layout() -> None:
    x = normal((2, 5, 8, 9), np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    expected = pc.adaptive_avg_pool2d(x, 4)
    y = pc.adaptive_avg_pool2d(last, 4, layout="NHWC")
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), expected)
    out = np.empty((2, 5, 4, 4), np.float32)
    assert pc.adaptive_avg_pool2d(x, 4, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(pc.adaptive_avg_pool2d(x[0], 4), expected[0])
    assert pc.global_avg_pool(last, layout="NHWC").shape == (2, 1, 1, 5)


def test_explain_takes_every_pooling() -> None:
    x = normal((2, 5, 8, 9), np.float32)
    assert pc.explain(pc.lp_pool2d, x, 2, 3).operation == "lp_pool2d"
    assert pc.explain(pc.adaptive_avg_pool2d, x, (4, None)).problem.output == (1, 4, 9)
    assert pc.explain(pc.global_max_pool, x, True).problem.return_indices == 1
    with pytest.raises(TypeError, match="kernel_size"):
        pc.explain(pc.max_pool2d, x)
