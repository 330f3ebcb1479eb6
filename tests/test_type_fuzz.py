"""Halves and integers, on problems drawn by hypothesis: forward, layers, transposed.

The truth of halves is float32's: their sum, whatever ends it, and one rounding more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv as pc
from tests import oracle
from tests.cases import Array, ConvCase, in_order, normal
from tests.element_types import HALVES, INTEGERS, UNIT, whole
from tests.test_element_types import CONV, exact_conv, pc_result, wrapped
from tests.test_fuzz import conv_problems, orders

LAYERS = {1: pc.Conv1d, 2: pc.Conv2d, 3: pc.Conv3d}
TRANSPOSED = {1: pc.conv_transpose1d, 2: pc.conv_transpose2d, 3: pc.conv_transpose3d}
# float32 and float64 have tests of their own; what is widened for halves is asked by name.
OF_HALVES = ("reference", "widened", "dot_product", "auto")
OF_INTEGERS = ("reference", "dot_product", "auto")

halves = st.sampled_from(HALVES)
seeds = st.integers(0, 2**32 - 1)
accuracies = st.sampled_from(["default", "strict"])
layouts = st.sampled_from(["NCHW", "NHWC"])
steps = st.sampled_from(["dense", "backwards", "gaps"])


def laid(a: Array, order: str, kind: str) -> Array:
    """A logical (N, C, *spatial) in a memory order: dense, backwards or with gaps."""
    if kind == "dense":
        return in_order(a, order)
    if kind == "backwards":
        return in_order(a[:, ::-1, ..., ::-1], order)[:, ::-1, ..., ::-1]
    room = in_order(np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype), order)
    room[..., 1::2] = a
    return room[..., 1::2]


def in_layout(a: Array, layout: str) -> Array:
    """The axes in the order that a layout names."""
    return a if layout == "NCHW" else np.moveaxis(a, 1, -1)


def rounded(answer: oracle.Answer, dtype: Any) -> oracle.Answer:
    """A float32 answer as a half."""
    return oracle.rounded(answer, dtype, UNIT[dtype])


def wide(a: Array) -> Array:
    """Halves as the floats that they are."""
    return a.astype(np.float32)


@settings(max_examples=200)
@given(
    conv_problems(), halves, orders, steps, layouts, accuracies, st.booleans(), seeds
)
def test_convolutions_of_halves(
    problem: Any,
    dtype: Any,
    order: str,
    kind: str,
    layout: str,
    accuracy: str,
    is_added: bool,
    seed: int,
) -> None:
    x_shape, w_shape, options, has_bias = problem
    rank = len(x_shape) - 2
    x, w = normal(x_shape, dtype, seed), normal(w_shape, dtype, seed + 1)
    bias = normal(w_shape[:1], np.float32, seed + 2) if has_bias else None
    plain = {key: one for key, one in options.items() if key != "activation"}
    shape = CONV[rank](x, w, **plain).shape
    residual = normal(shape, dtype, seed + 3) if is_added else None
    answers = {
        own: rounded(
            oracle.conv(
                wide(x),
                wide(w),
                bias,
                **options,
                residual=None if residual is None else wide(residual),
                rounding=own,
            ),
            dtype,
        )
        for own in ("direct", "winograd")
    }
    given_x = in_layout(laid(x, order, kind), layout)
    filters = laid(w, "first", kind)
    more: dict[str, Any] = {"layout": layout, "accuracy": accuracy, **options}
    added = None if residual is None else in_layout(laid(residual, order, kind), layout)
    for algorithm in OF_HALVES:
        # Whole arrays, so that what is written beside the result would be seen.
        room = laid(np.full(shape, np.nan, dtype), order, kind)
        before = None if room.base is None else np.array(room.base, copy=True)
        held = in_layout(room, layout)
        try:
            y = CONV[rank](
                given_x,
                filters,
                bias,
                residual=added,
                algorithm=algorithm,
                out=held,
                **more,
            )
        except pc.UnsupportedAlgorithm:
            assert algorithm == "dot_product"
            continue
        assert y is held
        assert y.dtype == dtype
        is_tiled = accuracy == "default" and algorithm in ("widened", "auto")
        answer = answers["winograd" if is_tiled else "direct"]
        assert answer.worst(room) <= 1, algorithm
        if before is not None and kind == "gaps":
            room[...] = np.nan
            np.testing.assert_array_equal(wide(room.base), wide(before))
    layer = LAYERS[rank](filters, bias, algorithm="widened", **more)
    for _ in range(2):  # the second call takes what the first one packed
        y = layer(given_x, added)
        back = y if layout == "NCHW" else np.moveaxis(y, -1, 1)
        own = "winograd" if accuracy == "default" else "direct"
        assert answers[own].worst(back) <= 1, "layer"


@settings(max_examples=150)
@given(conv_problems(), st.sampled_from(INTEGERS), orders, steps, seeds)
def test_convolutions_of_integers(
    problem: Any, dtype: Any, order: str, kind: str, seed: int
) -> None:
    x_shape, w_shape, options, has_bias = problem
    options.pop("activation")
    case = ConvCase("drawn", x_shape, w_shape[0], w_shape[2:], **options)
    x, w = whole(x_shape, dtype, seed), whole(w_shape, dtype, seed + 1)
    result = pc_result(dtype)
    bias = whole((case.k,), result, seed + 2) if has_bias else None
    exact = exact_conv(case, x, w)
    if bias is not None:
        exact = exact + bias.astype(object).reshape(-1, *(1,) * case.rank)
    truth = wrapped(exact, result)
    for algorithm in OF_INTEGERS:
        try:
            y = CONV[case.rank](
                laid(x, order, kind),
                laid(w, "first", kind),
                bias,
                algorithm=algorithm,
                **options,
            )
        except pc.UnsupportedAlgorithm:
            assert algorithm == "dot_product"
            continue
        np.testing.assert_array_equal(y, truth, err_msg=algorithm)


@st.composite
def transposed_problems(draw: Any) -> tuple[Any, ...]:
    """Shapes of x and weight, and options, with an output of at least one pixel."""
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n, c, k = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 8))
    spatial, kernel = [], []
    window: dict[str, list[Any]] = {
        name: [] for name in ("stride", "padding", "output_padding", "dilation")
    }
    for _ in range(rank):
        size, r = draw(st.integers(1, 7 if rank > 1 else 30)), draw(st.integers(1, 4))
        s, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        reach = (size - 1) * s + d * (r - 1) + 1
        before = draw(st.integers(0, min(4, reach - 1)))
        after = draw(st.integers(0, min(4, reach - 1 - before)))
        spatial.append(size)
        kernel.append(r)
        window["stride"].append(s)
        window["dilation"].append(d)
        window["padding"].append((before, after))
        window["output_padding"].append(draw(st.integers(0, max(s, d) - 1)))
    options = {name: tuple(values) for name, values in window.items()}
    return (n, groups * c, *spatial), (groups * c, k, *kernel), options, groups


def transposed_answer(
    x: Array, w: Array, options: Any, groups: int, **epilogue: Any
) -> oracle.Answer:
    """The convolution that a transposed one is: x with zeros between, taps reversed."""
    rank = x.ndim - 2
    spread = np.zeros(
        (
            *x.shape[:2],
            *(
                (n - 1) * s + 1
                for n, s in zip(x.shape[2:], options["stride"], strict=True)
            ),
        ),
        x.dtype,
    )
    spread[(..., *(slice(None, None, s) for s in options["stride"]))] = x
    for axis in range(rank):
        reach = options["dilation"][axis] * (w.shape[axis + 2] - 1)
        before, after = options["padding"][axis]
        sides = [reach - before, reach - after + options["output_padding"][axis]]
        kept = [slice(None)] * spread.ndim
        end = spread.shape[axis + 2] + min(sides[1], 0)
        kept[axis + 2] = slice(-min(sides[0], 0), end)
        pads = [(0, 0)] * spread.ndim
        pads[axis + 2] = (max(sides[0], 0), max(sides[1], 0))
        spread = np.pad(spread[tuple(kept)], pads)
    turned = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)
    turned = turned.reshape(-1, *turned.shape[2:])
    turned = turned[(..., *(slice(None, None, -1),) * rank)]
    return oracle.conv(
        spread,
        turned,
        dilation=options["dilation"],
        groups=groups,
        **epilogue,
    )


@settings(max_examples=200)
@given(transposed_problems(), halves, orders, steps, accuracies, st.booleans(), seeds)
def test_transposed_convolutions_of_halves(
    problem: Any,
    dtype: Any,
    order: str,
    kind: str,
    accuracy: str,
    is_ended: bool,
    seed: int,
) -> None:
    x_shape, w_shape, options, groups = problem
    rank = len(x_shape) - 2
    x, w = normal(x_shape, dtype, seed), normal(w_shape, dtype, seed + 1)
    epilogue: dict[str, Any] = {}
    taken: dict[str, Any] = {}
    if is_ended:
        shape = TRANSPOSED[rank](x, w, groups=groups, **options).shape
        residual = normal(shape, dtype, seed + 3)
        epilogue["bias"] = normal((shape[1],), np.float32, seed + 2)
        epilogue["activation"] = ("relu", "tanh", "gelu")[seed % 3]
        taken = {**epilogue, "residual": laid(residual, order, kind)}
        epilogue["residual"] = wide(residual)
    own = "direct" if accuracy == "strict" else "winograd"
    answer = transposed_answer(
        wide(x), wide(w), options, groups, **epilogue, rounding=own
    )
    for _ in range(2):  # the second call takes the plans that are remembered
        y = TRANSPOSED[rank](
            laid(x, order, kind),
            laid(w, "first", kind),
            groups=groups,
            accuracy=accuracy,
            **options,
            **taken,
        )
        assert y.dtype == dtype
        assert rounded(answer, dtype).worst(y) <= 1
