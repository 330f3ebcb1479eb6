"""Which device a call runs on: asked for, lent, fallen back from, refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import pyconv as pc
from pyconv.backends import cuda_unavailable
from tests.cases import in_order, normal

X, W = np.ones((1, 2, 5, 6), np.float32), np.ones((3, 2, 3, 3), np.float32)

without_gpu = pytest.mark.skipif(
    cuda_unavailable() == "", reason="what happens where there is no GPU"
)
with_gpu = pytest.mark.skipif(cuda_unavailable() != "", reason="needs a GPU")


@without_gpu
def test_cuda_insists() -> None:
    with (
        pytest.raises(pc.BackendUnavailable, match=r"cannot run here: .+"),
        pc.device("cuda"),
    ):
        pytest.fail("the block must not be entered")
    with pytest.raises(pc.BackendUnavailable):
        pc.algorithms("conv", "cuda")


@without_gpu
def test_auto_falls_back_and_says_so() -> None:
    expected = pc.conv2d(X, W)
    with pc.device("auto"), pc.trace() as calls:
        np.testing.assert_array_equal(pc.conv2d(X, W), expected)
        pc.max_pool2d(X, 2)
    assert [call.device for call in calls] == ["cpu", "cpu"]
    for call in calls:
        assert [event.kind for event in call.events] == ["fallback"]


@without_gpu
def test_auto_without_a_gpu_keeps_the_short_road() -> None:
    x = np.ones((1, 2, 5, 7), np.float32)
    with pc.device("auto"):
        pc.conv2d(x, W)
        before = pc.info()["call_cache"]["hits"]
        pc.conv2d(x, W)
        assert pc.info()["call_cache"]["hits"] == before + 1


def test_devices_have_names() -> None:
    with pytest.raises(ValueError, match="auto, cpu, cuda"), pc.device("gpu"):
        pytest.fail("the block must not be entered")
    with pytest.raises(ValueError, match="device"):
        pc.algorithms("conv", "tpu")
    with pc.device("cpu"):
        assert pc.info()["device"] == "cpu"


@without_gpu
def test_the_environment_asks(python: Callable[..., str]) -> None:
    code = """if True:
        import numpy as np, pyconv as pc
        x = np.ones((1, 1, 4, 4), np.float32)
        for _ in range(2):
            try:
                print(pc.conv2d(x, x[:, :, :3, :3])[0, 0, 0, 0])
            except (pc.BackendUnavailable, ValueError) as error:
                print(type(error).__name__, error)
    """
    assert python(code, PYCONV_DEVICE="auto").split() == ["9.0", "9.0"]
    for line in python(code, PYCONV_DEVICE="cuda").splitlines():
        assert line.startswith("BackendUnavailable")
    for line in python(code, PYCONV_DEVICE="abacus").splitlines():
        assert line.startswith("ValueError")
        assert "abacus" in line


def test_verbose_prints_every_call(python: Callable[..., str]) -> None:
    code = """if True:
        import contextlib, io, numpy as np, pyconv as pc, sys
        x = np.ones((1, 1, 4, 4), np.float32)
        with contextlib.redirect_stderr(io.StringIO()) as told:
            pc.conv2d(x, x)
            pc.conv2d(x, x)
        print(told.getvalue().count("conv2d"))
    """
    assert python(code, PYCONV_VERBOSE="1").strip() == "2"
    assert python(code, PYCONV_VERBOSE="0").strip() == "0"


@with_gpu
@pytest.mark.parametrize("order", ["first", "last"])
def test_a_lent_gpu_gives_the_cpu_s_result(order: str) -> None:
    x = in_order(normal((2, 6, 9, 10), np.float32, 1), order)
    w = normal((5, 6, 3, 3), np.float32, 2)
    residual = in_order(normal((2, 5, 9, 10), np.float32, 3), order)
    out = in_order(np.zeros((2, 5, 9, 10), np.float32), "last")
    more = {"padding": 1, "residual": residual, "activation": "relu"}
    expected = pc.conv2d(x, w, **more)
    with pc.device("cuda"):
        y = pc.conv2d(x, w, **more)
        assert y.strides == expected.strides
        np.testing.assert_allclose(y, expected, atol=1e-5)
        assert pc.conv2d(x, w, **more, out=out) is out
        np.testing.assert_allclose(out, expected, atol=1e-5)
        y, indices = pc.max_pool2d(x, 2, return_indices=True)
    for got, want in zip(
        (y, indices), pc.max_pool2d(x, 2, return_indices=True), strict=True
    ):
        np.testing.assert_array_equal(got, want)


@with_gpu
def test_cupy_arrays_take_residual_and_out_in_any_order() -> None:
    cupy = pytest.importorskip("cupy")
    x = in_order(normal((2, 6, 9, 10), np.float32, 1), "last")
    w = normal((5, 6, 3, 3), np.float32, 2)
    residual = normal((2, 5, 9, 10), np.float32, 3)
    expected = pc.conv2d(x, w, padding=1, residual=residual)
    gx = cupy.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(
        0, 3, 1, 2
    )
    gw, gr = cupy.asarray(w), cupy.asarray(residual)
    y = pc.conv2d(gx, gw, padding=1, residual=gr)
    np.testing.assert_allclose(cupy.asnumpy(y), expected, atol=1e-5)
    out = cupy.zeros((2, 5, 9, 10), np.float32)
    assert pc.conv2d(gx, gw, padding=1, residual=gr, out=out) is out
    np.testing.assert_allclose(cupy.asnumpy(out), expected, atol=1e-5)
    with pytest.raises(ValueError, match="overlaps residual"):
        pc.conv2d(gx, gw, padding=1, residual=gr, out=gr)
