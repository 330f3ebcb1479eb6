"""Every registered convolution x every case x dtype x memory order, within its bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from pyconv.cpu import CPU
from pyconv.planning import choose
from tests import oracle
from tests.cases import (
    ACTIVATIONS,
    CONV_CASES,
    FLOAT_ALGORITHMS,
    FLOAT_ISAS,
    ConvCase,
    conv_tensors,
    ids,
    in_order,
    integers,
    nearest,
    normal,
)

ALGORITHMS = FLOAT_ALGORITHMS
# They add the products of an output in one order: taps, then channels.
SAME_ORDER = (
    "im2col",
    "implicit_gemm",
    "direct",
    "depthwise",
    "grouped",
    "few_channels",
)
# Plain code, that rounds as the reference does and is never chosen.
PLAIN_LOOPS = ("reordered", "cache_tiled")
# They round by tiles: whole numbers are not exact, and the bound is their own.
WINOGRAD = ("winograd", "winograd_staged")
DIRECT_SUMS = tuple(name for name in ALGORITHMS if name not in WINOGRAD)
DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
each_case = pytest.mark.parametrize("case", CONV_CASES, ids=ids(CONV_CASES))


def run_if_taken(case: ConvCase, x: Any, w: Any, algorithm: str, **more: Any) -> Any:
    """The case through pyconv; None where the algorithm refuses the problem."""
    try:
        return CONV[case.rank](x, w, algorithm=algorithm, **case.options, **more)
    except pc.UnsupportedAlgorithm:
        assert algorithm != "reference", "the reference must take every problem"
        return None


def run(case: ConvCase, x: Any, w: Any, algorithm: str, **more: Any) -> Any:
    """The case through pyconv; skips where the algorithm refuses the problem."""
    y = run_if_taken(case, x, w, algorithm, **more)
    return pytest.skip("refused") if y is None else y


def epilogues(case: ConvCase, dtype: Any, like: Any) -> list[dict[str, Any]]:
    """Plain, with bias, and with everything; the activation varies by case."""
    position = CONV_CASES.index(case)
    bias, residual = normal((case.k,), dtype, 3), normal(like, dtype, 4)
    activation = ACTIVATIONS[position % len(ACTIVATIONS)]
    return [
        {},
        {"bias": bias},
        {"bias": bias, "residual": residual, "activation": activation},
    ]


def is_in_order(y: Any, order: str) -> bool:
    moved = y if order == "first" else np.moveaxis(y, 1, -1)
    return bool(moved.flags.c_contiguous)


@each_case
@each_algorithm
def test_within_the_bound(algorithm: str, case: ConvCase) -> None:
    for dtype in DTYPES if algorithm not in WINOGRAD else (np.float32,):
        x, w = conv_tensors(case, dtype)
        shape = oracle.conv(x, w, **case.options).value.shape
        for more in epilogues(case, dtype, shape):
            answer = oracle.conv(
                x, w, **more, **case.options, rounding=oracle.rounding_of(algorithm)
            )
            for order in ORDERS:
                y = run(case, in_order(x, order), w, algorithm, **more)
                assert y.dtype == dtype
                worst = answer.worst(y)
                assert worst <= 1, f"{np.dtype(dtype)}, {order}, {[*more]}: {worst}"


@pytest.mark.parametrize("activation", ACTIVATIONS)
@each_algorithm
def test_activations(algorithm: str, activation: str) -> None:
    case = ConvCase("range", (1, 1, 1, 4001), 1, (1, 1))
    for dtype in DTYPES:
        x = np.linspace(-40, 40, 4001, dtype=dtype).reshape(case.x)
        w = np.ones(case.w, dtype)
        answer = oracle.conv(x, w, activation=activation)
        y = run(case, x, w, algorithm, activation=activation)
        assert answer.worst(y) <= 1
        huge = np.array([-np.inf, -1e30, 1e30, np.inf, np.nan], dtype)
        y = run(case, huge.reshape(1, 1, 1, 5), w, algorithm, activation=activation)
        assert not np.isnan(y[..., 1:4]).any()
        assert np.isnan(y[..., 4]).all()


@each_case
def test_integers_are_exact(case: ConvCase) -> None:
    for dtype in DTYPES:
        x, w = conv_tensors(case, dtype, integers)
        exact = oracle.conv(x, w, **case.options).value
        for algorithm in DIRECT_SUMS:
            for order in ORDERS:
                y = run_if_taken(case, in_order(x, order), w, algorithm)
                if y is not None:
                    message = f"{algorithm} {order}"
                    np.testing.assert_array_equal(y, exact, err_msg=message)


@each_case
def test_one_order_of_summation(case: ConvCase) -> None:
    x, w = conv_tensors(case, np.float32)
    bias = normal((case.k,), np.float32, 3)
    first = run(case, x, w, SAME_ORDER[0], bias=bias)
    for algorithm in SAME_ORDER:
        for order in ORDERS:
            y = run_if_taken(case, in_order(x, order), w, algorithm, bias=bias)
            if y is not None:
                message = f"{algorithm} {order}"
                np.testing.assert_array_equal(y, first, err_msg=message)


@each_case
@pytest.mark.parametrize("algorithm", PLAIN_LOOPS)
def test_plain_loops_give_the_bits_of_the_reference(
    algorithm: str, case: ConvCase
) -> None:
    for dtype in DTYPES:
        x, w = conv_tensors(case, dtype)
        like = run(case, x, w, "reference").shape
        for more in epilogues(case, dtype, like):
            exact = run(case, x, w, "reference", **more)
            for order in ORDERS:
                y = run(case, in_order(x, order), w, algorithm, **more)
                np.testing.assert_array_equal(y, exact, err_msg=f"{order} {[*more]}")


@each_case
@each_algorithm
def test_threads_and_batch_change_no_bit(
    algorithm: str, case: ConvCase, threads: Callable[[int], None]
) -> None:
    x, w = conv_tensors(case, np.float32)
    x = np.concatenate([x, x[:, :, ::-1], -x])
    for order in ORDERS:
        batch = in_order(x, order)
        threads(1)
        alone = run(case, batch, w, algorithm)
        threads(2)
        np.testing.assert_array_equal(run(case, batch, w, algorithm), alone)
        for n in range(len(x)):
            sample = run(case, in_order(x[n : n + 1], order), w, algorithm)
            np.testing.assert_array_equal(sample, alone[n : n + 1])


@each_algorithm
def test_threads_on_a_larger_problem(
    algorithm: str, threads: Callable[[int], None]
) -> None:
    x, w = normal((2, 64, 60, 61), np.float32, 1), normal((64, 64, 3, 3), np.float32, 2)
    x, w, groups = nearest(algorithm, x, w, padding=1)
    options: dict[str, Any] = {"groups": groups, "algorithm": algorithm}
    for order in ORDERS:
        threads(1)
        y = pc.conv2d(in_order(x, order), w, padding=1, **options)
        for count in (2, 3, 5):
            threads(count)
            again = pc.conv2d(in_order(x, order), w, padding=1, **options)
            np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("name", FLOAT_ISAS)
@each_algorithm
def test_forced_isas_agree(
    algorithm: str, name: str, isa: Callable[[str], None]
) -> None:
    isa(name)
    assert _core.active_isa() == name
    for case in CONV_CASES:
        for dtype in DTYPES:
            x, w = conv_tensors(case, dtype)
            bias = normal((case.k,), dtype, 3)
            answer = oracle.conv(
                x, w, bias, **case.options, rounding=oracle.rounding_of(algorithm)
            )
            for order in ORDERS:
                y = run_if_taken(case, in_order(x, order), w, algorithm, bias=bias)
                if y is None:
                    continue
                assert answer.worst(y) <= 1, (case.name, dtype, order)
                # One order of summation on this instruction set too.
                if algorithm in SAME_ORDER:
                    first = run(case, x, w, SAME_ORDER[0], bias=bias)
                    np.testing.assert_array_equal(y, first, err_msg=case.name)


@pytest.mark.parametrize("name", _core.isa_names())
def test_isa_from_the_environment(name: str, python: Callable[..., str]) -> None:
    code = """if True:
        import numpy as np, pyconv as pc
        from pyconv import _core
        x = np.arange(96, dtype=np.float32).reshape(1, 3, 4, 8)
        w = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
        print(_core.active_isa(), float(pc.conv2d(x, w).sum()))
    """
    x = np.arange(96, dtype=np.float32).reshape(1, 3, 4, 8)
    w = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
    expected = float(oracle.conv(x, w).value.astype(np.float32).sum())
    said, total = python(code, PYCONV_FORCE_ISA=name).split()
    assert (said, float(total)) == (name, expected)


def test_unknown_isa_from_the_environment(python: Callable[..., str]) -> None:
    code = """if True:
        import numpy as np, pyconv as pc
        x = np.ones((1, 1, 4, 4))
        for _ in range(2):
            try:
                pc.conv2d(x, x)
            except ValueError as error:
                print(error)
    """
    lines = python(code, PYCONV_FORCE_ISA="pdp11").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "pdp11" in line
        assert "baseline" in line


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@each_algorithm
def test_a_bad_pixel_stays_in_its_windows(algorithm: str, bad: float) -> None:
    x, w = normal((2, 5, 9, 10), np.float32, 1), normal((6, 5, 3, 3), np.float32, 2)
    x, w, groups = nearest(algorithm, x, w)
    options: dict[str, Any] = {"groups": groups, "algorithm": algorithm}
    for order in ORDERS:
        clean = pc.conv2d(in_order(x, order), w, **options)
        dirty = x.copy()
        dirty[1, 1, 4, 5] = bad
        y = pc.conv2d(in_order(dirty, order), w, **options)
        touched = np.zeros(y.shape, bool)
        group, filters = groups // x.shape[1], len(w) // groups
        touched[1, group * filters : (group + 1) * filters, 2:5, 3:6] = True
        assert not np.isfinite(y[touched]).any()
        if algorithm in WINOGRAD:  # what shared a tile was computed again directly
            np.testing.assert_allclose(y[~touched], clean[~touched], rtol=0, atol=1e-4)
        else:
            np.testing.assert_array_equal(y[~touched], clean[~touched])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@each_algorithm
def test_a_bad_weight_over_padding_adds_nothing(algorithm: str, bad: float) -> None:
    x, w = normal((2, 5, 9, 10), np.float32, 1), normal((6, 5, 3, 3), np.float32, 2)
    x, w, groups = nearest(algorithm, x, w)
    w[:, :, 0, 0] = bad
    options: dict[str, Any] = {"groups": groups, "padding": 1}
    layer = pc.Conv2d(w, **options, algorithm=algorithm)
    for order in ORDERS:
        view = in_order(x, order)
        y = pc.conv2d(view, w, **options, algorithm=algorithm)
        # The first row and column meet that weight in the padding only.
        assert np.isfinite(y[:, :, 0]).all()
        assert np.isfinite(y[:, :, :, 0]).all()
        assert not np.isfinite(y[:, :, 1:, 1:]).any()
        np.testing.assert_array_equal(layer(view), y)
        if algorithm in SAME_ORDER:
            same = pc.conv2d(view, w, **options, algorithm="direct")
            np.testing.assert_array_equal(y, same)


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
def test_subnormals_are_kept(algorithm: str) -> None:
    for dtype in DTYPES:
        tiny = np.finfo(dtype).smallest_subnormal
        x, w = np.full((1, 4, 5, 5), tiny, dtype), np.ones((4, 4, 2, 2), dtype)
        x, w, groups = nearest(algorithm, x, w)
        y = pc.conv2d(x, w, groups=groups, algorithm=algorithm)
        np.testing.assert_array_equal(y, np.full(y.shape, w[0].size * tiny, dtype))


@pytest.mark.parametrize("order", ORDERS)
def test_output_follows_the_input_order(order: str) -> None:
    x = in_order(normal((2, 6, 7, 8), np.float32), order)
    w = normal((5, 6, 3, 3), np.float32)
    assert is_in_order(pc.conv2d(x, w), order)
    residual = normal((2, 5, 5, 6), np.float32, 4)
    expected = pc.conv2d(x, w, residual=in_order(residual, order))
    other = in_order(residual, ORDERS[order == "first"])
    np.testing.assert_array_equal(pc.conv2d(x, w, residual=other), expected)


def test_layout_names_the_axes() -> None:
    x, w = normal((2, 6, 7, 8), np.float32), normal((5, 6, 3, 3), np.float32)
    expected = pc.conv2d(x, w, padding=((0, 1), (2, 0)))
    y = pc.conv2d(
        np.ascontiguousarray(x.transpose(0, 2, 3, 1)),
        w,
        padding=((0, 1), (2, 0)),
        layout="NHWC",
    )
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), expected)
    line = pc.conv1d(x[:, :, 0].swapaxes(1, 2), w[:, :, 0], layout="NWC")
    expected = pc.conv1d(x[:, :, 0], w[:, :, 0])
    np.testing.assert_array_equal(line.swapaxes(1, 2), expected)
    # A view of it: channels are named last and lie first in memory.
    view = pc.conv2d(x.transpose(0, 2, 3, 1), w, layout="NHWC")
    assert view.transpose(0, 3, 1, 2).flags.c_contiguous


def test_unbatched() -> None:
    for case in CONV_CASES[2:3] + CONV_CASES[-6:]:
        x, w = conv_tensors(case, np.float32)
        y = CONV[case.rank](x[0], w, **case.options)
        whole = CONV[case.rank](x, w, **case.options)
        np.testing.assert_array_equal(y, whole[0])
    x, w = normal((6, 7, 8), np.float32), normal((5, 6, 3, 3), np.float32)
    last = pc.conv2d(np.ascontiguousarray(x.transpose(1, 2, 0)), w, layout="NHWC")
    np.testing.assert_array_equal(last.transpose(2, 0, 1), pc.conv2d(x, w))


def test_dtypes_promote() -> None:
    x, w = normal((1, 3, 5, 6), np.float32), normal((4, 3, 2, 2), np.float64)
    y = pc.conv2d(x, w)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, pc.conv2d(x.astype(np.float64), w))


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "groups"),
    [
        ((2, 1100, 5, 6), (40, 1100, 3, 3), 1),  # chunks of channels
        ((1, 160, 13, 14), (33, 160, 9, 9), 1),  # of taps
        ((1, 6, 50, 48), (20, 6, 45, 41), 1),  # of kernel rows that are one tap
        ((1, 40, 64, 64), (64, 20, 35, 12), 2),  # of such rows, in turned windows
        ((1, 2200, 4, 5), (66, 1100, 3, 3), 2),
    ],
    ids=str,
)
def test_sums_too_deep_for_a_cache_are_taken_in_chunks(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], groups: int
) -> None:
    x, w = normal(x_shape, np.float32, 1), normal(w_shape, np.float32, 2)
    bias = normal(w_shape[:1], np.float32, 3)
    options: dict[str, Any] = {"padding": 2, "groups": groups}
    problem = pc.explain(pc.conv2d, x, w, bias, **options).problem
    blocking = dict(choose(problem, CPU, "direct").plan.blocking)
    if _core.machine()["l2_bytes"] <= 2 << 20:
        chunk = blocking["chunk_taps"] * blocking["chunk_channels"]
        assert chunk < np.prod(w_shape[1:])
    whole = pc.conv2d(x, w, bias, **options, algorithm="im2col")
    for order in ORDERS:
        y = pc.conv2d(in_order(x, order), w, bias, **options, algorithm="direct")
        np.testing.assert_array_equal(y, whole)
        layer = pc.Conv2d(w, bias, **options, algorithm="direct")
        np.testing.assert_array_equal(layer(in_order(x, order)), whole)
