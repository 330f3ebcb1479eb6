"""The awkward shapes every CUDA kernel is run on, in the emulator and on a GPU.

A kernel's cases are those it supports: `CONV_PAIRS` and `POOL_PAIRS` walk the registry.
No test runner is imported, so that benchmarks/gpu.py can run the cases too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyconv.cuda import KERNELS
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan, make_plan
from pyconv.problem import DTYPES
from tests.emulation.elements import (
    Array,
    arranged,
    chain_bound,
    check_stored,
    exact,
    random_array,
    result_name,
    sum_name,
    unwritten,
)
from tests.emulation.problems import (
    ConvCase,
    PoolCase,
    activated,
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
            f"{dtype}_{memory}",
            (1, 9, 10),
            (1, 3, 3),
            dtype=dtype,
            memory=memory,
            c=6,
            k=10,
            groups=2,
            bias=True,
            residual=True,
            **SAME,
        )
        for dtype in DTYPES
        if dtype not in ("float32", "float64")
        for memory in ("first", "last")
    ),
    *(
        ConvCase(
            f"{one}_and_{other}",
            (1, 6, 7),
            (1, 3, 2),
            dtype=one,
            weight_dtype=other,
            activation=2,
            bias=True,
        )
        for one in ("int8", "uint8")
        for other in ("int8", "uint8")
    ),
    ConvCase("relu_of_uint64", (1, 6, 7), (1, 3, 2), dtype="uint64", activation=1),
    ConvCase("gelu_of_float16", (1, 6, 7), (1, 3, 2), dtype="float16", activation=6),
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
# More elements than a block of `scatter` keeps sums of.
LARGE_PLANE: dict[str, Any] = {
    "input": (1, 70, 130),
    "kernel": (1, 2, 2),
    "stride": (1, 2, 2),
    "output": (1, 35, 65),
    "n": 1,
    "c": 2,
}
POOL_CASES = (
    PoolCase("large_plane", 0, **LARGE_PLANE),
    PoolCase("large_plane_last", 0, **LARGE_PLANE, dtype="float16", memory="last"),
    *(
        PoolCase(name, kind, **shape)
        for name, shape in POOL_SHAPES.items()
        for kind in (0, 1, 2)
    ),
    *(
        PoolCase(f"{dtype}_{name}", kind, **{**POOL_SHAPES[name], "dtype": dtype})
        for dtype in ("float16", "bfloat16")
        for name in ("padded", "channels_last", "norm_of_three", "nan")
        for kind in (0, 1, 2)
    ),
    *(
        PoolCase(f"{dtype}_{name}", 0, **{**POOL_SHAPES[name], "dtype": dtype})
        for dtype in DTYPES
        if "int" in dtype
        for name in ("padded", "channels_last", "only_padding")
    ),
)


def conv_arrays(
    case: ConvCase,
) -> tuple[Array, Array, Array | None, Array | None, Array]:
    """Make x, weight, bias, residual and an y that nothing has written."""
    weight_shape = (case.k, case.c // case.groups, *case.kernel)
    y_shape = (case.n, case.k, *case.output())
    stored, bias = result_name(case.dtype), sum_name(case.dtype)
    return (
        random_array((case.n, case.c, *case.input), case.dtype, case.memory, 1),
        random_array(weight_shape, case.weight_dtype or case.dtype, "first", 2),
        random_array((case.k,), bias, "bias", 3) if case.bias else None,
        random_array(y_shape, stored, case.memory, 4) if case.residual else None,
        unwritten(y_shape, stored, case.memory),
    )


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
    y = unwritten(shape, case.dtype, case.memory)
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


def pair_id(value: Any) -> str:
    """Name a parameter of a test: a kernel's or a case's own name."""
    return str(value.name)


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
    """Compare y with the exact answer, within the bound of one summation chain."""
    x, weight, bias, residual, y = (None if a is None else exact(a) for a in arrays)
    assert x is not None
    assert weight is not None
    assert y is not None
    stored = arrays[-1]
    assert stored is not None
    total = conv_sum(case, x, weight)
    if bias is not None:
        total = total + bias.reshape(-1, 1, 1, 1)
    if residual is not None:
        total = total + residual
    if stored.dtype.kind in "iu":  # modulo a power of two, before the activation
        wrapped = total.astype(stored.dtype)
        check_stored(case.dtype, stored, activated(wrapped, case.activation), wrapped)
        return
    scale = conv_sum(case, abs(x), abs(weight))
    if bias is not None:
        scale = scale + abs(bias).reshape(-1, 1, 1, 1)
    if residual is not None:
        scale = scale + abs(residual)
    # n multiply-adds and two additions; activations are Lipschitz with constant < 1.13
    # and cost a few roundings of their own.
    n = (case.c // case.groups) * int(np.prod(case.kernel)) + 2
    bound = 1.13 * chain_bound(case.dtype, n, scale)
    if case.activation:
        bound = bound + chain_bound(case.dtype, 8, np.ones(()))
    check_stored(case.dtype, stored, activated(total, case.activation), bound)


def check_pool(case: PoolCase, x: Array, y: Array, indices: Array) -> None:
    """Compare with the float64 answer: maxima exactly, the others within their bound."""
    values, places = pooled(case, x)
    if case.kind == 0:
        np.testing.assert_array_equal(exact(y), exact(values.astype(y.dtype)))
        np.testing.assert_array_equal(indices, places)
        return
    # A power is off by an ulp or two of its own, and raises what went in before it.
    taps = int(np.prod(case.kernel)) + (1 if case.kind == 1 else 8)
    scale, _ = pooled(case, abs(x))
    bound = 2 * chain_bound(case.dtype, taps, scale)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(exact(y)[~finite], values[~finite])
    check_stored(case.dtype, y[finite], values[finite], bound[finite])
