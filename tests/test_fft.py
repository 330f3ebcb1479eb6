"""The FFT: right for every case, refused without SciPy, chosen for large kernels only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from tests import oracle
from tests.cases import (
    ACTIVATIONS,
    CONV_CASES,
    ConvCase,
    conv_tensors,
    ids,
    in_order,
    normal,
)

pytest.importorskip("scipy")

CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}


@pytest.mark.parametrize("case", CONV_CASES, ids=ids(CONV_CASES))
def test_every_case(case: ConvCase) -> None:
    position = CONV_CASES.index(case)
    for dtype in (np.float32, np.float64):
        x, w = conv_tensors(case, dtype)
        shape = oracle.conv(x, w, **case.options).value.shape
        more: dict[str, Any] = {
            "bias": normal((case.k,), dtype, 3),
            "residual": normal(shape, dtype, 4),
            "activation": (None, *ACTIVATIONS)[position % (len(ACTIVATIONS) + 1)],
        }
        answer = oracle.conv(x, w, **more, **case.options, rounding="fft")
        for order in ("first", "last"):
            y = CONV[case.rank](
                in_order(x, order), w, **more, **case.options, algorithm="fft"
            )
            assert y.dtype == dtype
            assert answer.worst(y) <= 1, (dtype, order)


def test_auto_takes_it_for_a_huge_kernel_only() -> None:
    x = np.ones((1, 1, 1 << 18), np.float32)
    w = np.ones((1, 1, 1 << 16), np.float32)
    assert pc.explain(pc.conv1d, x, w).chosen == "fft"
    assert pc.explain(pc.conv1d, x, w, accuracy="strict").chosen != "fft"
    assert pc.explain(pc.conv1d, x, w[:, :, :33]).chosen != "fft"


def test_a_bad_pixel_stays_in_its_windows() -> None:
    x, w = normal((1, 2, 9, 10), np.float32, 1), normal((3, 2, 3, 3), np.float32, 2)
    x[0, 1, 4, 5] = np.inf
    y = pc.conv2d(x, w, algorithm="fft")
    np.testing.assert_array_equal(y, pc.conv2d(x, w, algorithm="direct"))


def test_layers_and_out() -> None:
    x, w = normal((2, 3, 12, 13), np.float32, 1), normal((4, 3, 5, 5), np.float32, 2)
    layer = pc.Conv2d(w, algorithm="fft")
    y = layer(x)
    np.testing.assert_array_equal(y, pc.conv2d(x, w, algorithm="fft"))
    out = np.empty_like(y)
    assert layer(x, out=out) is out
    np.testing.assert_array_equal(out, y)
    assert layer(x[:0]).shape == (0, 4, 8, 9)


def test_refused_without_scipy(python: Callable[..., str]) -> None:
    code = """if True:
        import importlib.util
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: (
            None if name == "scipy" else found(name, *rest))
        import numpy as np, pyconv as pc
        x = np.ones((1, 1, 4, 4), np.float32)
        try:
            pc.conv2d(x, x, algorithm="fft")
        except pc.UnsupportedAlgorithm as error:
            print("SciPy is not installed" in str(error))
    """
    assert python(code).strip() == "True"
