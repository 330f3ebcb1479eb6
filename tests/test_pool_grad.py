"""Gradients of pooling, and unpooling: against windows taken one by one in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import POOL_CASES, Array, PoolCase, ids, in_order, integers, normal

ALGORITHMS = tuple(name for name, _ in _core.pool_grad_algorithms())
DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")

each_case = pytest.mark.parametrize("case", POOL_CASES, ids=ids(POOL_CASES))
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def function(kind: str, rank: int) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(pc, f"{kind}_pool{rank}d")
    return found


def gradient(kind: str, rank: int) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(pc.grad, f"{kind}_pool{rank}d")
    return found


def tried(
    call: Callable[..., Any], algorithm: str, *args: Any, **options: Any
) -> Array | None:
    """The result, or None where direct refuses a memory order."""
    try:
        result: Array = call(*args, algorithm=algorithm, **options)
    except pc.UnsupportedAlgorithm:
        assert algorithm != "reference"
        return None
    return result


def spread(x_shape: tuple[int, ...], pool: Callable[[Array], Array], g: Array) -> Array:
    """The adjoint of a linear pooling of float64: one unit element at a time."""
    rank = len(x_shape) - 2
    dx = np.zeros(x_shape)
    for place in product(*map(range, x_shape[2:])):
        unit = np.zeros((1, 1, *x_shape[2:]))
        unit[(0, 0, *place)] = 1
        axes = tuple(range(2, 2 + rank))
        dx[(..., *place)] = (pool(unit) * g).sum(axes)
    return dx


@each_case
@each_algorithm
def test_average(algorithm: str, case: PoolCase) -> None:
    for rule in ({}, {"count_include_pad": False}, {"divisor_override": 5}):
        pool = lambda x, rule=rule: (
            oracle.avg_pool(x, case.kernel, **rule, **case.options).value
        )
        for dtype in DTYPES:
            y_shape = function("avg", case.rank)(
                np.zeros(case.x, dtype), case.kernel, **case.options
            ).shape
            g = normal(y_shape, dtype, 3)
            truth = spread(case.x, pool, g.astype(np.float64))
            scale = spread(case.x, pool, np.abs(g.astype(np.float64)))
            bound = oracle.gamma(int(np.prod(y_shape[2:])) + 6, dtype) * scale
            for order in ORDERS:
                dx = tried(
                    gradient("avg", case.rank),
                    algorithm,
                    in_order(g, order),
                    case.x,
                    case.kernel,
                    **rule,
                    **case.options,
                )
                if dx is not None:
                    assert dx.dtype == dtype
                    assert (np.abs(dx - truth) <= bound).all(), (rule, order)


@each_case
@each_algorithm
def test_max(algorithm: str, case: PoolCase) -> None:
    for dtype in DTYPES:
        x = integers(case.x, dtype)
        y, index = function("max", case.rank)(
            x, case.kernel, return_indices=True, **case.options
        )
        g = integers(y.shape, dtype, 4)
        truth = np.zeros((*case.x[:2], int(np.prod(case.x[2:]))))
        flat = g.reshape(*g.shape[:2], -1)
        at = index.reshape(*g.shape[:2], -1)
        for n, c, i in np.ndindex(*flat.shape):
            if at[n, c, i] >= 0:
                truth[n, c, at[n, c, i]] += flat[n, c, i]
        for order in ORDERS:
            dx = gradient("max", case.rank)(
                in_order(g, order), in_order(index, order), case.x, algorithm=algorithm
            )
            np.testing.assert_array_equal(dx, truth.reshape(case.x))
            # Indices in another order than the gradient's.
            dx = gradient("max", case.rank)(
                in_order(g, order), index, case.x, algorithm=algorithm
            )
            np.testing.assert_array_equal(dx, truth.reshape(case.x))


@pytest.mark.parametrize("norm", [1, 2, 3, 2.5])
@each_algorithm
def test_norm(algorithm: str, norm: float) -> None:
    for shape, kernel, stride, padding in (
        ((2, 19, 9, 12), 2, 2, 0),
        ((1, 5, 10, 45), 3, 2, 1),
        ((2, 3, 7, 7), 3, 1, 1),
    ):
        x = normal(shape, np.float64, 1)
        x[0, 0, :4, :4] = 0  # windows whose norm is 0
        options: dict[str, Any] = {"stride": stride, "padding": padding}
        y = pc.lp_pool2d(x, norm, kernel, **options)
        g = normal(y.shape, np.float64, 2)
        dx = pc.grad.lp_pool2d(x, g, norm, kernel, algorithm="reference", **options)
        for order in ORDERS:
            again = tried(
                pc.grad.lp_pool2d,
                algorithm,
                in_order(x, order),
                in_order(g, order),
                norm,
                kernel,
                **options,
            )
            if again is not None:
                np.testing.assert_allclose(again, dx, rtol=1e-12, atol=1e-13)
        rng = np.random.default_rng(3)
        step = 1e-6
        for _ in range(10):
            place = (0, 1, *(int(rng.integers(0, n)) for n in shape[2:]))
            kept = x[place]
            sums = []
            for sign in (1, -1):
                x[place] = kept + sign * step
                sums.append((pc.lp_pool2d(x, norm, kernel, **options) * g).sum())
            x[place] = kept
            slope = (sums[0] - sums[1]) / (2 * step)
            assert abs(slope - dx[place]) < 1e-5 * (1 + abs(slope))


@each_algorithm
def test_adaptive(algorithm: str) -> None:
    for shape, size in (
        ((2, 5, 13), (5,)),
        ((1, 37, 14, 9), (6, 4)),
        ((1, 4, 7, 7), (1, 1)),
        ((1, 3, 5, 6, 7), (2, 4, 3)),
        ((2, 3, 8, 12), (4, 3)),
    ):
        rank = len(size)
        pool = getattr(pc, f"adaptive_avg_pool{rank}d")
        g = normal((*shape[:2], *size), np.float64, 3)
        truth = spread(shape, lambda x, p=pool, s=size: p(x, s), g)
        for order in ORDERS:
            dx = tried(
                getattr(pc.grad, f"adaptive_avg_pool{rank}d"),
                algorithm,
                in_order(g, order),
                shape,
            )
            if dx is not None:
                np.testing.assert_allclose(dx, truth, rtol=1e-12, atol=1e-13)
        x = normal(shape, np.float64, 1)
        y, index = getattr(pc, f"adaptive_max_pool{rank}d")(x, size, True)
        dx = getattr(pc.grad, f"adaptive_max_pool{rank}d")(g, index, shape)
        assert abs((dx * x).sum() - (g * y).sum()) < 1e-9


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    x = normal((2, 6, 13, 17), np.float64)
    there = torch.from_numpy(x).requires_grad_()
    for pool, ours in (
        (
            lambda t: functional.avg_pool2d(t, 3, 2, 1, True, False),
            lambda g: pc.grad.avg_pool2d(g, x.shape, 3, 2, 1, True, False),
        ),
        (
            lambda t: functional.adaptive_avg_pool2d(t, (5, 4)),
            lambda g: pc.grad.adaptive_avg_pool2d(g, x.shape),
        ),
        (
            lambda t: functional.max_pool2d(t, 3, 2, 1),
            lambda g: pc.grad.max_pool2d(
                g, pc.max_pool2d(x, 3, 2, 1, return_indices=True)[1], x.shape
            ),
        ),
        (
            lambda t: functional.lp_pool2d(t, 2, 3, 2),
            lambda g: pc.grad.lp_pool2d(x, g, 2, 3, 2),
        ),
    ):
        y = pool(there)
        g = normal(tuple(y.shape), np.float64, 2)
        (dx,) = torch.autograd.grad(y, there, torch.from_numpy(g))
        np.testing.assert_allclose(ours(g), dx.numpy(), rtol=1e-10, atol=1e-12)
    y, index = functional.max_pool2d(there, 2, return_indices=True)
    theirs = functional.max_unpool2d(y, index, 2, output_size=(13, 17))
    unpooled = pc.max_unpool2d(
        y.detach().numpy(), index.numpy(), 2, output_size=(13, 17)
    )
    np.testing.assert_array_equal(unpooled, theirs.detach().numpy())


@each_algorithm
def test_unpool(algorithm: str) -> None:
    for shape in ((2, 5, 8, 6), (1, 20, 9, 12)):
        x = normal(shape, np.float32)
        for order in ORDERS:
            y, index = pc.max_pool2d(in_order(x, order), 2, return_indices=True)
            back = pc.max_unpool2d(
                y, index, 2, output_size=shape[2:], algorithm=algorithm
            )
            kept = back != 0
            assert kept.sum() == y.size
            np.testing.assert_array_equal(back[kept], x[kept])
            np.testing.assert_array_equal(
                pc.max_unpool2d(y, index, 2, output_size=shape), back
            )
    y, index = pc.max_pool1d(x[0, :, :, 0], 3, return_indices=True)
    assert pc.max_unpool1d(y, index, 3).shape == (20, 9)
    y, index = pc.max_pool3d(x[None], 2, return_indices=True)
    back = pc.max_unpool3d(y, index, 2, output_size=(20, 9, 12))
    np.testing.assert_array_equal(back[back != 0], x[None][back != 0])


@pytest.mark.parametrize("wrong", [-2, 48, 2**31, 2**62, -(2**62)])
@each_algorithm
def test_an_index_outside_raises(algorithm: str, wrong: int) -> None:
    x = normal((2, 5, 8, 6), np.float32)
    for order in ORDERS:
        y, index = pc.max_pool2d(in_order(x, order), 2, return_indices=True)
        index[1, 4, 3, 2] = wrong
        with pytest.raises(ValueError, match=r"indices holds"):
            pc.grad.max_pool2d(y, index, x.shape, algorithm=algorithm)
        with pytest.raises(ValueError, match=r"indices holds"):
            pc.max_unpool2d(y, index, 2, algorithm=algorithm)
    index[1, 4, 3, 2] = -1  # a window of nothing but padding has a gradient of nothing
    pc.grad.max_pool2d(y, index, x.shape, algorithm=algorithm)
    with pytest.raises(ValueError, match=r"indices holds -1"):
        pc.max_unpool2d(y, index, 2, algorithm=algorithm)


def test_out_layout_and_views() -> None:
    x = normal((2, 5, 8, 6), np.float32)
    y, index = pc.max_pool2d(x, 3, 2, 1, return_indices=True)
    g = normal(y.shape, np.float32, 2)
    expected = pc.grad.max_pool2d(g, index, x.shape)
    mean = pc.grad.avg_pool2d(g, x.shape, 3, 2, 1)
    last = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (g, index)]
    size = (2, 8, 6, 5)
    dx = pc.grad.max_pool2d(*last, size, layout="NHWC")
    np.testing.assert_array_equal(dx.transpose(0, 3, 1, 2), expected)
    dx = pc.grad.avg_pool2d(last[0], size, 3, 2, 1, layout="NHWC")
    np.testing.assert_array_equal(dx.transpose(0, 3, 1, 2), mean)
    wide = np.full((2, 10, 8, 12), 7, np.float32)
    held = wide[:, ::-2, :, ::2]
    for call, truth in (
        (lambda **more: pc.grad.max_pool2d(g, index, x.shape, **more), expected),
        (lambda **more: pc.grad.avg_pool2d(g, x.shape, 3, 2, 1, **more), mean),
    ):
        wide[...] = 7
        assert call(out=held) is held
        np.testing.assert_allclose(held, truth, rtol=1e-6, atol=1e-7)
        assert (wide == 7).sum() >= wide.size - held.size
    for view in (np.asfortranarray(g), g[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(
            pc.grad.max_pool2d(view, index.astype(np.int32), x.shape), expected
        )
    one = pc.grad.avg_pool2d(g[0], x.shape[1:], 3, 2, 1)
    np.testing.assert_array_equal(one, mean[0])


def test_threads_and_order_change_no_bit(threads: Callable[[int], None]) -> None:
    for shape in ((3, 70, 15, 21), (2, 6, 40, 90)):
        x = normal(shape, np.float32)
        g = normal(pc.avg_pool2d(x, 3, 2, 1).shape, np.float32, 2)
        calls: tuple[Callable[[Array], Array], ...] = (
            lambda g, s=shape: pc.grad.avg_pool2d(
                g, (g.shape[0], *s[1:]), 3, 2, 1, count_include_pad=False
            ),
        )
        for call in calls:
            whole = call(g)
            for order in ORDERS:
                view = in_order(g, order)
                for count in (1, 2):
                    threads(count)
                    np.testing.assert_array_equal(call(view), whole)
                    np.testing.assert_array_equal(call(view[1:2]), whole[1:2])


def test_an_empty_batch() -> None:
    g = np.zeros((0, 3, 4, 4), np.float32)
    assert pc.grad.avg_pool2d(g, (0, 3, 8, 8), 2).shape == (0, 3, 8, 8)
    index = np.zeros(g.shape, np.int64)
    assert pc.max_unpool2d(g, index, 2).shape == (0, 3, 8, 8)
