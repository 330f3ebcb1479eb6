"""Every CUDA kernel on a real GPU, on the emulator's cases, against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pyconv as pc
from pyconv import cuda
from tests.emulation.on_device import every_run

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(bool(cuda.availability()), reason=cuda.availability() or "GPU"),
]


@pytest.mark.parametrize(
    ("kernel", "case", "check"),
    [
        pytest.param(kernel, case, check, id=f"{operation}-{kernel.name}-{case.name}")
        for operation, kernel, case, check in every_run()
    ],
)
def test_a_kernel_on_the_device(
    kernel: Any, case: Any, check: Callable[[Any, Any], None]
) -> None:
    check(kernel, case)


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


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_calls_seen_before_give_the_same(layout: str) -> None:
    """Reading the arguments, and not: the same bits, also of other arrays."""
    import cupy  # noqa: PLC0415 - only where there is a GPU

    x, w, _ = _call()
    x = x if layout == "NCHW" else cupy.ascontiguousarray(x.transpose(0, 2, 3, 1))
    bias = cupy.arange(32, dtype=cupy.float32)
    how = {"padding": 1, "stride": (2, 2), "layout": layout}
    calls = (
        lambda x: pc.conv2d(x, w, bias, activation="relu", **how),
        lambda x: pc.max_pool2d(x, 2, layout=layout),
        lambda x: pc.grad.conv2d_weight(x, w.shape, x, padding=1, layout=layout),
        lambda x: pc.grad.conv2d_input(x.shape, w, x, padding=1, layout=layout),
        lambda x: pc.grad.conv2d_input(
            (*x.shape[:1], 32, 40, 40)
            if layout == "NCHW"
            else (*x.shape[:1], 40, 40, 32),
            w,
            x,
            stride=2,
            padding=1,
            layout=layout,
        ),
    )
    for call in calls:
        first, again = call(x), call(x)
        assert bool((first == again).all())
        assert first.data.ptr != again.data.ptr
        other = call(x + 1)
        with pc.trace():  # takes the long road
            assert bool((call(x + 1) == other).all())


def test_out_that_overlaps_is_refused_again() -> None:
    x, w, y = _call()
    for _ in range(2):
        assert pc.conv2d(x, w, padding=1, out=y) is y
        with pytest.raises(ValueError, match="overlaps"):
            pc.conv2d(x, w, padding=1, out=x)


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


def test_profile_times_on_the_device() -> None:
    x, w, _ = _call()
    told = pc.profile(pc.conv2d, x, w, padding=1, seconds=0.01)
    assert told.explanation.device == told.ceilings.device == "cuda"
    assert 0 < told.warm.median_us < 1000
    assert 0 < told.cold.median_us < 1000
    assert {one.level for one in told.levels} == {"l1", "l2", "dram"}
    assert "--ncu" in told.measured_flops.reason
    assert told.ceilings.name in str(told)


def test_ceilings_are_above_what_calls_reach() -> None:
    import cupy  # noqa: PLC0415 - only where there is a GPU

    found = pc.ceilings(device="cuda")
    assert found is pc.ceilings(device="cuda")
    assert found.bytes_a_second("l1") > found.bytes_a_second("l2")
    assert found.bytes_a_second("l2") > found.bytes_a_second("dram")
    x = cupy.ones((32, 64, 56, 56), cupy.float32)
    w = cupy.ones((64, 64, 3, 3), cupy.float32)
    steps = pc.ladder(pc.conv2d, x, w, padding=1, seconds=0.01)
    assert {rung.name for rung in steps.ran} >= {"naive", "implicit_gemm"}
    assert all(0 < rung.peak_share < 1 for rung in steps.ran)
