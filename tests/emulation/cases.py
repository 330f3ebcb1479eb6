"""The awkward shapes every CUDA kernel is run on, in the emulator and on a GPU.

A kernel's cases are those it supports: `CONV_PAIRS` and `POOL_PAIRS` walk the registry.
No test runner is imported, so that benchmarks/gpu.py can run the cases too.
"""

# ruff: noqa: PLC0415 - CuPy is imported only where a GPU is used

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyconv.cuda import KERNELS
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan, make_plan
from tests.emulation.problems import (
    Array,
    ConvCase,
    PoolCase,
    activated,
    arranged,
    conv_problem,
    conv_sum,
    pool_problem,
    pooled,
)

SAME: dict[str, Any] = {"before": (0, 1, 1), "after": (0, 1, 1)}
CONV_CASES = (
    ConvCase("one_by_one", (1, 6, 7), (1, 1, 1), c=5, k=9),
    ConvCase("three_by_three", (1, 11, 37), (1, 3, 3), n=2, k=33, **SAME),
    ConvCase("single_pixel_output", (1, 3, 3), (1, 3, 3), c=17),
    ConvCase("single_channel_filter", (1, 9, 33), (1, 3, 3), c=1, k=1, bias=True),
    ConvCase(
        "even_kernel_same", (1, 8, 9), (1, 2, 4), after=(0, 1, 2), before=(0, 0, 1)
    ),
    ConvCase("strided", (1, 20, 19), (1, 3, 3), stride=(1, 2, 2), k=40, **SAME),
    ConvCase("stride_over_kernel", (1, 16, 21), (1, 2, 2), stride=(1, 3, 5)),
    ConvCase("dilated", (1, 14, 15), (1, 3, 3), dilation=(1, 2, 3), **SAME),
    ConvCase("grouped", (1, 10, 9), (1, 3, 3), c=6, k=9, groups=3, bias=True, **SAME),
    ConvCase("depthwise", (1, 17, 18), (1, 5, 5), c=4, k=4, groups=4, n=2),
    ConvCase("depthwise_multiplier", (1, 9, 8), (1, 3, 3), c=3, k=6, groups=3),
    ConvCase("large_kernel", (1, 19, 20), (1, 9, 11), c=2, k=3),
    ConvCase("one_dimension", (1, 1, 300), (1, 1, 7), c=4, k=6, residual=True),
    ConvCase("three_dimensions", (5, 6, 7), (3, 2, 3), stride=(1, 2, 1), **SAME),
    ConvCase(
        "reflect", (1, 7, 8), (1, 5, 5), mode=1, before=(0, 2, 3), after=(0, 3, 2)
    ),
    ConvCase(
        "replicate", (1, 5, 6), (1, 3, 3), mode=2, before=(0, 6, 1), after=(0, 2, 7)
    ),
    ConvCase(
        "circular", (1, 5, 6), (1, 3, 3), mode=3, before=(0, 5, 2), after=(0, 1, 6)
    ),
    ConvCase(
        "channels_last",
        (1, 9, 20),
        (1, 3, 3),
        c=10,
        k=12,
        memory="last",
        bias=True,
        residual=True,
        **SAME,
    ),
    ConvCase(
        "negative_pitches", (1, 9, 10), (1, 3, 3), memory="flipped", residual=True
    ),
    ConvCase("float64", (1, 9, 10), (1, 3, 3), dtype="float64", c=9, bias=True),
    *(
        ConvCase(
            f"activation_{a}",
            (1, 4, 5),
            (1, 2, 2),
            activation=a,
            bias=True,
            residual=True,
        )
        for a in range(1, 8)
    ),
)
POOL_SHAPES: dict[str, dict[str, Any]] = {
    "plain": {
        "input": (1, 8, 9),
        "kernel": (1, 2, 2),
        "stride": (1, 2, 2),
        "output": (1, 4, 4),
    },
    "padded": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 5),
        **SAME,
    },
    "ceil_mode": {
        "input": (1, 6, 8),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 5),
        **SAME,
    },
    "dilated": {
        "input": (1, 9, 9),
        "kernel": (1, 3, 3),
        "dilation": (1, 2, 3),
        "output": (1, 7, 5),
        **SAME,
    },
    "only_padding": {
        "input": (1, 1, 1),
        "kernel": (1, 3, 3),
        "dilation": (1, 2, 2),
        "output": (1, 1, 2),
        "before": (0, 1, 2),
        "after": (0, 2, 2),
    },
    "three_dimensions": {
        "input": (4, 5, 6),
        "kernel": (2, 3, 2),
        "stride": (2, 1, 2),
        "output": (2, 3, 3),
    },
    "channels_last": {
        "input": (1, 6, 7),
        "kernel": (1, 3, 2),
        "output": (1, 4, 6),
        "c": 5,
        "memory": "last",
    },
    "negative_pitches": {
        "input": (1, 6, 7),
        "kernel": (1, 3, 2),
        "output": (1, 4, 6),
        "memory": "flipped",
    },
    "float64": {
        "input": (1, 5, 5),
        "kernel": (1, 2, 2),
        "output": (1, 4, 4),
        "dtype": "float64",
    },
    "exclude_padding": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 5),
        "include_pad": False,
        **SAME,
    },
    "divisor": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "output": (1, 7, 9),
        "divisor": 7,
        **SAME,
    },
    "adaptive": {
        "input": (2, 7, 9),
        "kernel": (2, 3, 3),
        "output": (3, 3, 4),
        "adaptive": True,
    },
    "norm_of_one": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "output": (1, 7, 9),
        "norm": 1.0,
        **SAME,
    },
    "norm_of_three": {
        "input": (1, 5, 5),
        "kernel": (1, 2, 3),
        "output": (1, 4, 3),
        "norm": 3.0,
    },
    "infinities": {
        "input": (1, 5, 5),
        "kernel": (1, 2, 2),
        "output": (1, 4, 4),
        "values": {
            (0, 0, 0, 0, 0): -np.inf,
            (0, 0, 0, 0, 1): -np.inf,
            (0, 0, 0, 1, 0): -np.inf,
            (0, 0, 0, 1, 1): -np.inf,
        },
    },
    "nan": {
        "input": (1, 5, 5),
        "kernel": (1, 3, 3),
        "output": (1, 3, 3),
        "values": {(0, 0, 0, 2, 2): np.nan, (0, 0, 0, 2, 3): np.nan},
    },
}
POOL_CASES = tuple(
    PoolCase(name, kind, **shape)
    for name, shape in POOL_SHAPES.items()
    for kind in (0, 1, 2)
)
SENTINEL = 12345.0


