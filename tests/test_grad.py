"""Gradients of convolutions and transposed convolution.

The oracle is the adjoint in float64, scattered tap by tap with NumPy: no index arithmetic
is shared with the library. tests/test_grad_fuzz.py holds the adjoint's identity.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import CONV_CASES, FLOAT_ISAS, Array, ConvCase, ids, in_order, normal

ALGORITHMS = tuple(name for name, _ in _core.weight_algorithms())
DTYPES = (np.float32, np.float64)
ORDERS = ("first", "last")
CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
TRANSPOSED = {
    1: pc.conv_transpose1d,
    2: pc.conv_transpose2d,
    3: pc.conv_transpose3d,
}
CASES = tuple(case for case in CONV_CASES if case.padding_mode == "zeros")

each_case = pytest.mark.parametrize("case", CASES, ids=ids(CASES))


def geometry(case: ConvCase) -> tuple[Any, Any, Any, int]:
    """Strides, paddings, dilations and groups, one entry for each axis."""
    rank = len(case.x) - 2
    stride, dilation = (
        oracle.triple(case.stride, rank),
        oracle.triple(case.dilation, rank),
    )
    kernel = case.kernel
    pads = oracle.pairs(case.padding, case.x[2:], kernel, stride, dilation)
    return stride, pads, dilation, case.groups


def taps(out: tuple[int, ...], kernel: Any, window: Any) -> Any:
    """For each tap: its index, and the elements of padded x that outputs meet there."""
    stride, _, dilation, _ = window
    for tap in product(*map(range, kernel)):
        yield (
            tap,
            tuple(
                slice(t * d, t * d + s * (m - 1) + 1, s)
                for t, d, s, m in zip(tap, dilation, stride, out, strict=True)
            ),
        )


def input_gradient(
    x_shape: tuple[int, ...], w: Array, g: Array, window: Any
) -> tuple[Array, Array]:
    """The gradient and the sum of its terms' sizes, in float64."""
    _, pads, _, groups = window
    results = []
    for weight, grad in ((w, g), (np.abs(w), np.abs(g))):
        wide = weight.astype(np.float64)
        wide = wide.reshape(groups, -1, *w.shape[1:])
        given = grad.astype(np.float64).reshape(g.shape[0], groups, -1, *g.shape[2:])
        padded = np.zeros(
            (
                x_shape[0],
                groups,
                x_shape[1] // groups,
                *(n + sum(p) for n, p in zip(x_shape[2:], pads, strict=True)),
            )
        )
        for tap, where in taps(g.shape[2:], w.shape[2:], window):
            part = np.einsum("ngk...,gkc->ngc...", given, wide[(..., *tap)])
            padded[(slice(None), slice(None), slice(None), *where)] += part
        inside = tuple(
            slice(p[0], p[0] + n) for n, p in zip(x_shape[2:], pads, strict=True)
        )
        results.append(padded[(..., *inside)].reshape(x_shape))
    return results[0], results[1]


