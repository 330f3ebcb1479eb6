"""Every registered convolution x every case x dtype x memory order, within its bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import (
    ACTIVATIONS,
    CONV_CASES,
    ConvCase,
    conv_tensors,
    ids,
    in_order,
    integers,
    normal,
)

ALGORITHMS = tuple(name for name, _ in _core.conv_algorithms())
# They add the products of an output in one order: taps, then channels.
SAME_ORDER = ("im2col", "implicit_gemm", "direct")
# They round by tiles: whole numbers are not exact, and the bound is their own.
WINOGRAD = ("winograd", "winograd_staged")
DIRECT_SUMS = tuple(name for name in ALGORITHMS if name not in WINOGRAD)
DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
each_case = pytest.mark.parametrize("case", CONV_CASES, ids=ids(CONV_CASES))


def run(case: ConvCase, x: Any, w: Any, algorithm: str, **more: Any) -> Any:
    """The case through pyconv; skips where the algorithm refuses the problem."""
    try:
        return CONV[case.rank](x, w, algorithm=algorithm, **case.options, **more)
    except pc.UnsupportedAlgorithm as refusal:
        assert algorithm != "reference", "the reference must take every problem"
        pytest.skip(f"refused: {refusal}")


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
                x, w, **more, **case.options, winograd=algorithm in WINOGRAD
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
                y = run(case, in_order(x, order), w, algorithm)
                np.testing.assert_array_equal(y, exact, err_msg=f"{algorithm} {order}")


@each_case
def test_one_order_of_summation(case: ConvCase) -> None:
    x, w = conv_tensors(case, np.float32)
    bias = normal((case.k,), np.float32, 3)
    first = run(case, x, w, SAME_ORDER[0], bias=bias)
    for algorithm in SAME_ORDER:
        for order in ORDERS:
            y = run(case, in_order(x, order), w, algorithm, bias=bias)
            np.testing.assert_array_equal(y, first, err_msg=f"{algorithm} {order}")


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
    x, w = normal((2, 32, 30, 31), np.float32, 1), normal((40, 32, 3, 3), np.float32, 2)
    for order in ORDERS:
        threads(1)
        y = pc.conv2d(in_order(x, order), w, padding=1, algorithm=algorithm)
        for count in (2, 3, 5):
            threads(count)
            again = pc.conv2d(in_order(x, order), w, padding=1, algorithm=algorithm)
            np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("name", _core.isa_names())
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
            answer = oracle.conv(x, w, bias, **case.options)
            for order in ORDERS:
                y = run(case, in_order(x, order), w, algorithm, bias=bias)
                assert answer.worst(y) <= 1, (case.name, dtype, order)
    # One order of summation on this instruction set too.
    case = CONV_CASES[2]
    x, w = conv_tensors(case, np.float32)
    results = [run(case, x, w, one) for one in SAME_ORDER]
    np.testing.assert_array_equal(*results)


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
    for order in ORDERS:
        clean = pc.conv2d(in_order(x, order), w, algorithm=algorithm)
        dirty = x.copy()
        dirty[1, 3, 4, 5] = bad
        y = pc.conv2d(in_order(dirty, order), w, algorithm=algorithm)
        touched = np.zeros(y.shape, bool)
        touched[1, :, 2:5, 3:6] = True
        assert not np.isfinite(y[touched]).any()
        if algorithm in WINOGRAD:  # what shared a tile was computed again directly
            np.testing.assert_allclose(y[~touched], clean[~touched], rtol=0, atol=1e-4)
        else:
            np.testing.assert_array_equal(y[~touched], clean[~touched])


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
def test_subnormals_are_kept(algorithm: str) -> None:
    for dtype in DTYPES:
        tiny = np.finfo(dtype).smallest_subnormal
        x = np.full((1, 3, 5, 5), tiny, dtype)
        y = pc.conv2d(x, np.ones((4, 3, 2, 2), dtype), algorithm=algorithm)
        np.testing.assert_array_equal(y, np.full((1, 4, 4, 4), 12 * tiny, dtype))


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


def odd_views(x: Any) -> dict[str, Any]:
    """Arrays equal to x in every way of lying in memory that must be taken."""
    every_other = (slice(None, None, 2),) * 4
    gaps = np.zeros([2 * n for n in x.shape], x.dtype)[every_other]
    gaps[...] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "gaps": gaps,
        "negative": np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1],
        "fortran": np.asfortranarray(x),
        "width_first": np.ascontiguousarray(x.transpose(3, 1, 0, 2)).transpose(
            2, 1, 3, 0
        ),
        "misaligned": misaligned,
        "byte_swapped": x.astype(x.dtype.newbyteorder()),
        "read_only": locked,
        "subclass": x.view(np.matrix) if x.ndim == 2 else x.view(np.recarray),
    }


@each_algorithm
def test_any_view_is_taken(algorithm: str) -> None:
    for dtype in DTYPES:
        x, w = normal((2, 5, 8, 9), dtype, 1), normal((6, 5, 2, 3), dtype, 2)
        options: dict[str, Any] = {
            "padding": 1,
            "stride": (2, 1),
            "algorithm": algorithm,
        }
        try:
            expected = pc.conv2d(x, w, **options)
        except pc.UnsupportedAlgorithm as refusal:
            pytest.skip(f"refused: {refusal}")
        for (name, x_view), w_view in zip(
            odd_views(x).items(), odd_views(w).values(), strict=True
        ):
            before = x_view.tobytes()
            y = pc.conv2d(x_view, w_view, **options)
            np.testing.assert_array_equal(y, expected, err_msg=name)
            assert type(y) is np.ndarray
            assert y.dtype == dtype
            assert x_view.tobytes() == before


@each_algorithm
def test_broadcast_views(algorithm: str) -> None:
    x = np.broadcast_to(normal((1, 1, 7, 1), np.float32), (3, 4, 7, 9))
    w = np.broadcast_to(normal((5, 1, 1, 2), np.float32), (5, 4, 3, 2))
    y = pc.conv2d(x, w, algorithm=algorithm)
    np.testing.assert_array_equal(y, pc.conv2d(x.copy(), w.copy(), algorithm=algorithm))
    scalar = np.broadcast_to(np.float32(2), (1, 3, 5, 5))
    bias = np.broadcast_to(np.float32(3), (4,))
    y = pc.conv2d(scalar, w[:4, :3], bias, algorithm=algorithm)
    assert oracle.conv(scalar, w[:4, :3], bias).worst(y) <= 1


@each_algorithm
def test_out(algorithm: str) -> None:
    x, w = normal((2, 5, 8, 9), np.float32, 1), normal((6, 5, 3, 3), np.float32, 2)
    expected = pc.conv2d(x, w, algorithm=algorithm)
    for order in ORDERS:
        held = in_order(np.full(expected.shape, np.nan, np.float32), order)
        assert pc.conv2d(x, w, algorithm=algorithm, out=held) is held
        np.testing.assert_array_equal(held, expected)
        assert pc.conv2d(x, w, algorithm=algorithm, out=held) is held
    wide = np.full((2, 12, 8, 20), 7, np.float32)
    held = wide[:, ::-2, 1:7, 2:16:2]
    assert pc.conv2d(x, w, algorithm=algorithm, out=held) is held
    np.testing.assert_array_equal(held, expected)
    rest = np.ones(wide.shape, bool)
    rest[:, ::-2, 1:7, 2:16:2] = False
    assert (wide[rest] == 7).all(), "wrote outside of out"


def test_residual_may_be_the_input() -> None:
    x, w = normal((1, 4, 6, 7), np.float32, 1), normal((4, 4, 3, 3), np.float32, 2)
    answer = oracle.conv(x, w, padding=1, residual=x, activation="relu")
    y = pc.conv2d(x, w, padding=1, residual=x, activation="relu")
    assert answer.worst(y) <= 1


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (0, 3, 3, 3)])
def test_empty_batch(shape: tuple[int, ...]) -> None:
    y = pc.conv2d(np.zeros(shape, np.float32), np.zeros((4, 3, 3, 3), np.float32))
    assert y.shape == (0, 4, shape[2] - 2, shape[3] - 2)
    assert y.dtype == np.float32


def test_numpy_integers_and_lists_are_parameters() -> None:
    x, w = normal((1, 4, 9, 9), np.float32, 1), normal((4, 2, 3, 3), np.float32, 2)
    expected = pc.conv2d(x, w, None, (2, 1), ((1, 0), (2, 2)), 1, 2)
    y = pc.conv2d(
        x,
        w,
        None,
        [np.int64(2), np.uint8(1)],
        [[1, 0], [2, 2]],
        np.int32(1),
        np.int16(2),
    )
    np.testing.assert_array_equal(y, expected)
