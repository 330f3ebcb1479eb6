"""What the GPU benchmark times and how: arrays, contenders, and their queue.

CuPy and PyTorch share the default stream and, through DLPack, the same arrays, so every
contender works on the same numbers in the same memory order.
"""

# ruff: noqa: PLC0415 - CuPy and PyTorch are imported only where a GPU is used

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyconv.movement.layers import Layer

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = 15
SAMPLE_SECONDS = 2e-3  # of queued work: a hundred times an event's resolution
FLOAT32_BYTES = 4
ROTATE_BYTES = 256 * 2**20  # four times the largest L2 (60 MB on an H200)


def cuda_backend() -> Any:
    """Give pyconv.cuda, which imports CuPy only where a GPU is asked for."""
    from pyconv import cuda

    return cuda


def torch_or_none() -> Any:
    """Give PyTorch if it is there and sees the GPU."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.backends.cudnn.benchmark = True  # its best setting: it tries what it has
    return torch


class Queue:
    """Times work on the default stream, which CuPy and PyTorch share."""

    def __init__(self, samples: int = SAMPLES) -> None:
        import cupy

        self.cupy = cupy
        self.samples = samples

    def _elapsed(self, run: Callable[[int], object], count: int, hold: bool) -> float:
        """Seconds of `count` calls; `hold` keeps the card busy while they queue."""
        start, stop = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        if hold:  # about 40 us a call at 2 GHz: more than the host needs to launch
            cuda_backend().measuring.spin(80_000 * count)
        start.record()
        for call in range(count):
            run(call)
        stop.record()
        stop.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, stop)) * 1e-3

    def turns(
        self, contenders: dict[str, Callable[[int], object]], *, hold: bool = True
    ) -> dict[str, dict[str, float]]:
        """Time contenders in turns; each is called with a number to rotate buffers."""
        counts = {}
        for name, run in contenders.items():
            self._elapsed(run, 3, hold)  # compile, load, choose an algorithm
            seconds = self._elapsed(run, 3, hold) / 3
            counts[name] = int(min(200, max(1, SAMPLE_SECONDS / max(seconds, 1e-7))))
        seen: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(self.samples):
            for name, run in contenders.items():
                seen[name].append(self._elapsed(run, counts[name], hold) / counts[name])
        return {name: summary(seconds) for name, seconds in seen.items()}


def captured(
    queue: Queue, run: Callable[[int], object], call: int
) -> Callable[[int], object]:
    """Capture one numbered call in a graph; each call of the result replays it."""
    stream = queue.cupy.cuda.Stream(non_blocking=True)
    queue.cupy.cuda.Device().synchronize()
    with stream:
        run(call)  # compiled, loaded, memory in the pool
        stream.synchronize()
        stream.begin_capture()
        try:
            run(call)
        finally:
            graph = stream.end_capture()
    return lambda _: graph.launch()


def summary(seconds: list[float]) -> dict[str, float]:
    """Order statistics in microseconds."""
    first, median, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return {
        "median_us": median * 1e6,
        "first_quartile_us": first * 1e6,
        "third_quartile_us": third * 1e6,
        "best_us": min(seconds) * 1e6,
        "samples": len(seconds),
    }


def with_tf32(torch: Any, allowed: bool, run: Callable[[], object]) -> object:
    """Run with TF32 allowed or not, in products and in cuDNN."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    return run()


def device_array(
    queue: Queue, shape: tuple[int, ...], memory: str, dtype: str = "float32"
) -> Any:
    """Draw a normal array (N, C, H, W) in a memory order.

    bfloat16, which CuPy has not, is PyTorch's memory under the name of int16.
    """
    cupy = queue.cupy
    if dtype == "bfloat16":
        torch = torch_or_none()
        drawn = torch.randn(shape, device="cuda").bfloat16()
        if memory == "last" and len(shape) > 1:
            drawn = drawn.contiguous(memory_format=torch.channels_last)
        return cupy.from_dlpack(drawn.view(torch.int16))
    if memory == "last":
        stored = (shape[0], *shape[2:], shape[1])
        drawn = cupy.random.standard_normal(stored, dtype=cupy.float32)
        return drawn.transpose(0, 3, 1, 2)
    return cupy.random.standard_normal(shape, dtype=cupy.float32)


