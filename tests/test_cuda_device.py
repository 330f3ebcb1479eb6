"""Every CUDA kernel on a real GPU, on the emulator's cases, against float64."""

from __future__ import annotations

from typing import Any

import pytest

import pyconv as pc
from pyconv import cuda
from tests.emulation.cases import (
    CONV_PAIRS,
    POOL_PAIRS,
    check_conv,
    check_pool,
    conv_arrays,
    conv_plan,
    pair_id,
    pool_arrays,
    pool_plan,
)
from tests.emulation.columns_cases import (
    COLUMNS_PAIRS,
    check_columns,
    columns_arrays,
    columns_plan,
)
from tests.emulation.elements import device_copy
from tests.emulation.gradient_cases import (
    BIAS_PAIRS,
    POOL_GRAD_PAIRS,
    WEIGHT_PAIRS,
    bias_arrays,
    bias_plan,
    check_bias,
    check_pool_grad,
    check_weight,
    pool_grad_arrays,
    pool_grad_plan,
    weight_arrays,
    weight_plan,
)

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(bool(cuda.availability()), reason=cuda.availability() or "GPU"),
]


@pytest.mark.parametrize(("kernel", "case"), CONV_PAIRS, ids=pair_id)
def test_conv_on_the_device(kernel: Any, case: Any) -> None:
    arrays = conv_arrays(case)
    plan = conv_plan(kernel, case)
    assert plan is not None
    x, weight, bias, residual, y = map(device_copy, arrays)
    cuda.run(plan, x, weight, bias, residual, y)
    check_conv(case, (*arrays[:-1], cuda.to_host(y)), kernel.rounding)


@pytest.mark.parametrize(("kernel", "case"), POOL_PAIRS, ids=pair_id)
def test_pool_on_the_device(kernel: Any, case: Any) -> None:
    x, y, indices = pool_arrays(case)
    plan = pool_plan(kernel, case)
    assert plan is not None
    on_device = [device_copy(a) for a in (x, y, indices)]
    places = on_device[2] if case.kind == 0 else None
    cuda.run(plan, on_device[0], on_device[1], places)
    got = [cuda.to_host(a) for a in on_device[1:]]
    check_pool(case, x, got[0], got[1])


@pytest.mark.parametrize(("kernel", "case"), WEIGHT_PAIRS, ids=pair_id)
def test_weight_gradient_on_the_device(kernel: Any, case: Any) -> None:
    arrays = weight_arrays(case)
    there = [device_copy(a) for a in arrays]
    cuda.run(weight_plan(kernel, case), *there)
    check_weight(case, arrays[0], arrays[1], cuda.to_host(there[2]))


@pytest.mark.parametrize(("kernel", "case"), BIAS_PAIRS, ids=pair_id)
def test_bias_gradient_on_the_device(kernel: Any, case: Any) -> None:
    grad, bias = bias_arrays(case)
    there = [device_copy(a) for a in (grad, bias)]
    cuda.run(bias_plan(kernel, case), *there)
    check_bias(grad, cuda.to_host(there[1]))


@pytest.mark.parametrize(("kernel", "case"), POOL_GRAD_PAIRS, ids=pair_id)
def test_pool_gradient_on_the_device(kernel: Any, case: Any) -> None:
    arrays = pool_grad_arrays(case)
    grad, indices, x, y, dx = (device_copy(a) for a in arrays)
    places = indices if case.kind == 0 else None
    cuda.run(pool_grad_plan(kernel, case), grad, places, x, y, dx)
    check_pool_grad(case, (*arrays[:-1], cuda.to_host(dx)))


@pytest.mark.parametrize(("kernel", "case"), COLUMNS_PAIRS, ids=pair_id)
def test_columns_on_the_device(kernel: Any, case: Any) -> None:
    source, target = columns_arrays(kernel, case)
    there = [device_copy(a) for a in (source, target)]
    cuda.run(columns_plan(kernel, case), *there)
    check_columns(kernel, case, source, cuda.to_host(there[1]))


def test_primitives_on_the_device() -> None:
    """What the emulator takes for granted is what the hardware does."""
    from benchmarks import gpu_ceilings  # noqa: PLC0415 - only where there is a GPU

    assert gpu_ceilings.conformance(None)["failures"] == []


def _call() -> tuple[Any, Any, Any]:
    """Make x, weight and a result, for a kernel of several launches and one of one."""
    import cupy  # noqa: PLC0415 - only where there is a GPU

    random = cupy.random.default_rng(1)
    x = random.standard_normal((4, 32, 20, 20), dtype=cupy.float32)
    w = random.standard_normal((32, 32, 3, 3), dtype=cupy.float32)
    return x, w, cupy.empty_like(x)


@pytest.mark.parametrize("algorithm", ["implicit_gemm", "im2col_gemm", "winograd_f4"])
def test_a_call_can_be_captured(algorithm: str) -> None:
    import cupy  # noqa: PLC0415 - only where there is a GPU

    x, w, y = _call()
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        pc.conv2d(x, w, padding=1, algorithm=algorithm, out=y)
        expected = y.copy()
        stream.begin_capture()
        pc.conv2d(x, w, padding=1, algorithm=algorithm, out=y)
        graph = stream.end_capture()
        y.fill(0)
        graph.launch(stream)
    stream.synchronize()
    assert bool((y == expected).all())


def test_constant_memory_cannot_be_captured() -> None:
    import cupy  # noqa: PLC0415 - only where there is a GPU

    x, w, y = _call()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        pc.conv2d(x, w, padding=1, algorithm="cached_weights", out=y)
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="another algorithm"):
            pc.conv2d(x, w, padding=1, algorithm="cached_weights", out=y)
        stream.end_capture()


def test_launches_follow_the_current_stream() -> None:
    """Two calls on two streams, the second after an event of the first."""
    import cupy  # noqa: PLC0415 - only where there is a GPU

    x, w, y = _call()
    pc.conv2d(x, w, padding=1, out=y)
    expected = pc.conv2d(y, w, padding=1)
    cupy.cuda.Device().synchronize()
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    with first:
        for _ in range(20):
            z = pc.conv2d(x, w, padding=1)
        done = first.record()
    with second:
        second.wait_event(done)
        result = pc.conv2d(z, w, padding=1)
    second.synchronize()
    assert bool((result == expected).all())


def test_pytorchs_arrays_and_stream() -> None:
    import cupy  # noqa: PLC0415 - only where there is a GPU

    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    x = torch.randn(2, 8, 16, 16, device="cuda")
    w = torch.randn(8, 8, 3, 3, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        doubled = x * 2
        with cupy.cuda.Stream.from_external(side):
            y = pc.conv2d(cupy.from_dlpack(doubled), cupy.from_dlpack(w), padding=1)
        tripled = torch.from_dlpack(y) * 3
    side.synchronize()
    expected = torch.nn.functional.conv2d(x.double() * 2, w.double(), padding=1) * 3
    assert float((tripled.double() - expected).norm() / expected.norm()) < 1e-5