def random_array(shape: tuple[int, ...], dtype: str, memory: str, seed: int) -> Array:
    """Draw a normal array in a memory order."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return arranged(values, memory)


def conv_arrays(
    case: ConvCase,
) -> tuple[Array, Array, Array | None, Array | None, Array]:
    """Make x, weight, bias, residual and an y that nothing has written."""
    weight_shape = (case.k, case.c // case.groups, *case.kernel)
    y_shape = (case.n, case.k, *case.output())
    y = arranged(np.full(y_shape, SENTINEL, case.dtype), case.memory)
    return (
        random_array((case.n, case.c, *case.input), case.dtype, case.memory, 1),
        random_array(weight_shape, case.dtype, "first", 2),
        random_array((case.k,), case.dtype, "bias", 3) if case.bias else None,
        random_array(y_shape, case.dtype, case.memory, 4) if case.residual else None,
        y,
    )


GUARD = 2048  # elements on each side of a guarded array


def guarded(a: Any) -> Any:
    """Copy an array, with its pitches, between two stretches of NaN (or of -9).

    A read outside gives NaN, a write outside leaves a mark for `guards_are_whole`.
    """
    if a is None:
        return None
    fill = np.nan if a.dtype.kind == "f" else -9
    before = sum(
        (1 - extent) * step
        for extent, step in zip(a.shape, a.strides, strict=True)
        if step < 0
    )
    buffer = np.full(a.size + 2 * GUARD, fill, a.dtype)
    start = GUARD * a.itemsize + before
    view: Array = np.ndarray(a.shape, a.dtype, buffer, start, a.strides)
    view[...] = a
    return view


def guards_are_whole(a: Any) -> bool:
    """Whether nothing was written outside an array that `guarded` made."""
    buffer = a.base
    ends = np.concatenate((buffer[:GUARD], buffer[-GUARD:]))
    untouched = np.isnan(ends) if ends.dtype.kind == "f" else ends == -9
    return bool(untouched.all())


def conv_plan(kernel: Kernel, case: ConvCase) -> CudaPlan | None:
    """Plan a case; None if the kernel refuses it."""
    x, weight, _, _, y = conv_arrays(case)
    problem = conv_problem(case, x, weight, y)
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


def pool_arrays(case: PoolCase) -> tuple[Array, Array, Array]:
    """Make x, y and indices."""
    x = random_array((case.n, case.c, *case.input), case.dtype, case.memory, 5)
    for at, value in case.values.items():
        x[at] = value
    shape = (case.n, case.c, *case.output)
    y = arranged(np.full(shape, SENTINEL, case.dtype), case.memory)
    return x, y, arranged(np.full(shape, -7, np.int64), case.memory)


def pool_plan(kernel: Kernel, case: PoolCase) -> CudaPlan | None:
    """Plan a case; None if the kernel refuses it."""
    x, y, _ = pool_arrays(case)
    problem = pool_problem(case, x, y, indices=case.kind == 0)
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


CONV_PAIRS = [
    (kernel, case)
    for kernel in KERNELS
    if kernel.operation == "conv"
    for case in CONV_CASES
    if conv_plan(kernel, case) is not None
]
POOL_PAIRS = [
    (kernel, case)
    for kernel in KERNELS
    if kernel.operation == "pool"
    for case in POOL_CASES
    if pool_plan(kernel, case) is not None
]


def pair_id(value: Kernel | ConvCase | PoolCase) -> str:
    """Name a parameter of a test: a kernel's or a case's own name."""
    return value.name


def plans() -> Iterator[CudaPlan]:
    """Give every plan of the two tables."""
    for kernel, conv_case in CONV_PAIRS:
        plan = conv_plan(kernel, conv_case)
        assert plan is not None
        yield plan
    for kernel, pool_case in POOL_PAIRS:
        plan = pool_plan(kernel, pool_case)
        assert plan is not None
        yield plan


def check_conv(case: ConvCase, arrays: tuple[Array | None, ...]) -> None:
    """Compare y with the float64 answer, within the bound of one summation chain."""
    x, weight, bias, residual, y = arrays
    assert x is not None
    assert weight is not None
    assert y is not None
    exact, scale = conv_sum(case, x, weight), conv_sum(case, abs(x), abs(weight))
    terms = (case.c // case.groups) * int(np.prod(case.kernel))
    if bias is not None:
        exact, scale = (
            exact + bias.reshape(-1, 1, 1, 1),
            scale + abs(bias).reshape(-1, 1, 1, 1),
        )
    if residual is not None:
        exact, scale = exact + residual, scale + abs(residual)
    # n multiply-adds and two additions; activations are Lipschitz with constant < 1.13
    # and cost a few roundings of their own.
    unit = float(np.finfo(y.dtype).eps) / 2
    n = terms + 2
    bound = 1.13 * n * unit / (1 - n * unit) * scale + (
        8 * unit if case.activation else 0
    )
    assert np.isfinite(y).all()
    error = abs(y - activated(exact, case.activation))
    assert (error <= bound).all(), f"error / bound is {(error / bound).max():.3g}"


def check_pool(case: PoolCase, x: Array, y: Array, indices: Array) -> None:
    """Compare with the float64 answer: maxima exactly, the others within their bound."""
    values, places = pooled(case, x)
    if case.kind == 0:
        np.testing.assert_array_equal(y, values.astype(case.dtype))
        np.testing.assert_array_equal(indices, places)
        return
    # A power is off by an ulp or two of its own, and raises what went in before it.
    taps = int(np.prod(case.kernel)) + (1 if case.kind == 1 else 8)
    scale, _ = pooled(case, abs(x))
    bound = np.nan_to_num(taps * float(np.finfo(y.dtype).eps) * scale, posinf=0.0)
    assert np.isclose(y, values, rtol=0, atol=bound, equal_nan=True).all()


def device_copy(a: Any) -> Any:
    """Copy to the device with the same strides."""
    import cupy

    if a is None:
        return None
    order = sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis]))
    backwards = tuple(
        slice(None, None, -1) if s < 0 else slice(None) for s in a.strides
    )
    stored = cupy.asarray(np.ascontiguousarray(a[backwards].transpose(order)))
    inverse = tuple(order.index(axis) for axis in range(a.ndim))
    return stored.transpose(inverse)[backwards]
