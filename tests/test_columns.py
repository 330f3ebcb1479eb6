"""im2col and col2im: against NumPy, PyTorch and each other, in every memory order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv as pc
from pyconv import _core
from tests.cases import FLOAT_ISAS, Array, in_order, integers, normal
from tests.guard import Guards
from tests.oracle import gamma

ISAS = FLOAT_ISAS
F32 = np.float32

# x, kernel_size, dilation, padding, stride
CASES: tuple[tuple[Any, ...], ...] = (
    ((2, 3, 8, 9), 3, 1, 0, 1),
    ((1, 5, 7, 6), (3, 2), (2, 1), (1, 2), (2, 3)),
    ((1, 1, 12, 70), (2, 5), 1, 2, 1),
    ((2, 17, 5, 6), 2, 1, 1, 2),
    ((1, 33, 4, 5), (1, 3), 1, ((0, 0), (2, 0)), 1),
    ((1, 4, 9, 9), 3, 3, "same", 1),
    ((1, 2, 6, 7), 3, 1, "same", 2),
    ((1, 2, 5, 4), 2, 1, "full", 1),
    ((1, 2, 4, 4), 3, 2, 5, 3),  # windows wholly in padding
    ((1, 3, 4, 16), 4, 1, 0, 4),  # no overlap
    ((1, 3, 9, 9), 2, 1, 0, 4),  # holes between windows
    ((3, 6, 1, 1), 1, 1, 0, 1),
    ((2, 3, 30), (4,), (2,), (3,), (2,)),
    ((1, 2, 5, 6, 7), (2, 3, 2), (1, 1, 2), 1, (2, 1, 1)),
    ((1, 20, 3, 2, 70), (1, 2, 2), 1, 0, 1),
)
ids = [f"{case[0]}-{case[1]}" for case in CASES]


def whole(values: Any, rank: int) -> tuple[int, ...]:
    return values if isinstance(values, tuple) else (values,) * rank


def pairs(padding: Any, sizes: Any) -> list[tuple[int, int]]:
    """(before, after), for words by their definition."""
    if padding == "full":
        return [(d * (k - 1),) * 2 for _, k, d, _ in sizes]
    if padding == "same":
        total = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, d, s in sizes
        ]
        return [(t // 2, t - t // 2) for t in total]
    listed = whole(padding, len(sizes))
    return [pad if isinstance(pad, tuple) else (pad, pad) for pad in listed]


def walk(shape: tuple[int, ...], kernel: Any, dilation: Any, padding: Any, stride: Any):  # type: ignore[no-untyped-def]
    """(row tap, column, pixel or None) of every element of one channel's columns."""
    extents = shape[2:]
    rank = len(extents)
    kernels, holes, steps = (whole(v, rank) for v in (kernel, dilation, stride))
    sizes = list(zip(extents, kernels, holes, steps, strict=True))
    pads = pairs(padding, sizes)
    outputs = [
        (n + sum(pad) - d * (k - 1) - 1) // s + 1
        for (n, k, d, s), pad in zip(sizes, pads, strict=True)
    ]
    for row, tap in enumerate(np.ndindex(*kernels)):
        for column, window in enumerate(np.ndindex(*outputs)):
            at = tuple(
                o * s + t * d - pad[0]
                for o, t, d, s, pad in zip(window, tap, holes, steps, pads, strict=True)
            )
            inside = all(0 <= a < n for a, n in zip(at, extents, strict=True))
            yield row, column, at if inside else None


def columns_of(x: Array, *window: Any) -> Array:
    """The definition, one element at a time."""
    found = list(walk(x.shape, *window))
    taps, count = found[-1][0] + 1, found[-1][1] + 1
    y = np.zeros((*x.shape[:2], taps, count), x.dtype)
    for row, column, at in found:
        if at is not None:
            y[:, :, row, column] = x[(..., *at)]
    return y.reshape(x.shape[0], -1, count)


def image_of(columns: Array, shape: tuple[int, ...], *window: Any) -> Array:
    """The definition of the adjoint, in float64."""
    x = np.zeros(shape)
    given = columns.astype(np.float64).reshape(*shape[:2], -1, columns.shape[-1])
    for row, column, at in walk(shape, *window):
        if at is not None:
            x[(..., *at)] += given[:, :, row, column]
    return x


def orders(x: Array) -> list[Array]:
    """One array in memory orders and strides of every kind."""
    gaps = np.full((*x.shape[:-1], 3 * x.shape[-1]), np.nan, x.dtype)
    gaps[..., ::3] = x
    return [
        in_order(x, "first"),
        in_order(x, "last"),
        np.ascontiguousarray(x[..., ::-1])[..., ::-1],
        np.asfortranarray(x),
        gaps[..., ::3],
    ]


