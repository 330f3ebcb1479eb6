"""Halves, integers and complex numbers: every algorithm that takes them, every case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from pyconv.problem import DTYPES
from tests import oracle
from tests.cases import (
    ACTIVATIONS,
    CONV_CASES,
    ConvCase,
    ids,
    in_order,
    normal,
)
from tests.element_types import BFLOAT16, COMPLEX, HALVES, INTEGERS, ORDERS, UNIT, whole

CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
ALGORITHMS = pc.algorithms("conv")

each_case = pytest.mark.parametrize("case", CONV_CASES, ids=ids(CONV_CASES))
each_half = pytest.mark.parametrize("dtype", HALVES, ids=str)
each_integer = pytest.mark.parametrize("dtype", INTEGERS, ids=str)


def taken(case: ConvCase, x: Any, w: Any, **more: Any) -> list[tuple[str, Any]]:
    """What every algorithm that takes the case gives, by name."""
    found = []
    for algorithm in (*ALGORITHMS, "auto"):
        try:
            y = CONV[case.rank](x, w, algorithm=algorithm, **case.options, **more)
        except pc.UnsupportedAlgorithm:
            continue
        found.append((algorithm, y))
    assert {"reference", "auto"} <= {name for name, _ in found}
    return found


def exact_conv(case: ConvCase, x: Any, w: Any) -> Any:
    """The sum in Python's integers, which do not overflow."""
    wide_x, wide_w = x.astype(object), w.astype(object)
    names = ("stride", "padding", "dilation", "groups", "padding_mode")
    options = {key: case.options[key] for key in names if key in case.options}
    steps = oracle.triple(options.get("stride", 1), case.rank)
    holes = oracle.triple(options.get("dilation", 1), case.rank)
    pads = oracle.pairs(
        options.get("padding", 0), x.shape[2:], w.shape[2:], steps, holes
    )
    extended = oracle.padded(wide_x, pads, options.get("padding_mode", "zeros"))
    extended = np.frompyfunc(int, 1, 1)(extended)  # NumPy pads with zeros of its own
    patches = oracle.windows(extended, w.shape[2:], steps, holes)
    groups = options.get("groups", 1)
    n, c, *rest = patches.shape
    k = len(w)
    patches = patches.reshape(n, groups, 1, c // groups, *rest)
    filters = wide_w.reshape(
        1, groups, k // groups, w.shape[1], *(1,) * case.rank, *w.shape[2:]
    )
    taps = tuple(range(-case.rank, 0))
    return (patches * filters).sum(axis=(3, *taps)).reshape(n, k, *rest[: case.rank])


def wrapped(exact: Any, dtype: Any) -> Any:
    """Python's integers modulo 2^bits of an integer type."""
    bits = 8 * np.dtype(dtype).itemsize
    words = (exact % 2**bits).astype(np.uint64)
    return words.astype(f"u{bits // 8}").view(dtype)


def half_answer(case: ConvCase, x: Any, w: Any, name: str, **more: Any) -> Any:
    """The truth of halves, and its bound: float32's for the sum, then one rounding."""
    rounding = "winograd" if name == "widened" else "direct"
    wide = {
        key: a.astype(np.float32) if isinstance(a, np.ndarray) else a
        for key, a in more.items()
    }
    single = oracle.conv(
        x.astype(np.float32),
        w.astype(np.float32),
        **wide,
        **case.options,
        rounding=rounding,
    )
    return oracle.rounded(single, x.dtype, UNIT[x.dtype])


@each_half
@each_case
def test_halves_are_summed_in_float32(case: ConvCase, dtype: Any) -> None:
    x, w = normal(case.x, dtype, 1), normal(case.w, dtype, 2)
    shape = CONV[case.rank](x, w, **case.options).shape
    activation = ACTIVATIONS[CONV_CASES.index(case) % len(ACTIVATIONS)]
    bias, residual = normal((case.k,), np.float32, 3), normal(shape, dtype, 4)
    everything = {"bias": bias, "residual": residual, "activation": activation}
    for more in ({}, everything):
        for order in ORDERS:
            for name, y in taken(case, in_order(x, order), w, **more):
                assert y.dtype == dtype
                worst = half_answer(case, x, w, name, **more).worst(y)
                assert worst <= 1, f"{name}, {order}, {[*more]}: {worst}"


@each_integer
@each_case
def test_integers_are_exact(case: ConvCase, dtype: Any) -> None:
    x, w = whole(case.x, dtype, 1), whole(case.w, dtype, 2)
    exact = exact_conv(case, x, w)
    wide = np.uint64 if dtype == np.uint64 else np.int64
    result = np.int32 if dtype.itemsize <= 2 else wide
    bias = whole((case.k,), result, 3)
    moved = exact + bias.astype(object).reshape(-1, *(1,) * case.rank)
    for order in ORDERS:
        for name, y in taken(case, in_order(x, order), w):
            assert y.dtype == result
            np.testing.assert_array_equal(y, wrapped(exact, result), err_msg=name)
        for name, y in taken(case, in_order(x, order), w, bias=bias, activation="relu"):
            truth = wrapped(moved, result)
            np.testing.assert_array_equal(y, np.maximum(truth, 0), err_msg=name)


@pytest.mark.parametrize("pair", [("u1", "i1"), ("i1", "u1")], ids="-".join)
@each_case
def test_bytes_of_two_kinds(case: ConvCase, pair: tuple[str, str]) -> None:
    x, w = whole(case.x, pair[0], 1), whole(case.w, pair[1], 2)
    truth = wrapped(exact_conv(case, x, w), np.int32)
    for order in ORDERS:
        with pc.trace() as calls:
            found = taken(case, in_order(x, order), w)
        assert not [event for call in calls for event in call.events]
        for name, y in found:
            assert y.dtype == np.int32
            np.testing.assert_array_equal(y, truth, err_msg=name)


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
@each_case
def test_complex(case: ConvCase, dtype: Any) -> None:
    part = np.float32 if dtype == np.complex64 else np.float64

    def drawn(shape: tuple[int, ...], seed: int) -> Any:
        return (normal(shape, part, seed) + 1j * normal(shape, part, seed + 9)).astype(
            dtype
        )

    x, w, bias = drawn(case.x, 1), drawn(case.w, 2), drawn((case.k,), 3)

    def sums(a: Any, b: Any) -> Any:
        return oracle.conv(a, b, **case.options, rounding="winograd")

    shape = (-1, *(1,) * case.rank)
    pairs = [sums(a, b) for a in (x.real, x.imag) for b in (w.real, w.imag)]
    rr, ri, ir, ii = pairs
    # Twice the terms in one sum: twice each bound.
    size = np.abs(bias.real + 0j).reshape(shape) + np.abs(bias.imag).reshape(shape)
    slack = oracle.unit(part) * (size + 1)
    real = oracle.Answer(
        rr.value - ii.value + bias.real.reshape(shape),
        2 * (rr.bound + ii.bound) + slack,
    )
    imag = oracle.Answer(
        ri.value + ir.value + bias.imag.reshape(shape),
        2 * (ri.bound + ir.bound) + slack,
    )
    for order in ORDERS:
        for name, y in taken(case, in_order(x, order), w, bias=bias):
            assert y.dtype == dtype
            assert real.worst(y.real) <= 1, (name, order)
            assert imag.worst(y.imag) <= 1, (name, order)


@pytest.mark.parametrize("dtype", [*HALVES, *INTEGERS[:3]], ids=str)
@each_case
def test_threads_batch_and_order_change_no_bit(
    case: ConvCase, dtype: Any, threads: Callable[[int], None]
) -> None:
    make = normal if dtype in HALVES else whole
    x, w = make(case.x, dtype, 1), make(case.w, dtype, 2)
    batch = np.concatenate([x, x[:, :, ::-1], x[:, ::-1]])
    threads(1)
    first = dict(taken(case, batch, w))
    for order in ORDERS:
        threads(2)
        for name, y in taken(case, in_order(batch, order), w):
            np.testing.assert_array_equal(y, first[name], err_msg=f"{name} {order}")
        for n in range(len(batch)):
            sample = in_order(batch[n : n + 1], order)
            for name, y in taken(case, sample, w):
                np.testing.assert_array_equal(y, first[name][n : n + 1], err_msg=name)


@pytest.mark.parametrize("isa_name", _core.isa_names())
def test_forced_isas_agree(isa_name: str, isa: Callable[[str], None]) -> None:
    isa(isa_name)
    for case in CONV_CASES:
        for dtype in HALVES:
            x, w = normal(case.x, dtype, 1), normal(case.w, dtype, 2)
            for order in ORDERS:
                for name, y in taken(case, in_order(x, order), w):
                    answer = half_answer(case, x, w, name)
                    assert answer.worst(y) <= 1, (case.name, dtype, name, order)
        for dtype in INTEGERS:
            x, w = whole(case.x, dtype, 1), whole(case.w, dtype, 2)
            truth = wrapped(exact_conv(case, x, w), pc_result(dtype))
            for name, y in taken(case, x, w):
                np.testing.assert_array_equal(y, truth, err_msg=f"{case.name} {name}")


def pc_result(dtype: Any) -> Any:
    """The type that sums of an integer type come in."""
    if dtype.itemsize <= 2:
        return np.int32
    return np.uint64 if dtype == np.uint64 else np.int64


@each_half
def test_every_half_survives_the_detour(dtype: Any) -> None:
    """All 65536 of them, through a 1x1 convolution with one: NaN stays NaN."""
    every = np.arange(2**16, dtype=np.uint16).view(dtype).reshape(1, 1, 256, 256)
    one = np.ones((1, 1, 1, 1), dtype)
    for algorithm in ("reference", "widened"):
        y = pc.conv2d(every, one, algorithm=algorithm)
        np.testing.assert_array_equal(
            y.astype(np.float32), every.astype(np.float32), err_msg=algorithm
        )


@pytest.mark.parametrize("isa_name", _core.isa_names())
@each_half
def test_rounding_is_to_nearest_even(
    dtype: Any, isa_name: str, isa: Callable[[str], None]
) -> None:
    isa(isa_name)
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**32, 1 << 16, dtype=np.uint32)
    # Halfway cases and their neighbours too.
    step = 13 if dtype == np.float16 else 16
    half = np.uint32(1 << (step - 1))
    middle = (bits[:4096] >> step << step) | half
    bits = np.concatenate([bits, middle, middle - np.uint32(1), middle + np.uint32(1)])
    floats = bits.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = floats.astype(dtype)
    given = np.empty(floats.shape, dtype)
    _core.set_bfloat16(BFLOAT16.num)
    _core.narrow(DTYPES[dtype.name], floats, given)
    np.testing.assert_array_equal(given.astype(np.float32), expected.astype(np.float32))


