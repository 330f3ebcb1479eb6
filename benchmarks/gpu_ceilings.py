"""What a card can do at most, what a launch costs, and whether primitives conform.

Question: which ceilings do the kernels' figures stand under? Bandwidth of the device
memory and from L2 to the multiprocessors, matrix products as the library at hand
reaches them, and the host's time for a launch, of 1 and of 12 arguments, of a whole
call, and of a call's captured graph.
"""

# ruff: noqa: PLC0415 - CuPy and PyTorch are imported only where a GPU is used

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.gpu_contenders import (
    Queue,
    captured,
    conv_arrays,
    cuda_backend,
    ours,
    torch_conv,
    torch_or_none,
    with_tf32,
)
from pyconv.movement.layers import square

__all__ = ["KERNELS", "ceilings", "conformance", "launch"]

SIZE = 8192  # of the matrices
ARGUMENTS = 12

_ONE = """
extern "C" __global__ void one(float*) {}
"""
_TWELVE = f"""
extern "C" __global__ void twelve({", ".join(["float*"] * ARGUMENTS)}) {{}}
"""
# Every text that is compiled here; a test compiles them without a GPU.
KERNELS = {"one": _ONE, "twelve": _TWELVE}


def _load(name: str) -> Any:
    """Compile and load one of this module's kernels."""
    from pyconv.cuda import device, module

    number = device.current_device()
    options = module.options_for(device.architecture(number), 32)
    return module.load(KERNELS[name], options, name, number)


def ceilings(queue: Queue) -> dict[str, Any]:
    """Measure the rates of pyconv's own loops, a copy, fp32, TF32 and bf16 products."""
    cupy, torch = queue.cupy, torch_or_none()
    flops_a_second, bandwidth = cuda_backend().measuring.rates()
    source = cupy.random.standard_normal(2**29, dtype=cupy.float32)
    target = cupy.empty_like(source)
    runs: dict[str, Callable[[int], object]] = {
        "copy": lambda _: cupy.copyto(target, source),
    }
    moved = {"copy": 2 * source.nbytes}
    flops = {}
    if torch is not None:
        a, b = (torch.randn(SIZE, SIZE, device="cuda") for _ in range(2))
        halves = (a.bfloat16(), b.bfloat16())
        for name, matrices, allowed in (
            ("gemm_fp32", (a, b), False),
            ("gemm_tf32", (a, b), True),
            ("gemm_bf16", halves, True),
        ):
            runs[name] = partial(_product, torch, *matrices, allowed)
            flops[name] = 2 * SIZE**3
    times: dict[str, Any] = queue.turns(runs)
    for name, time in times.items():
        if name in moved:
            time["gbytes_per_s"] = moved[name] / time["median_us"] * 1e-3
        if name in flops:
            time["tflops"] = flops[name] / time["median_us"] * 1e-6
    return {**times, "rates": {"flops": flops_a_second, "bandwidth": bandwidth}}


def _product(torch: Any, a: Any, b: Any, tf32: bool, _: int) -> object:
    """Multiply two matrices."""
    return with_tf32(torch, tf32, partial(torch.mm, a, b))


def launch(queue: Queue) -> dict[str, Any]:
    """Measure what one call costs the host: tiny problems, nothing held back."""
    cupy, cuda, torch = queue.cupy, cuda_backend(), torch_or_none()
    one, twelve = _load("one"), _load("twelve")
    nothing = cupy.zeros(1, cupy.float32)
    runs: dict[str, Callable[[int], object]] = {
        "1_argument": lambda _: one.launch(1, 32, (nothing,)),
        "12_arguments": lambda _: twelve.launch(1, 32, (nothing,) * ARGUMENTS),
    }
    layer = square("tiny", "1x1", 1, 1, 4, 1)
    for name, _ in cuda.algorithms("conv"):
        made = conv_arrays(queue, layer, "first", bias=False, sets=1)
        try:
            runs[f"pyconv_{name}"] = ours(cuda, layer, name, made)
        except ValueError:  # refuses the layer
            continue
    runs["graph"] = captured(queue, runs["pyconv_implicit_gemm"], 0)
    runs.update(_public(made[0]))
    if torch is not None:
        made = conv_arrays(queue, layer, "first", bias=False, sets=1)
        runs["torch"] = torch_conv(torch, layer, made, tf32=False)
    return queue.turns(runs, hold=False)


def _public(arrays: dict[str, Any]) -> dict[str, Callable[[int], object]]:
    """Call the public functions, which read their arguments first."""
    import pyconv as pc

    x, weight, y = (arrays[name] for name in ("x", "weight", "y"))
    shape = x.shape
    return {
        "api_conv2d": lambda _: pc.conv2d(x, weight, out=y),
        "api_conv2d_input": lambda _: pc.grad.conv2d_input(shape, weight, y),
        "api_conv2d_weight": lambda _: pc.grad.conv2d_weight(x, weight.shape, y),
        "api_max_pool2d": lambda _: pc.max_pool2d(x, 2),
    }


def conformance(_: Queue) -> dict[str, Any]:
    """Run every primitive that the emulator stands in for, against its definition."""
    import cupy

    from pyconv.cuda import device, module
    from tests.emulation import primitives

    number = device.current_device()
    options = module.options_for(device.architecture(number), 32)
    kernel = module.load(
        primitives.text(), options, primitives.ENTRY, number, primitives.DYNAMIC_BYTES
    )
    made = primitives.arrays()
    there = {name: cupy.asarray(a.view(f"u{a.itemsize}")) for name, a in made.items()}
    constants = there.pop("constants")
    arguments = tuple(there.values())
    kernel.launch_with(primitives.CONSTANT, constants, 1, primitives.THREADS, arguments)
    for name, a in there.items():
        made[name][...] = cupy.asnumpy(a).view(made[name].dtype)
    try:
        primitives.check(made)
    except AssertionError as error:
        return {"failures": [str(error).strip()[:400]]}
    return {"failures": []}
