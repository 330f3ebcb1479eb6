"""The host's side of a launch, with a stand-in for the device: order, pointers, errors."""

from __future__ import annotations

import re
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyconv.backends import CudaBackend
from pyconv.cuda import device, launch, module
from pyconv.cuda.kernel import Constant
from pyconv.cuda.kernels import find
from pyconv.planning import choose
from pyconv.problem import CONV_RECORD
from tests.emulation.cases import conv_plan
from tests.emulation.problems import ConvCase, conv_problem

cupy = pytest.importorskip("cupy", reason="launches go through CuPy")

X, WEIGHT, Y = 1 << 20, 2 << 20, 3 << 20
COLUMNS = 4 << 20


class Recorder:
    """A loaded kernel that notes how it is launched."""

    def __init__(self, entry: str, log: list[Any]) -> None:
        self.entry, self.log = entry, log

    def launch(self, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        packed, *pointers = arguments
        (record,) = np.frombuffer(packed.tobytes(), CONV_RECORD)
        addresses = [
            int(one) if isinstance(one, np.uintp) else one.data.ptr for one in pointers
        ]
        self.log.append((self.entry, blocks, threads, int(record["n"]), addresses))

    def launch_with(self, constant: Constant, array: Any, *rest: Any) -> None:
        self.log.append((constant.first_byte, constant.byte_count, array.data.ptr))
        self.launch(*rest)


def stand_in(address: int) -> Any:
    """Make what a launch takes of an array."""
    data = SimpleNamespace(ptr=address, device_id=0)
    return SimpleNamespace(data=data, device=nullcontext())


class Entered(nullcontext[None]):
    """A device that notes when it is made the current one."""

    def __init__(self, log: list[int]) -> None:
        super().__init__()
        self.log = log

    def __enter__(self) -> None:
        self.log.append(1)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record launches instead of making them."""
    found: list[Any] = []
    monkeypatch.setattr(device, "current_device", lambda: 0)
    monkeypatch.setattr(device, "architecture", lambda _: "sm_90")
    monkeypatch.setattr(
        module, "load", lambda _text, _options, entry, *_: Recorder(entry, found)
    )
    monkeypatch.setattr(
        launch,
        "_workspace",
        lambda plan: [stand_in(COLUMNS) for _ in plan.workspace],
    )
    return found


def run(name: str, case: ConvCase) -> launch.CudaPlan:
    """Run a plan on stand-ins."""
    plan = conv_plan(find("conv", name), case)
    assert plan is not None
    launch.run(plan, stand_in(X), stand_in(WEIGHT), None, None, stand_in(Y))
    return plan


def test_launches_come_in_order_and_share_the_workspace(log: list[Any]) -> None:
    plan = run("im2col_gemm", ConvCase("plain", (1, 8, 9), (1, 3, 3), n=2))
    (first, *_, first_arrays), (last, *_, last_arrays) = log
    assert first == "pyconv_conv_im2col_gemm_unfold"
    assert last == "pyconv_conv_im2col_gemm_multiply"
    assert first_arrays == [X, COLUMNS]
    assert last_arrays == [X, WEIGHT, 0, 0, Y, COLUMNS]
    text = launch.source_of(plan)
    for step in plan.launches:
        assert f"void __launch_bounds__({step.threads}" in text


def test_a_plan_is_prepared_once_for_each_device(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = run("naive", ConvCase("plain", (1, 8, 9), (1, 3, 3), n=2))

    def refuse(*_: Any) -> None:
        raise AssertionError("loaded again")

    load = module.load
    monkeypatch.setattr(module, "load", refuse)
    arrays = [stand_in(X), stand_in(WEIGHT), None, None, stand_in(Y)]
    launch.run(plan, *arrays)
    assert log[0] == log[1]
    entered: list[int] = []
    for array in arrays:
        if array is not None:
            array.data.device_id = 1
            array.device = Entered(entered)
    monkeypatch.setattr(module, "load", load)
    launch.run(plan, *arrays)
    assert log[2] == log[0]
    assert entered == [1]
    assert set(plan.ready) == {0, 1}


def test_images_are_taken_some_at_a_time(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyconv.cuda import im2col_gemm  # noqa: PLC0415 - patched here alone

    case = ConvCase("parts", (1, 8, 9), (1, 3, 3), n=5, c=3, k=4)
    image = 3 * 9 * 6 * 7 * 4
    monkeypatch.setattr(im2col_gemm, "WORKSPACE_BYTES", 2 * image + 1)
    plan = run("im2col_gemm", case)
    assert plan.workspace == {"columns": 2 * image}
    assert [images for *_, images, _ in log] == [2, 2, 2, 2, 1, 1]
    assert [arrays[0] - X for *_, arrays in log[::2]] == [0, 1728, 3456]
    assert [arrays[4] - Y for *_, arrays in log[1::2]] == [0, 1344, 2688]


def test_filters_come_through_constant_memory(log: list[Any]) -> None:
    case = ConvCase("constants", (1, 6, 7), (1, 3, 3), c=600, k=7)
    run("cached_weights", case)
    size = 600 * 9 * 4
    copies = [entry for entry in log if len(entry) == 3]
    assert copies == [
        (first * size, count * size, WEIGHT)
        for first, count in ((0, 3), (3, 3), (6, 1))
    ]
    results = [arrays[-1] - Y for *_, arrays in log if isinstance(arrays, list)]
    assert results == [0, 3 * 4 * 5 * 4, 6 * 4 * 5 * 4]


def test_a_kernel_that_does_not_compile_is_named(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise module.CompileError("line 7: no")

    monkeypatch.setattr(module, "load", refuse)
    with pytest.raises(module.CompileError) as caught:
        run("naive", ConvCase("plain", (1, 8, 9), (1, 3, 3), n=2, c=3))
    for part in ("'naive'", "2x3x1x8x9", "1x3x3", "line 7: no"):
        assert part in str(caught.value)
    assert not log


def test_memory_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(size: int, _: Any) -> None:
        raise cupy.cuda.memory.OutOfMemoryError(size, 0, 0)

    monkeypatch.setattr(cupy, "empty", refuse)
    case = ConvCase("plain", (1, 8, 9), (1, 3, 3), n=2, c=3)
    plan = conv_plan(find("conv", "im2col_gemm"), case)
    assert plan is not None
    with pytest.raises(MemoryError) as caught:
        launch._workspace(plan)
    for part in ("'im2col_gemm'", str(plan.workspace_bytes), "2x3x1x8x9"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (12040, "CUDA 12.4 at most.*for CUDA 13.2"),
        (0, "missing or unusable: no driver"),
    ],
    ids=["too_old", "missing"],
)
def test_a_driver_that_is_too_old_is_told(
    driver: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise RuntimeError("no driver")

    runtime = cupy.cuda.runtime
    monkeypatch.setattr(runtime, "getDeviceCount", refuse)
    monkeypatch.setattr(runtime, "driverGetVersion", lambda: driver)
    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: 13020)
    device.availability.cache_clear()
    try:
        reason = device.availability()
    finally:
        device.availability.cache_clear()
    assert re.search(said, reason), reason


@pytest.mark.parametrize(
    ("c", "k", "size", "groups"),
    [
        (3, 64, 56, 1),
        (64, 64, 14, 1),
        (256, 32, 7, 1),
        (64, 64, 28, 16),
        (32, 32, 9, 32),
    ],
    ids=str,
)
def test_neither_batch_nor_order_decides_how_to_round(
    c: int, k: int, size: int, groups: int
) -> None:
    backend = CudaBackend()
    taken = set()
    for n in (1, 3, 32, 100):
        for memory in ("first", "last"):
            case = ConvCase(
                "layer", (1, size, size), (1, 3, 3), n=n, c=c, k=k, groups=groups
            )
            x = np.lib.stride_tricks.as_strided(
                np.zeros(1, np.float32),
                (n, c, 1, size, size),
                steps(c, size, memory),
            )
            y = np.lib.stride_tricks.as_strided(
                np.zeros(1, np.float32),
                (n, k, 1, size - 2, size - 2),
                steps(k, size - 2, memory),
            )
            weight = np.zeros((k, c // groups, 1, 3, 3), np.float32)
            problem = conv_problem(case, x, weight, y)
            taken.add(choose(problem, backend, "auto").candidate.rounding)
    assert len(taken) == 1


def steps(channels: int, size: int, memory: str) -> tuple[int, ...]:
    """Give the strides in bytes of (n, channels, 1, size, size) float32."""
    plane = 4 * size * size
    if memory == "last":
        return (
            plane * channels,
            4,
            plane * channels,
            4 * size * channels,
            4 * channels,
        )
    return (plane * channels, plane, plane, 4 * size, 4)


def test_shared_memory_the_device_has_not_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = ConvCase("plain", (1, 40, 40), (1, 3, 3), c=16, k=32)
    plan = conv_plan(find("conv", "async_pipeline"), case)
    assert plan is not None
    monkeypatch.setattr(device, "shared_bytes", lambda: 16 * 1024)
    reason = launch.refusal(plan.kernel, plan.problem)
    assert str(plan.launch.shared_bytes) in reason
    assert "16384" in reason
    with pytest.raises(ValueError, match="async_pipeline"):
        launch.make_plan(plan.problem, "async_pipeline")


def test_windows_that_begin_far_before_x_take_wide_indices() -> None:
    """Rows of a million elements, padded by 3000 rows: the beginning is 3e9 away."""
    case = ConvCase("plain", (1, 8, 8), (1, 3, 3), c=1, k=1)
    plan = conv_plan(find("conv", "naive"), case)
    assert plan is not None
    fields = {name: getattr(plan.problem, name) for name in CONV_RECORD.names or ()}
    row = 2**20
    fields.update(
        input=(1, 2, row),
        output=(1, 2, row),
        kernel=(1, 3, 1),
        dilation=(1, 3000, 1),
        pad_before=(0, 3000, 0),
        pad_after=(0, 3000, 0),
        x_pitch=(2 * row, 2 * row, 2 * row, row, 1),
        y_pitch=(2 * row, 2 * row, 2 * row, row, 1),
    )
    assert launch.index_bits(type(plan.problem)(**fields)) == 64
    fields.update(dilation=(1, 30, 1), pad_before=(0, 30, 0), pad_after=(0, 30, 0))
    assert launch.index_bits(type(plan.problem)(**fields)) == 32