@pytest.mark.parametrize("case", CASES, ids=ids)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_im2col_is_the_definition(case: Any, dtype: Any) -> None:
    shape, *window = case
    x = normal(shape, dtype, 1)
    expected = columns_of(x, *window)
    for view in orders(x):
        y = pc.im2col(view, *window)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(pc.im2col(view[0], *window), expected[0])
    last = np.moveaxis(x, 1, -1)
    np.testing.assert_array_equal(pc.im2col(last, *window, layout="NHWC"), expected)


@pytest.mark.parametrize("case", CASES, ids=ids)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_col2im_is_the_definition(case: Any, dtype: Any) -> None:
    shape, *window = case
    columns = normal(pc.im2col(np.zeros(shape, dtype), *window).shape, dtype, 2)
    exact = image_of(columns, shape, *window)
    terms = int(np.prod(whole(window[0], len(shape) - 2)))
    bound = gamma(terms, dtype) * image_of(abs(columns), shape, *window)
    first = pc.col2im(columns, shape[2:], *window)
    assert first.dtype == dtype
    assert first.shape == shape
    assert (abs(first - exact) <= bound).all()
    for view in orders(columns):
        np.testing.assert_array_equal(pc.col2im(view, shape[2:], *window), first)
        np.testing.assert_array_equal(pc.col2im(view[0], shape[2:], *window), first[0])


@pytest.mark.parametrize("name", ISAS)
def test_every_instruction_set_agrees(name: str, isa: Callable[[str], None]) -> None:
    for shape, *window in CASES:
        x = normal(shape, F32, 1)
        columns = pc.im2col(x, *window)
        image = pc.col2im(columns, shape[2:], *window)
        before = _core.active_isa()
        isa(name)
        np.testing.assert_array_equal(pc.im2col(x, *window), columns)
        np.testing.assert_array_equal(pc.im2col(in_order(x, "last"), *window), columns)
        np.testing.assert_array_equal(pc.col2im(columns, shape[2:], *window), image)
        isa(before)


def test_any_number_of_threads_gives_the_same(threads: Callable[[int], None]) -> None:
    x = normal((2, 5, 61, 130), F32, 1)
    columns = pc.im2col(x, 3, 1, 1)
    image = pc.col2im(columns, (61, 130), 3, 1, 1)
    alone = pc.col2im(columns[1], (61, 130), 3, 1, 1)
    np.testing.assert_array_equal(alone, image[1])
    for count in (1, 2, 3, 8):
        threads(count)
        np.testing.assert_array_equal(pc.im2col(x, 3, 1, 1), columns)
        np.testing.assert_array_equal(pc.col2im(columns, (61, 130), 3, 1, 1), image)


def test_out_takes_the_result() -> None:
    shape, *window = CASES[1]
    x = normal(shape, F32, 1)
    expected = pc.im2col(x, *window)
    image = pc.col2im(expected, shape[2:], *window)
    for out in orders(np.full_like(expected, np.nan)):
        assert pc.im2col(x, *window, out=out) is out
        np.testing.assert_array_equal(out, expected)
    for out in orders(np.full_like(image, np.nan)):
        assert pc.col2im(expected, shape[2:], *window, out=out) is out
        np.testing.assert_array_equal(out, image)


def test_an_empty_batch_is_empty() -> None:
    assert pc.im2col(np.zeros((0, 3, 5, 6), F32), 2).shape == (0, 12, 20)
    assert pc.col2im(np.zeros((0, 12, 20), F32), (5, 6), 2).shape == (0, 3, 5, 6)


def test_nan_and_infinity_stay_where_they_are() -> None:
    x = np.zeros((1, 1, 4, 5), F32)
    x[0, 0, 1, 1], x[0, 0, 2, 3] = np.nan, np.inf
    columns = pc.im2col(x, 2)
    np.testing.assert_array_equal(columns, columns_of(x, 2, 1, 0, 1))
    image = pc.col2im(columns, (4, 5), 2)
    assert np.isnan(image[0, 0, 1, 1])
    assert image[0, 0, 2, 3] == np.inf
    assert np.isfinite(image).sum() == 18


