"""Winograd: how far it rounds, where it is allowed, and what must not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from pyconv.cpu import CPU
from pyconv.planning import choose
from tests import oracle
from tests.cases import in_order, normal


def rms(error: Any) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


def problem(c: int, kernel: tuple[int, ...], n: int = 1) -> tuple[Any, Any]:
    """Inputs as after a ReLU and He's weights: what the error is quoted for."""
    x = np.maximum(normal((n, c, *(13,) * len(kernel)), np.float32, c), 0)
    w = normal((24, c, *kernel), np.float32, c + 1)
    return x, w * np.float32(np.sqrt(2 / w[0].size))


@pytest.mark.parametrize("c", [16, 32, 64, 128, 256, 512])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 3), (5, 1), (5, 5), (1, 7)], ids=str)
def test_error_is_at_most_three_times_direct_s(kernel: Any, c: int) -> None:
    x, w = problem(c, kernel)
    truth = oracle.conv(x, w, padding="same").value
    errors = {
        name: rms(pc.conv2d(x, w, padding="same", algorithm=name) - truth)
        for name in ("direct", "winograd")
    }
    assert errors["winograd"] <= 3 * errors["direct"]
    assert errors["winograd"] <= 2e-5 * rms(truth)


def test_accuracy_decides() -> None:
    x, w = problem(64, (3, 3))
    with pytest.raises(pc.UnsupportedAlgorithm, match="accuracy='strict'"):
        pc.conv2d(x, w, accuracy="strict", algorithm="winograd")
    assert pc.explain(pc.conv2d, x, w, accuracy="strict").chosen != "winograd"
    y = pc.conv2d(x, w, algorithm="winograd")
    fast = pc.conv2d(x, w, algorithm="winograd", accuracy="fast")
    truth = oracle.conv(x, w).value
    assert rms(y - truth) <= 2e-5 * rms(truth)
    assert rms(fast - truth) <= 2e-5 * rms(truth)
    wide = x.astype(np.float64), w.astype(np.float64)
    with pytest.raises(pc.UnsupportedAlgorithm, match="float64"):
        pc.conv2d(*wide, algorithm="winograd")
    y64 = pc.conv2d(*wide, algorithm="winograd", accuracy="fast")
    assert rms(y64 - oracle.conv(*wide).value) <= 1e-13 * rms(truth)


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": (2, 1)}], ids=str)
def test_refusals_name_the_reason(options: dict[str, Any]) -> None:
    x, w = problem(16, (3, 3))
    if options["stride"] == 2:
        with pytest.raises(pc.UnsupportedAlgorithm, match="stride 1"):
            pc.conv2d(x, w, algorithm="winograd", **options)
    else:  # one dimension is left to transform
        y = pc.conv2d(x, w, algorithm="winograd", **options)
        assert oracle.conv(x, w, **options, rounding="winograd").worst(y) <= 1


# Blocks of tiles fused in L2, their weights transformed ahead or as they pass; deep
# enough to be staged, in one block and in several.
@pytest.mark.parametrize(
    ("n", "c", "size", "passing", "staged_tiles"),
    [
        (3, 40, 8, True, 0),
        (2, 150, 6, True, 0),
        (3, 70, 40, False, 0),
        (1, 512, 20, False, 25),
        (4, 512, 60, False, 490),
    ],
    ids=str,
)
def test_every_schedule_is_the_same_arithmetic(
    n: int, c: int, size: int, passing: bool, staged_tiles: int
) -> None:
    x, w = normal((n, c, size, size), np.float32, 1), normal((c, c, 3, 3), np.float32)
    problem = pc.explain(pc.conv2d, x, w, padding=1).problem
    blocking = dict(choose(problem, CPU, "winograd").plan.blocking)
    if _core.machine()["l2_bytes"] <= 2 << 20:
        assert blocking["passing"] == passing
        assert blocking["staged"] == (staged_tiles > 0)
        assert not staged_tiles or blocking["tiles"] <= staged_tiles
    for order in ("first", "last"):
        view = in_order(x, order)
        y = pc.conv2d(view, w, padding=1, algorithm="winograd")
        staged = pc.conv2d(view, w, padding=1, algorithm="winograd_staged")
        np.testing.assert_array_equal(staged, y)
        layer = pc.Conv2d(w, padding=1, algorithm="winograd")
        np.testing.assert_array_equal(layer(view), y)


# As an input gradient's lie, and channels last; filters that do not fill a vector.
@pytest.mark.parametrize(
    "axes", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 1, 0)]
)
@pytest.mark.parametrize("step", [1, -1, 2])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 7), (3, 3, 3)], ids=str)
@pytest.mark.parametrize("algorithm", ["winograd", "direct"])
def test_weights_of_any_memory_order(
    axes: tuple[int, ...], step: int, kernel: tuple[int, ...], algorithm: str
) -> None:
    taps = int(np.prod(kernel))
    shape = (37, 21, 2 * taps)
    stored = normal(tuple(shape[axis] for axis in axes), np.float32, 1)
    w = stored.transpose(np.argsort(axes))[:, :, : taps * abs(step) : abs(step)]
    w = w[:, :, ::-1] if step < 0 else w
    w = np.lib.stride_tricks.as_strided(
        w,
        (*w.shape[:2], *kernel),
        (*w.strides[:2], *(np.cumprod([1, *kernel[:0:-1]])[::-1] * w.strides[2])),
        writeable=False,
    )
    conv = pc.conv3d if len(kernel) == 3 else pc.conv2d
    x = normal((1, 21, *(7,) * len(kernel)), np.float32, 2)
    expected = conv(x, np.ascontiguousarray(w), padding="same", algorithm=algorithm)
    y = conv(x, w, padding="same", algorithm=algorithm)
    np.testing.assert_array_equal(y, expected)


def test_the_choice_does_not_show_batch_or_order() -> None:
    for c, size in ((16, 7), (64, 7), (64, 14), (96, 28), (256, 7)):
        w = normal((c, c, 3, 3), np.float32, 1)
        x = normal((5, c, size, size), np.float32, 2)
        for call in (
            pc.Conv2d(w, padding=1),
            lambda x, w=w: pc.conv2d(x, w, padding=1),
        ):
            y = call(x)
            np.testing.assert_array_equal(call(in_order(x, "last")), y)
            for n in range(5):
                np.testing.assert_array_equal(call(x[n : n + 1]), y[n : n + 1])


def test_values_near_overflow_come_out_right() -> None:
    x, w = problem(16, (3, 3))
    x[0, 3, 5, 5] = 3e38
    y = pc.conv2d(x, w, algorithm="winograd")
    direct = pc.conv2d(x, w, algorithm="direct")
    assert (np.isfinite(y) == np.isfinite(direct)).all()
    far = np.ones(y.shape, bool)
    far[:, :, 0:8, 0:8] = False
    np.testing.assert_allclose(y[far], direct[far], atol=1e-4)