def test_transposed_convolution_of_integers() -> None:
    for first, second in (("i1", "i1"), ("u1", "i1"), ("i2", "i2"), ("i4", "i4")):
        x = whole((2, 3, 4, 5), np.dtype(first), 1) % 100
        w = whole((3, 4, 2, 3), np.dtype(second), 2) % 100
        for options in ({"stride": 2}, {"stride": 4}, {"groups": 3, "stride": 3}):
            exact = pc.conv_transpose2d(
                x.astype(np.float64), w.astype(np.float64), **options
            )
            for _ in range(2):  # the second call takes the plan that is remembered
                y = pc.conv_transpose2d(x, w, **options)
                assert y.dtype == (np.int64 if first == "i4" else np.int32)
                np.testing.assert_array_equal(y, exact)


@pytest.mark.parametrize("dtype", [*HALVES, *COMPLEX], ids=str)
def test_transposed_convolution_again(dtype: Any) -> None:
    x, w = normal((2, 6, 4, 5), np.float32, 1), normal((6, 4, 2, 3), np.float32, 2)
    for options in ({"stride": 2}, {"stride": 4}, {"groups": 3, "stride": 3}):
        first = pc.conv_transpose2d(x.astype(dtype), w.astype(dtype), **options)
        again = pc.conv_transpose2d(x.astype(dtype), w.astype(dtype), **options)
        assert again.dtype == dtype
        np.testing.assert_array_equal(again, first)
        near = pc.conv_transpose2d(x, w, **options)
        np.testing.assert_allclose(first.astype(np.complex64).real, near, 0, 0.1)