def weight_gradient(
    x: Array, w_shape: tuple[int, ...], g: Array, window: Any
) -> tuple[Array, Array]:
    """The gradient and the sum of its terms' sizes, in float64."""
    _, pads, _, groups = window
    results = []
    for values, grad in ((x, g), (np.abs(x), np.abs(g))):
        padded = np.pad(values.astype(np.float64), ((0, 0), (0, 0), *pads))
        padded = padded.reshape(x.shape[0], groups, -1, *padded.shape[2:])
        given = grad.astype(np.float64).reshape(g.shape[0], groups, -1, *g.shape[2:])
        out = np.zeros((groups, w_shape[0] // groups, *w_shape[1:]))
        for tap, where in taps(g.shape[2:], w_shape[2:], window):
            seen = padded[(slice(None), slice(None), slice(None), *where)]
            axes = "dhw"[: x.ndim - 2]
            out[(..., *tap)] = np.einsum(f"ngc{axes},ngk{axes}->gkc", seen, given)
        results.append(out.reshape(w_shape))
    return results[0], results[1]


def worst(y: Array, truth: Array, scale: Array, terms: int) -> float:
    bound = oracle.gamma(terms, y.dtype) * scale
    bound = bound + terms * float(np.finfo(y.dtype).smallest_subnormal)
    return float((np.abs(y - truth) / bound).max(initial=0.0))


@each_case
def test_input_gradient(case: ConvCase) -> None:
    w = normal(case.w, np.float32, 2)
    for dtype in DTYPES:
        x, weight = normal(case.x, dtype, 1), w.astype(dtype)
        rank = x.ndim - 2
        g = normal(CONV[rank](x, weight, **case.options).shape, dtype, 3)
        window = geometry(case)
        truth, scale = input_gradient(case.x, weight, g, window)
        terms = int(np.prod(case.w)) // case.w[1] // case.groups + 1
        function = getattr(pc.grad, f"conv{rank}d_input")
        options = {
            key: value for key, value in case.options.items() if key != "padding_mode"
        }
        for order in ORDERS:
            y = function(
                case.x, weight, in_order(g, order), accuracy="strict", **options
            )
            assert y.dtype == dtype
            assert y.shape == case.x
            assert worst(y, truth, scale, terms) <= 1, order


@each_case
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weight_gradient(algorithm: str, case: ConvCase) -> None:
    for dtype in DTYPES:
        x = normal(case.x, dtype, 1)
        rank = x.ndim - 2
        y_shape = CONV[rank](x, normal(case.w, dtype, 2), **case.options).shape
        g = normal(y_shape, dtype, 3)
        truth, scale = weight_gradient(x, case.w, g, geometry(case))
        terms = g.size // g.shape[1] + 1
        function = getattr(pc.grad, f"conv{rank}d_weight")
        options = {
            key: value for key, value in case.options.items() if key != "padding_mode"
        }
        for order in ORDERS:
            try:
                dw = function(
                    in_order(x, order),
                    case.w,
                    in_order(g, order),
                    algorithm=algorithm,
                    **options,
                )
            except pc.UnsupportedAlgorithm as error:
                pytest.skip(str(error).splitlines()[0])
            assert dw.dtype == dtype
            assert dw.shape == case.w
            assert worst(dw, truth, scale, terms) <= 1, order


TRANSPOSED_CASES: tuple[tuple[Any, ...], ...] = (
    # x, weight, stride, padding, output_padding, groups, dilation
    ((2, 5, 7, 6), (5, 4, 2, 2), 2, 0, 0, 1, 1),
    ((1, 5, 7, 6), (5, 4, 4, 4), 2, 1, 0, 1, 1),
    ((1, 3, 5, 4), (3, 4, 3, 3), 2, 1, 1, 1, 1),
    ((1, 4, 5, 4), (4, 3, 3, 3), 1, 1, 0, 1, 2),
    ((2, 6, 5, 4), (6, 2, 3, 3), (2, 3), (1, 2), (1, 0), 2, 1),
    ((1, 8, 6, 5), (8, 1, 5, 5), 2, 2, 1, 8, 1),
    ((1, 3, 4, 4), (3, 2, 2, 2), 5, 0, 3, 1, 1),  # strides over the kernel
    ((1, 3, 4, 4), (3, 2, 3, 3), 4, ((1, 2), (0, 3)), 0, 1, 3),
    ((1, 3, 4, 5), (3, 2, 3, 2), 3, 0, 2, 1, (2, 6)),  # strides and dilations share
    ((1, 3, 6, 6), (3, 2, 3, 3), 2, 4, 0, 1, 1),  # more padding than kernel
    ((2, 4, 9), (4, 3, 4), 3, 1, 2, 1, 1),
    ((1, 4, 3, 4, 3), (4, 2, 2, 3, 2), (2, 1, 3), (0, 1, 1), (1, 0, 2), 2, 1),
)


@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_transposed(case: tuple[Any, ...]) -> None:
    x_shape, w_shape, stride, padding, extra, groups, dilation = case
    rank = len(x_shape) - 2
    for dtype in DTYPES:
        x, w = normal(x_shape, dtype, 1), normal(w_shape, dtype, 2)
        bias = normal((w_shape[1] * groups,), dtype, 3)
        strides, holes = oracle.triple(stride, rank), oracle.triple(dilation, rank)
        more = oracle.triple(extra, rank)
        pads = oracle.pairs(padding, x_shape[2:], w_shape[2:], strides, holes)
        extents = tuple(
            (n - 1) * s - sum(p) + d * (k - 1) + e + 1
            for n, s, p, d, k, e in zip(
                x_shape[2:], strides, pads, holes, w_shape[2:], more, strict=True
            )
        )
        shape = (x_shape[0], w_shape[1] * groups, *extents)
        truth, scale = input_gradient(shape, w, x, (strides, pads, holes, groups))
        column = bias.astype(np.float64).reshape(-1, *(1,) * rank)
        terms = int(np.prod(w_shape)) // w_shape[1] + 2
        for order in ORDERS:
            y = TRANSPOSED[rank](
                in_order(x, order),
                w,
                bias,
                stride,
                padding,
                extra,
                groups,
                dilation,
                accuracy="strict",
            )
            assert y.shape == shape
            assert worst(y, truth + column, scale + abs(column), terms) <= 1
            held = in_order(np.full(shape, np.nan, dtype), order)
            again = TRANSPOSED[rank](
                x,
                w,
                bias,
                stride,
                padding,
                extra,
                groups,
                dilation,
                accuracy="strict",
                out=held,
            )
            assert again is held
            np.testing.assert_array_equal(again, y)


def test_transposed_epilogue() -> None:
    x, w = normal((2, 3, 5, 4), np.float32, 1), normal((3, 4, 2, 3), np.float32, 2)
    bias = normal((4,), np.float32, 3)
    plain = pc.conv_transpose2d(x, w, bias, 3)
    residual = normal(plain.shape, np.float32, 4)
    y = pc.conv_transpose2d(x, w, bias, 3, activation="relu", residual=residual)
    np.testing.assert_allclose(y, np.maximum(plain + residual, 0), atol=1e-6)
    assert (y > 0).any()
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    z = pc.conv_transpose2d(last, w, bias, 3, layout="NHWC")
    np.testing.assert_array_equal(z.transpose(0, 3, 1, 2), plain)
    np.testing.assert_array_equal(pc.conv_transpose2d(x[0], w, bias, 3), plain[0])


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, w = normal((2, 6, 9, 8), np.float64, 1), normal((6, 4, 3, 2), np.float64, 2)
    for options in (
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (3, 2), "dilation": 2, "output_padding": (2, 1)},
        {"groups": 2, "stride": 2},
    ):
        theirs = torch.nn.functional.conv_transpose2d(
            torch.from_numpy(x), torch.from_numpy(w), **options
        )
        y = pc.conv_transpose2d(x, w, **options)
        np.testing.assert_allclose(y, theirs.numpy(), rtol=1e-12, atol=1e-12)
    weight = normal((4, 3, 3, 3), np.float64, 3)
    for options in (
        {},
        {"stride": 2, "padding": 1},
        {"padding": 2, "dilation": 2},
        {"groups": 2, "stride": (1, 2)},
    ):
        taken = weight
        y = pc.conv2d(x, taken, **{"groups": 2, **options})
        g = normal(y.shape, np.float64, 4)
        there = [torch.from_numpy(a) for a in (x, taken, g)]
        more = {"groups": 2, **options}
        dx = torch.nn.grad.conv2d_input(x.shape, there[1], there[2], **more)
        dw = torch.nn.grad.conv2d_weight(there[0], taken.shape, there[2], **more)
        ours = pc.grad.conv2d_input(x.shape, taken, g, **more)
        np.testing.assert_allclose(ours, dx.numpy(), rtol=1e-12, atol=1e-12)
        ours = pc.grad.conv2d_weight(x, taken.shape, g, **more)
        np.testing.assert_allclose(ours, dw.numpy(), rtol=1e-12, atol=1e-11)


def test_weight_gradient_out_and_views() -> None:
    x, g = normal((3, 5, 8, 7), np.float32, 1), normal((3, 9, 4, 4), np.float32, 2)
    expected = pc.grad.conv2d_weight(x, (9, 5, 3, 3), g, 2, 1)
    wide = np.full((18, 5, 3, 4), 7, np.float32)
    held = wide[::-2, :, :, 1:]
    y = pc.grad.conv2d_weight(x, (9, 5, 3, 3), g, 2, 1, out=held)
    assert y is held
    np.testing.assert_array_equal(held, expected)
    assert (wide == 7).sum() == wide.size - held.size
    views = (x[:, ::-1, ::-1].copy()[:, ::-1, ::-1], np.asfortranarray(x))
    for view in views:
        y = pc.grad.conv2d_weight(view, (9, 5, 3, 3), np.asfortranarray(g), 2, 1)
        np.testing.assert_array_equal(y, expected)
    mixed = pc.grad.conv2d_weight(x.astype(np.float64), (9, 5, 3, 3), g, 2, 1)
    assert mixed.dtype == np.float64
    last = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, g)]
    y = pc.grad.conv2d_weight(last[0], (9, 5, 3, 3), last[1], 2, 1, layout="NHWC")
    np.testing.assert_array_equal(y, expected)
    one = pc.grad.conv2d_weight(x[0], (9, 5, 3, 3), g[0], 2, 1)
    first = pc.grad.conv2d_weight(x[:1], (9, 5, 3, 3), g[:1], 2, 1)
    np.testing.assert_array_equal(one, first)