def as_tensor(torch: Any, a: Any) -> Any:
    """See a device array as a tensor; int16 stands for bfloat16."""
    tensor = torch.from_dlpack(a)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def sets_for(nbytes: int) -> int:
    """Copies of the arrays that together do not fit in the L2."""
    return min(32, max(2, -(-ROTATE_BYTES // nbytes)))


def conv_arrays(
    queue: Queue,
    layer: Layer,
    memory: str,
    *,
    bias: bool,
    sets: int = 0,
    dtype: str = "float32",
) -> list[dict[str, Any]]:
    """Make sets of x, weight, bias (float32 in any case) and y."""
    count = sets or sets_for(layer.compulsory_bytes())
    return [
        {
            "x": device_array(queue, layer.x_shape, memory, dtype),
            "weight": device_array(queue, layer.w_shape, "first", dtype),
            "bias": device_array(queue, (layer.k,), "first") if bias else None,
            "y": device_array(queue, layer.y_shape, memory, dtype),
        }
        for _ in range(count)
    ]


def pool_arrays(
    queue: Queue, x_shape: tuple[int, ...], y_shape: tuple[int, ...], memory: str
) -> list[dict[str, Any]]:
    """Make sets of x and y."""
    nbytes = 4 * (int(np.prod(x_shape)) + int(np.prod(y_shape)))
    return [
        {
            "x": device_array(queue, x_shape, memory),
            "y": device_array(queue, y_shape, memory),
        }
        for _ in range(sets_for(nbytes))
    ]


def pitch(a: Any) -> Any:
    """Strides in elements, as (n, c, depth, h, w)."""
    n, c, h, w = (step // a.itemsize for step in a.strides)
    return (n, c, 0, h, w)


def triple(depth: int, values: tuple[int, ...]) -> Any:
    """Put the depth before height and width."""
    return (depth, *values)


def conv_problem(
    layer: Layer, arrays: dict[str, Any], kind: str = "ConvProblem"
) -> Any:
    """Describe a layer, or its gradient, on its arrays."""
    from pyconv import problem

    size = arrays["x"].itemsize
    dtype = problem.DTYPES["float32" if size == FLOAT32_BYTES else "bfloat16"]
    return getattr(problem, kind)(
        dtype=dtype,
        weight_dtype=dtype,
        n=layer.n,
        c=layer.c,
        k=layer.k,
        groups=layer.groups,
        input=triple(1, layer.spatial),
        kernel=triple(1, layer.kernel),
        stride=triple(1, layer.stride),
        dilation=triple(1, layer.dilation),
        pad_before=triple(0, layer.padding),
        pad_after=triple(0, layer.padding),
        output=triple(1, layer.output),
        padding_mode=0,
        accuracy=1,
        activation=0,
        has_bias=int(arrays.get("bias") is not None),
        has_residual=0,
        x_pitch=pitch(arrays["x"]),
        w_pitch=pitch(arrays["weight"]),
        y_pitch=pitch(arrays["y"]),
    )


def pool_problem(
    kind: str, arrays: dict[str, Any], kernel: int, stride: int, padding: int
) -> Any:
    """Describe a pooling on its arrays."""
    from pyconv.problem import PoolProblem

    x, y = arrays["x"], arrays["y"]
    return PoolProblem(
        dtype=0,
        kind=0 if kind == "max" else 1,
        n=x.shape[0],
        c=x.shape[1],
        input=(1, *x.shape[2:]),
        kernel=(1, kernel, kernel),
        stride=(1, stride, stride),
        dilation=(1, 1, 1),
        pad_before=(0, padding, padding),
        pad_after=(0, padding, padding),
        output=(1, *y.shape[2:]),
        adaptive=0,
        count_include_pad=1,
        divisor_override=0,
        norm_bits=0,
        return_indices=0,
        x_pitch=pitch(x),
        y_pitch=pitch(y),
    )


def ours(
    cuda: Any, layer: Layer, algorithm: str, arrays: list[dict[str, Any]]
) -> Callable[[int], object]:
    """Make a call of one of our kernels."""
    plan = cuda.plan(conv_problem(layer, arrays[0]), algorithm)

    def run(call: int) -> None:
        one = arrays[call % len(arrays)]
        cuda.run(plan, one["x"], one["weight"], one["bias"], None, one["y"])

    return run


def torch_conv(
    torch: Any, layer: Layer, arrays: list[dict[str, Any]], *, tf32: bool
) -> Callable[[int], object]:
    """Make a call of PyTorch's conv2d on the same memory, with cuDNN's own search."""
    last = arrays[0]["x"].strides[1] == arrays[0]["x"].itemsize and layer.c > 1
    tensors = []
    for one in arrays:
        weight = as_tensor(torch, one["weight"])
        if last:  # its best setting: weights in the same order
            weight = weight.contiguous(memory_format=torch.channels_last)
        x = as_tensor(torch, one["x"])
        bias = None
        if one["bias"] is not None:
            bias = torch.from_dlpack(one["bias"]).to(x.dtype)
        tensors.append((x, weight, bias))
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)

    def run(call: int) -> object:
        mine = tensors[call % len(tensors)]
        return with_tf32(
            torch, tf32, lambda: torch.nn.functional.conv2d(*mine, *options)
        )

    return run


def exact_conv(torch: Any, layer: Layer, arrays: dict[str, Any]) -> Any:
    """Compute a layer in float64 on the card."""
    x, weight = (as_tensor(torch, arrays[name]).double() for name in ("x", "weight"))
    bias = arrays["bias"]
    return torch.nn.functional.conv2d(
        x,
        weight,
        None if bias is None else torch.from_dlpack(bias).double(),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )


def relative_error(torch: Any, y: Any, exact: Any) -> float | None:
    """Give ||y - exact|| / ||exact||, infinite for NaN; None if there is no PyTorch."""
    if torch is None:
        return None
    difference = as_tensor(torch, y).double() - exact
    error = float(difference.norm() / exact.norm())
    return error if error == error else float("inf")  # noqa: PLR0124 - NaN