def test_types_promote() -> None:
    x = np.ones((1, 4, 6, 6))
    w = np.ones((4, 4, 3, 3))
    for first, second, result in (
        ("f2", "f4", "f4"),
        ("f2", BFLOAT16, "f4"),
        ("i1", "i2", "i4"),
        ("u2", "i1", "i8"),
        ("i4", "i1", "i8"),
        ("i8", "f4", "f8"),
        ("i2", "f2", "f4"),
        ("f4", "c8", "c8"),
        ("i1", "f4", "f4"),
        ("q", "q", "i8"),
        ("i1", "Q", "f8"),
    ):
        y = pc.conv2d(x.astype(first), w.astype(second))
        assert y.dtype == np.dtype(result), (first, second)
        assert (y == 36).all()


def test_layers_keep_halves_and_bytes_packed() -> None:
    for dtype in (*HALVES, np.dtype(np.int8), np.dtype(np.complex64)):
        x = np.arange(2 * 8 * 9 * 9).reshape(2, 8, 9, 9) % 7 - 3
        w = np.arange(16 * 8 * 9).reshape(16, 8, 3, 3) % 5 - 2
        seen, filters = x.astype(dtype), w.astype(dtype)
        layer = pc.Conv2d(filters, padding=1)
        for view in (in_order(seen, "first"), in_order(seen, "last"), seen[:1]):
            expected = pc.conv2d(view, filters, padding=1)
            np.testing.assert_array_equal(layer(view), expected)
            np.testing.assert_array_equal(layer(view), expected)


