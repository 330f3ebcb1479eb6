"""Channels-first input that is turned channels-last: planned, and in no bit to be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from pyconv.cpu import CPU
from pyconv.planning import choose
from tests.cases import in_order, normal

DTYPES = (np.float32, np.float64)
CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("x_shape", "kernel", "options"),
    [
        ((3, 70, 7, 7), (7, 7), {"padding": 3}),
        ((1, 131, 14, 13), (3, 3), {"padding": 1, "stride": 2}),
        ((2, 40, 9, 7), (2, 4), {"padding": 1, "dilation": 2}),
        ((2, 33, 5, 6, 7), (3, 3, 3), {"padding": 1}),
        ((2, 48, 11), (5,), {"padding": 2}),
    ],
)
def test_depthwise_turns_small_images(
    x_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    options: dict[str, Any],
    dtype: Any,
) -> None:
    channels = x_shape[1]
    x, bias = normal(x_shape, dtype, 1), normal((channels,), dtype, 3)
    w = normal((channels, 1, *kernel), dtype, 2)
    given = options | {"groups": channels}
    function = CONV[x.ndim - 2]
    problem = pc.explain(function, x, w, bias, **given).problem
    assert "part_k" in dict(choose(problem, CPU, "depthwise").plan.blocking)
    for more in ({}, {"activation": "relu"}, {"activation": "tanh"}):
        expected = function(x, w, bias, **given, **more, algorithm="im2col")
        for weight in (w, np.asfortranarray(w), w[:, :, ::-1].copy()[:, :, ::-1]):
            y = function(x, weight, bias, **given, **more, algorithm="depthwise")
            np.testing.assert_array_equal(y, expected)


# In windows where the filters stay in L2, ahead where they pass in parts.
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "way"),
    [
        ((1, 96, 30, 28), (64, 96, 3, 3), {"padding": 1}, "turned_blocks"),
        ((3, 64, 17, 19), (40, 64, 3, 3), {"padding": 2}, "turned_blocks"),
        ((2, 96, 20, 20), (96, 48, 3, 3), {"groups": 2}, "turned_blocks"),
        ((1, 96, 90, 90), (40, 96, 1, 1), {"stride": (3, 2)}, "turned_blocks"),
        ((1, 128, 9, 9), (256, 128, 3, 3), {"padding": 1}, "turned_ahead"),
        ((1, 256, 14, 14), (512, 256, 1, 1), {"stride": 2}, "turned_ahead"),
        ((1, 128, 9, 9), (512, 64, 3, 3), {"groups": 2, "padding": 1}, "turned_ahead"),
        ((1, 64, 4, 6, 7), (160, 64, 3, 3, 3), {"padding": 1}, "turned_ahead"),
    ],
)
def test_direct_turns_channels_that_lie_apart(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    options: dict[str, Any],
    way: str,
) -> None:
    x, w = normal(x_shape, np.float32, 1), normal(w_shape, np.float32, 2)
    function = pc.conv3d if x.ndim == 5 else pc.conv2d
    for mode in (
        ("zeros", "reflect", "circular") if "padding" in options else ("zeros",)
    ):
        given = options | {"padding_mode": mode}
        problem = pc.explain(function, x, w, **given).problem
        blocking = dict(choose(problem, CPU, "direct").plan.blocking)
        if _core.machine()["l2_bytes"] == 2 << 20:  # which way pays hangs on the caches
            assert blocking[way] > 0
        expected = function(in_order(x, "last"), w, **given, algorithm="direct")
        y = function(x, w, **given, algorithm="direct")
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_winograd_turns_dilated_layers(mode: str) -> None:
    x = normal((2, 37, 23, 29), np.float32, 1)
    w = normal((21, 37, 3, 3), np.float32, 2)
    given = {"padding": 3, "dilation": 3, "padding_mode": mode}
    problem = pc.explain(pc.conv2d, x, w, **given).problem
    assert dict(choose(problem, CPU, "winograd").plan.blocking)["turned_ahead"] == 1
    for algorithm in ("winograd", "winograd_staged"):
        expected = pc.conv2d(in_order(x, "last"), w, **given, algorithm=algorithm)
        y = pc.conv2d(x, w, **given, algorithm=algorithm)
        np.testing.assert_array_equal(y, expected)