@settings(max_examples=200)
@given(st.data())
def test_adjoint_identity(data: Any) -> None:
    rank = data.draw(st.integers(1, 3))
    axes = st.lists(st.integers(1, 3), min_size=rank, max_size=rank).map(tuple)
    kernel, dilation, stride = (data.draw(axes) for _ in range(3))
    pad = tuple(
        (data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4)))
        for _ in range(rank)
    )
    extents = tuple(
        max(n, d * (k - 1) + 1 - sum(p))
        for n, d, k, p in zip(
            data.draw(st.lists(st.integers(1, 9), min_size=rank, max_size=rank)),
            dilation,
            kernel,
            pad,
            strict=True,
        )
    )
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 6)), *extents)
    x = normal(shape, np.float64, data.draw(st.integers(0, 999)))
    view = in_order(x, data.draw(st.sampled_from(["first", "last"])))
    window = (kernel, dilation, pad, stride)
    columns = pc.im2col(view, *window)
    c = normal(columns.shape, np.float64, 5)
    back = pc.col2im(c, extents, *window)
    size = (abs(columns) * abs(c)).sum()
    assert abs((columns * c).sum() - (x * back).sum()) <= 1e-12 * (size + 1)


def test_a_convolution_is_a_product_with_the_columns() -> None:
    x, w = integers((2, 3, 8, 9), F32, 1), integers((5, 3, 3, 2), F32, 2)
    columns = pc.im2col(x, (3, 2), 1, 1, 2)
    product_ = w.reshape(5, -1) @ columns
    y = pc.conv2d(x, w, padding=1, stride=2)
    np.testing.assert_array_equal(product_.reshape(y.shape), y)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_as_torch(case: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    shape, *window = case
    numbers = all(
        isinstance(n, int) for v in window for n in (v if isinstance(v, tuple) else [v])
    )
    if len(shape) != 4 or not numbers:
        pytest.skip("torch has two axes and paddings that are numbers")
    x = normal(shape, np.float64, 3)
    unfold, fold = torch.nn.functional.unfold, torch.nn.functional.fold
    for a in (x, x[0]):
        columns = pc.im2col(a, *window)
        np.testing.assert_array_equal(columns, unfold(torch.from_numpy(a), *window))
        image = fold(torch.from_numpy(columns), shape[2:], *window)
        np.testing.assert_allclose(
            pc.col2im(columns, shape[2:], *window), image, rtol=1e-13, atol=1e-13
        )


LANES = _core.machine()["vector_bytes"] // 4
REMAINDERS = range(1, 2 * LANES + 2)


@pytest.mark.parametrize("at", ["end", "start"])
@pytest.mark.parametrize("order", ["first", "last"])
def test_nothing_past_a_buffer_is_touched(order: str, at: str) -> None:
    for count, dtype, stride in product(REMAINDERS, (np.float32, np.float64), (1, 2)):
        for shape in ((1, count, 3, 4), (2, 2, 3, count + 2)):
            for padding in (0, 1):
                x = integers(shape, dtype, 1)
                window = ((2, 3), 1, padding, stride)
                expected = columns_of(x, *window)
                image = image_of(expected, shape, *window)
                with Guards() as guards:
                    columns = guards.copy(np.full_like(expected, np.nan), order, at)
                    pc.im2col(guards.copy(x, order, at), *window, out=columns)
                    np.testing.assert_array_equal(columns, expected)
                    back = guards.copy(np.full_like(x, np.nan), order, at)
                    pc.col2im(columns, shape[2:], *window, out=back)
                    np.testing.assert_array_equal(back, image)


@pytest.mark.usefixtures("fast_path")
def test_a_call_seen_before_is_one_look_up() -> None:
    x = normal((1, 3, 6, 7), F32, 1)
    columns = pc.im2col(x, 3, 1, 1)
    pc.col2im(columns, (6, 7), 3, 1, 1)
    hits = _core.fast_path_info()["hits"]
    np.testing.assert_array_equal(pc.im2col(2 * x, 3, 1, 1), 2 * columns)
    pc.col2im(columns, (6, 7), 3, 1, 1)
    assert _core.fast_path_info()["hits"] == hits + 2


def test_trace_and_explain_know_them() -> None:
    x = normal((1, 3, 6, 7), F32, 1)
    with pc.trace() as calls:
        columns = pc.im2col(x, 3, 1, 1)
        pc.col2im(columns.astype(columns.dtype.newbyteorder()), (6, 7), 3, 1, 1)
    there, back = calls
    assert there.operation == "im2col"
    assert there.compulsory_bytes == x.nbytes + columns.nbytes == back.compulsory_bytes
    assert there.flops == 0
    assert back.flops == columns.size
    assert [event.argument for event in back.events] == ["columns"]
    for told in (
        pc.explain(pc.im2col, x, 3, padding=1),
        pc.explain(pc.col2im, columns, (6, 7), 3, padding=1),
    ):
        assert told.chosen in pc.algorithms(told.operation)
        assert told.compulsory_bytes == there.compulsory_bytes
        assert told.operation in str(told)