@each_half
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is(dtype: Any, bad: float) -> None:
    x, w = normal((1, 5, 9, 10), dtype, 1), normal((6, 5, 3, 3), dtype, 2)
    dirty, holed = x.copy(), w.copy()
    dirty[0, 1, 4, 5] = bad
    holed[:, :, 0, 0] = bad
    touched = np.zeros((1, 6, 7, 8), bool)
    touched[:, :, 2:5, 3:6] = True
    for algorithm in ALGORITHMS:
        options = {"algorithm": algorithm}
        try:
            y = pc.conv2d(dirty, w, **options).astype(np.float32)
        except pc.UnsupportedAlgorithm:
            continue
        assert not np.isfinite(y[touched]).any()
        assert np.isfinite(y[~touched]).all()
        for order in ORDERS:
            view = in_order(x, order)
            y = pc.conv2d(view, holed, padding=1, **options).astype(np.float32)
            # The first row and column meet that weight in the padding only.
            assert np.isfinite(y[:, :, 0]).all(), algorithm
            assert np.isfinite(y[:, :, :, 0]).all(), algorithm
            assert not np.isfinite(y[:, :, 1:, 1:]).any(), algorithm


def test_empty_batches() -> None:
    for name in DTYPES:
        dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
        y = pc.conv2d(np.ones((0, 3, 5, 5), dtype), np.ones((2, 3, 3, 3), dtype))
        assert y.shape == (0, 2, 3, 3)


def test_types_without_a_common_one() -> None:
    x = np.ones((1, 2, 4, 4), BFLOAT16)
    with pytest.raises(TypeError, match="no common type"):
        pc.conv2d(x, np.ones((1, 2, 3, 3), np.int32))
