"""Layers: the function's results, from weights packed once."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests.cases import CONV_CASES, ConvCase, conv_tensors, ids, in_order, normal

LAYERS = {1: pc.Conv1d, 2: pc.Conv2d, 3: pc.Conv3d}
FUNCTIONS = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}


@pytest.mark.parametrize("case", CONV_CASES, ids=ids(CONV_CASES))
@pytest.mark.parametrize("algorithm", pc.algorithms("conv"))
def test_a_layer_equals_the_function(case: ConvCase, algorithm: str) -> None:
    x, w = conv_tensors(case, np.float32)
    bias = normal((case.k,), np.float32, 3)
    layer = LAYERS[case.rank](w, bias, **case.options, algorithm=algorithm)
    for order in ("first", "last", "first"):
        given = in_order(x, order)
        try:
            expected = FUNCTIONS[case.rank](
                given, w, bias, **case.options, algorithm=algorithm
            )
        except pc.UnsupportedAlgorithm:
            with pytest.raises(pc.UnsupportedAlgorithm):
                layer(given)
            continue
        for _ in range(2):  # the long road, then the short one
            np.testing.assert_array_equal(layer(given), expected)


def test_weights_are_the_layers_own() -> None:
    x, w = normal((1, 4, 6, 7), np.float32), normal((5, 4, 3, 3), np.float32)
    layer = pc.Conv2d(w)
    before = layer(x)
    w[...] = 0
    np.testing.assert_array_equal(layer(x), before)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[...] = 0
    assert layer.bias is None


def test_layers_of_one_shape_do_not_mix() -> None:
    x = normal((1, 4, 6, 7), np.float32)
    weights = [normal((5, 4, 3, 3), np.float32, seed) for seed in range(4)]
    layers = [pc.Conv2d(w) for w in weights]
    for _ in range(2):
        for layer, w in zip(layers, weights, strict=True):
            np.testing.assert_array_equal(layer(x), pc.conv2d(x, w))


def test_many_shapes_through_one_layer() -> None:
    w = normal((6, 3, 3, 3), np.float32)
    layer = pc.Conv2d(w, stride=2, padding="same", activation="relu")
    for extent in range(1, 20):
        for n in (0, 1, 3):
            x = normal((n, 3, extent, 21 - extent), np.float32, extent)
            y = pc.conv2d(x, w, stride=2, padding="same", activation="relu")
            np.testing.assert_array_equal(layer(x), y)
    x64 = normal((1, 3, 8, 8), np.float64)
    expected = pc.conv2d(x64, w, stride=2, padding="same", activation="relu")
    np.testing.assert_array_equal(layer(x64), expected)
    assert layer(x64).dtype == np.float64


def test_out_and_residual() -> None:
    x, w = normal((2, 4, 6, 7), np.float32), normal((5, 4, 3, 3), np.float32)
    layer = pc.Conv2d(w, padding=1, activation="relu")
    residual = normal((2, 5, 6, 7), np.float32, 5)
    out = np.empty((2, 5, 6, 7), np.float32)
    expected = pc.conv2d(x, w, padding=1, activation="relu", residual=residual)
    for _ in range(2):
        assert layer(x, residual, out=out) is out
        np.testing.assert_array_equal(out, expected)
    with pytest.raises(pc.ShapeError, match="residual"):
        layer(x, residual[:, :4])


def test_instruction_sets_do_not_share_packed_weights(isa: Any) -> None:
    x, w = normal((1, 4, 6, 7), np.float32), normal((37, 4, 3, 3), np.float32)
    layer = pc.Conv2d(w, algorithm="direct")
    for name in pc.info()["isas"]:
        isa(name)
        np.testing.assert_array_equal(layer(x), pc.conv2d(x, w, algorithm="direct"))


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize(
    "twin", [lambda a: pickle.loads(pickle.dumps(a)), copy.deepcopy, copy.copy]
)
def test_copies_are_layers_of_their_own(twin: Any, called: bool) -> None:
    x = normal((1, 4, 6, 7), np.float32)
    layer = pc.Conv2d(normal((5, 4, 3, 3), np.float32), padding=1, activation="relu")
    expected = layer(x) if called else pc.conv2d(x, layer.weight, padding=1).clip(0)
    other = twin(layer)
    np.testing.assert_array_equal(other(x), expected)
    with pytest.raises(ValueError, match="read-only"):
        other.weight[...] = 0
    assert other._key != layer._key


def test_packed_weights_go_with_their_layer() -> None:
    w = normal((64, 64, 3, 3), np.float32)
    x = normal((1, 64, 8, 8), np.float32)
    before = pc.output_pool_info()["in_use_bytes"]
    for _ in range(3):
        layer = pc.Conv2d(w, algorithm="direct")
        for _ in range(2):
            layer(x)
        assert pc.output_pool_info()["in_use_bytes"] >= before
        del layer
        gc.collect()
    assert pc.output_pool_info()["in_use_bytes"] == before


def test_trace_sees_a_layer() -> None:
    layer = pc.Conv2d(np.ones((2, 3, 3, 3), np.float32))
    with pc.trace() as calls:
        layer(np.ones((1, 3, 5, 5), np.float32))
    assert [call.operation for call in calls] == ["conv2d"]


def test_explain_takes_a_layer() -> None:
    layer = pc.Conv2d(np.ones((64, 64, 3, 3), np.float32), padding=1)
    x = np.ones((1, 64, 28, 28), np.float32)
    told = pc.explain(layer, x)
    chosen = next(one for one in told.candidates if one.name == told.chosen)
    alike = [
        one
        for one in told.candidates
        if one.supported and one.rounding == chosen.rounding
    ]
    assert chosen == min(alike, key=lambda one: one.cost_us)  # packing costs nothing
    assert "pack us" in str(told)


def test_bad_arguments_speak_as_the_function_does() -> None:
    with pytest.raises(TypeError, match="weight"):
        pc.Conv2d("filters")
    layer = pc.Conv2d(np.ones((2, 3, 3, 3), np.float32))
    with pytest.raises(pc.ShapeError, match="channels"):
        layer(np.ones((1, 4, 8, 8), np.float32))
    assert "Conv2d(weight (2, 3, 3, 3)" in repr(layer)
