"""Every registered pooling algorithm x every case; max exactly, average in its bound."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import (
    FLOAT_ISAS,
    POOL_CASES,
    PoolCase,
    ids,
    in_order,
    integers,
    normal,
)

ALGORITHMS = tuple(name for name, _ in _core.pool_algorithms())
DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")

# Where the packages give one- and three-dimensional pools, they are tested too.
MAX = {rank: getattr(pc, f"max_pool{rank}d", None) for rank in (1, 2, 3)}
AVG = {rank: getattr(pc, f"avg_pool{rank}d", None) for rank in (1, 2, 3)}
CASES = tuple(case for case in POOL_CASES if MAX[case.rank] and AVG[case.rank])

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
each_case = pytest.mark.parametrize("case", CASES, ids=ids(CASES))


def with_indices(pool: Any, x: Any, *sizes: Any, **options: Any) -> Any:
    """(values, indices); by any algorithm where the named one keeps no indices."""
    try:
        return pool(x, *sizes, return_indices=True, **options)
    except pc.UnsupportedAlgorithm:
        assert options["algorithm"] != "reference"
        options["algorithm"] = "auto"
        return pool(x, *sizes, return_indices=True, **options)


@each_case
@each_algorithm
def test_max(algorithm: str, case: PoolCase) -> None:
    pool: Any = MAX[case.rank]
    for dtype in DTYPES:
        # Few different values, so that ties decide the index.
        for x in (normal(case.x, dtype), integers(case.x, dtype)):
            value, index = oracle.max_pool(x, case.kernel, **case.options)
            for order in ORDERS:
                view = in_order(x, order)
                more: dict[str, Any] = {"algorithm": algorithm, **case.options}
                y = pool(view, case.kernel, **more)
                assert y.dtype == dtype
                np.testing.assert_array_equal(y, value)
                y, where = with_indices(pool, view, case.kernel, **more)
                np.testing.assert_array_equal(y, value)
                np.testing.assert_array_equal(where, index)
                assert where.dtype == np.int64


@each_case
@each_algorithm
def test_average(algorithm: str, case: PoolCase) -> None:
    pool: Any = AVG[case.rank]
    for dtype in DTYPES:
        x = normal(case.x, dtype)
        for rule in (
            {},
            {"count_include_pad": False},
            {"divisor_override": 5},
        ):
            answer = oracle.avg_pool(x, case.kernel, **rule, **case.options)
            for order in ORDERS:
                y = pool(
                    in_order(x, order),
                    case.kernel,
                    algorithm=algorithm,
                    **rule,
                    **case.options,
                )
                assert y.dtype == dtype
                assert answer.worst(y) <= 1, (rule, order)


@each_case
def test_torch_agrees(case: PoolCase) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if isinstance(case.padding, str | tuple) and not all(
        isinstance(p, int) for p in case.padding
    ):
        pytest.skip("PyTorch's pools have no padding pairs and no 'same'")
    x = normal(case.x, np.float32)
    functional = torch.nn.functional
    value, where = getattr(functional, f"max_pool{case.rank}d")(
        torch.from_numpy(x), case.kernel, return_indices=True, **case.options
    )
    y, index = MAX[case.rank](x, case.kernel, return_indices=True, **case.options)
    np.testing.assert_array_equal(y, value.numpy())
    inside = np.isfinite(y)
    np.testing.assert_array_equal(index[inside], where.numpy()[inside])
    if case.dilation != 1:
        return
    for include in (True, False):
        options = {**case.options, "count_include_pad": include}
        options.pop("dilation")
        mean = getattr(functional, f"avg_pool{case.rank}d")(
            torch.from_numpy(x), case.kernel, **options
        )
        y = AVG[case.rank](x, case.kernel, **options)
        np.testing.assert_allclose(y, mean.numpy(), rtol=1e-5, atol=1e-6)


@each_algorithm
def test_nan_wins(algorithm: str) -> None:
    for dtype in DTYPES:
        for order in ORDERS:
            for c in (1, 3, 17, 40):
                x = normal((1, c, 6, 7), dtype)
                x[0, c - 1, 2, 3] = np.nan
                x[0, 0, 0, 0] = np.inf
                x[0, c - 1, 3, 3] = np.nan
                value, index = oracle.max_pool(x, 3, 1, 1)
                y, where = with_indices(
                    pc.max_pool2d, in_order(x, order), 3, 1, 1, algorithm=algorithm
                )
                np.testing.assert_array_equal(y, value)
                np.testing.assert_array_equal(where, index)
                y = pc.max_pool2d(in_order(x, order), 3, 1, 1, algorithm=algorithm)
                np.testing.assert_array_equal(y, value)
                mean = pc.avg_pool2d(in_order(x, order), 3, 1, 1, algorithm=algorithm)
                touched = np.isnan(value)
                np.testing.assert_array_equal(np.isnan(mean), touched)


@each_algorithm
def test_all_minus_infinity(algorithm: str) -> None:
    x = np.full((1, 5, 4, 4), -np.inf, np.float32)
    y, where = with_indices(pc.max_pool2d, x, 2, algorithm=algorithm)
    assert (y == -np.inf).all()
    np.testing.assert_array_equal(where[0, 0], [[0, 2], [8, 10]])


@each_algorithm
def test_window_of_padding(algorithm: str) -> None:
    # PyTorch 2.13 returns index 2 for this plane of two elements.
    x = normal((1, 3, 1, 2), np.float32)
    options: dict[str, Any] = {"stride": 1, "padding": (0, 1), "algorithm": algorithm}
    y, where = with_indices(pc.max_pool2d, x, (1, 2), dilation=(1, 3), **options)
    assert (y == -np.inf).all()
    assert (where == -1).all()
    mean = pc.avg_pool2d(x, (1, 2), dilation=(1, 3), count_include_pad=False, **options)
    assert (mean == 0).all()


@each_algorithm
def test_subnormals_are_kept(algorithm: str) -> None:
    for dtype in DTYPES:
        tiny = np.finfo(dtype).smallest_subnormal * 8
        x = np.full((1, 3, 4, 4), tiny, dtype)
        assert (pc.max_pool2d(x, 2, algorithm=algorithm) == tiny).all()
        assert (pc.avg_pool2d(x, 2, algorithm=algorithm) == tiny).all()
        negative = pc.max_pool2d(-x, 2, algorithm=algorithm)
        assert (negative == -tiny).all()


@each_algorithm
def test_sums_of_minus_zero_are_zero(algorithm: str) -> None:
    for dtype in DTYPES:
        for shape in ((1, 3, 4, 4), (1, 40, 9, 9), (1, 3, 20, 70), (1, 1, 7, 7)):
            x = np.full(shape, -0.0, dtype)
            for order in ORDERS:
                view = in_order(x, order)
                for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), (1, 1, 0)):
                    mean = pc.avg_pool2d(
                        view, kernel, stride, padding, algorithm=algorithm
                    )
                    assert not np.signbit(mean).any()
                mean = pc.adaptive_avg_pool2d(view, 3, algorithm=algorithm)
                assert not np.signbit(mean).any()
                assert not np.signbit(pc.global_avg_pool(view)).any()


@each_case
@each_algorithm
def test_threads_and_batch_change_no_bit(
    algorithm: str, case: PoolCase, threads: Callable[[int], None]
) -> None:
    x = normal((3, *case.x[1:]), np.float32)
    for pool in (MAX[case.rank], AVG[case.rank]):
        for order in ORDERS:
            view = in_order(x, order)
            more: dict[str, Any] = {"algorithm": algorithm, **case.options}
            threads(1)
            y = pool(view, case.kernel, **more)
            threads(2)
            np.testing.assert_array_equal(pool(view, case.kernel, **more), y)
            alone = pool(in_order(x[1:2], order), case.kernel, **more)
            np.testing.assert_array_equal(alone, y[1:2])


@pytest.mark.parametrize("name", FLOAT_ISAS)
@each_algorithm
def test_forced_isas_agree(
    algorithm: str, name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    for case in CASES:
        x = normal(case.x, np.float32)
        value, index = oracle.max_pool(x, case.kernel, **case.options)
        mean = oracle.avg_pool(x, case.kernel, **case.options)
        for order in ORDERS:
            view, more = in_order(x, order), {"algorithm": algorithm, **case.options}
            y, where = with_indices(MAX[case.rank], view, case.kernel, **more)
            np.testing.assert_array_equal(y, value, err_msg=case.name)
            np.testing.assert_array_equal(where, index, err_msg=case.name)
            y = MAX[case.rank](view, case.kernel, **more)
            np.testing.assert_array_equal(y, value, err_msg=case.name)
            assert mean.worst(AVG[case.rank](view, case.kernel, **more)) <= 1


@each_algorithm
def test_any_view_is_taken(algorithm: str) -> None:
    x = normal((2, 5, 8, 9), np.float32)
    raw = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    locked = x.copy()
    locked.flags.writeable = False
    views = {
        "negative": np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1],
        "fortran": np.asfortranarray(x),
        "misaligned": misaligned,
        "byte_swapped": x.astype(x.dtype.newbyteorder()),
        "read_only": locked,
        "broadcast": np.broadcast_to(x, (2, *x.shape))[1],
    }
    for pool in (pc.max_pool2d, pc.avg_pool2d):
        expected = pool(x, 3, 2, 1, algorithm=algorithm)
        for name, view in views.items():
            y = pool(view, 3, 2, 1, algorithm=algorithm)
            np.testing.assert_array_equal(y, expected, err_msg=name)


@each_algorithm
def test_out_and_layout(algorithm: str) -> None:
    x = normal((2, 5, 8, 9), np.float32)
    for pool in (pc.max_pool2d, pc.avg_pool2d):
        expected = pool(x, (3, 2), 2, algorithm=algorithm)
        wide = np.full((2, 10, 8, 12), 7, np.float32)
        held = wide[:, ::-2, 1:4, 2:10:2]
        assert pool(x, (3, 2), 2, algorithm=algorithm, out=held) is held
        np.testing.assert_array_equal(held, expected)
        assert (wide == 7).sum() == wide.size - held.size
        last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        y = pool(last, (3, 2), 2, algorithm=algorithm, layout="NHWC")
        assert y.flags.c_contiguous
        np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), expected)
        one = pool(x[0], (3, 2), 2, algorithm=algorithm)
        np.testing.assert_array_equal(one, expected[0])


@pytest.mark.parametrize("pool", [pc.max_pool2d, pc.avg_pool2d])
def test_empty_batch(pool: Any) -> None:
    y = pool(np.zeros((0, 3, 8, 6), np.float32), 2)
    assert y.shape == (0, 3, 4, 3)


def test_torch_is_there_when_promised() -> None:
    if not os.environ.get("PYCONV_TEST_TORCH"):
        pytest.skip("PYCONV_TEST_TORCH is not set: PyTorch is optional here")
    assert importlib.util.find_spec("torch") is not None


@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_rows_of_every_width(name: str, isa: Callable[[str], None]) -> None:
    """One vector, two, and many blocks of outputs; padding and NaN on every lane."""
    isa(name)
    windows = (
        # kernel, stride, padding, dilation
        (2, 2, 0, 1),
        (3, 2, 1, 1),
        (3, 1, 1, 1),
        (2, 1, 1, 2),
        (3, 3, 1, 2),
        (5, 1, 2, 1),
        (4, 5, 2, 3),
        (7, 2, 3, 2),
    )
    for width in (*range(5, 40), 63, 64, 65, 100, 129):
        x = integers((2, 2, 6, width), np.float32, width)
        x[1, 1, 3, width // 2] = np.nan
        x[0, 1, :, -1] = -np.inf
        for dtype in DTYPES:
            first = x.astype(dtype)
            last = in_order(first, "last")
            for kernel, stride, padding, dilation in windows:
                sizes = ((2, kernel), (2, stride), (1, padding), (2, dilation))
                if width + 2 * padding < dilation * (kernel - 1) + 1:
                    continue
                y, where = pc.max_pool2d(
                    first, *sizes, return_indices=True, algorithm="reference"
                )
                again = pc.max_pool2d(
                    first, *sizes, return_indices=True, algorithm="direct"
                )
                np.testing.assert_array_equal(again[0], y)
                np.testing.assert_array_equal(again[1], where)
                value = pc.max_pool2d(first, *sizes, algorithm="direct")
                np.testing.assert_array_equal(value, y)
                for rule in ({}, {"count_include_pad": False}):
                    options = {**rule, "dilation": (2, dilation), "algorithm": "direct"}
                    mean = pc.avg_pool2d(first * 0.1, *sizes[:3], **options)
                    other = pc.avg_pool2d(last * 0.1, *sizes[:3], **options)
                    np.testing.assert_array_equal(mean, other)
                options = {
                    "padding": sizes[2],
                    "dilation": sizes[3],
                    "algorithm": "direct",
                }
                norm = pc.lp_pool2d(first * 0.1, 2, *sizes[:2], **options)
                other = pc.lp_pool2d(last * 0.1, 2, *sizes[:2], **options)
                np.testing.assert_array_equal(norm, other)