@pytest.mark.parametrize("name", FLOAT_ISAS)
def test_forced_isas(name: str, isa: Callable[[str], None]) -> None:
    isa(name)
    x, g = normal((2, 17, 9, 40), np.float32, 1), normal((2, 35, 9, 40), np.float32, 2)
    window = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    truth, scale = weight_gradient(x, (35, 17, 3, 3), g, window)
    dw = pc.grad.conv2d_weight(x, (35, 17, 3, 3), g, padding=1)
    assert worst(dw, truth, scale, 721) <= 1


def test_threads_change_no_bit(threads: Callable[[int], None]) -> None:
    # Large enough for several passes over samples, and for parts of a line.
    for x_shape, w_shape, options in (
        ((5, 40, 60, 60), (70, 40, 3, 3), {"padding": 1}),
        ((2, 3, 1, 3000), (5, 3, 1, 7), {}),
    ):
        x, w = normal(x_shape, np.float32, 1), normal(w_shape, np.float32, 2)
        g = normal(pc.conv2d(x, w, **options).shape, np.float32, 3)
        results = []
        for count in (1, 2, 3):
            threads(count)
            results.append(pc.grad.conv2d_weight(x, w_shape, g, **options))
        np.testing.assert_array_equal(results[1], results[0])
        np.testing.assert_array_equal(results[2], results[0])
        strides = oracle.triple(1, 2)
        pads = oracle.pairs(
            options.get("padding", 0), x_shape[2:], w_shape[2:], strides, strides
        )
        truth, scale = weight_gradient(x, w_shape, g, (strides, pads, strides, 1))
        assert worst(results[0], truth, scale, g.size // g.shape[1]) <= 1


def test_an_empty_batch_has_zero_gradients() -> None:
    x, g = np.zeros((0, 3, 6, 6), np.float32), np.zeros((0, 4, 4, 4), np.float32)
    w = normal((4, 3, 3, 3), np.float32)
    assert (pc.grad.conv2d_weight(x, (4, 3, 3, 3), g) == 0).all()
    assert pc.grad.conv2d_input((0, 3, 6, 6), w, g).shape == (0, 3, 6, 6)
    assert pc.conv_transpose2d(g, w).shape == (0, 3, 6, 6)


def test_gradients_match_finite_differences() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(2, 4, 6, 5)), rng.normal(size=(6, 2, 3, 2))
    options: dict[str, Any] = {"stride": (2, 1), "padding": (1, 0), "groups": 2}
    g = rng.normal(size=pc.conv2d(x, w, **options).shape)
    dx = pc.grad.conv2d_input(x.shape, w, g, **options)
    dw = pc.grad.conv2d_weight(x, w.shape, g, **options)
    step = 1e-6
    for array, gradient in ((x, dx), (w, dw)):
        for _ in range(12):
            place = tuple(rng.integers(0, n) for n in array.shape)
            kept = array[place]
            sums = []
            for sign in (1, -1):
                array[place] = kept + sign * step
                sums.append((pc.conv2d(x, w, **options) * g).sum())
            array[place] = kept
            slope = (sums[0] - sums[1]) / (2 * step)
            assert abs(slope - gradient[place]) < 1e-6 * (1 + abs(slope))
