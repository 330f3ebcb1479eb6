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
from tests.emulation.rounding import scale_and_steps
from tests.emulation.tables import CONV_CASES, POOL_CASES


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


def check_conv(
    case: ConvCase, arrays: tuple[Array | None, ...], rounding: str = "direct"
) -> None:
    """Compare y with the exact answer, within the bound of a kernel's rounding."""
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
    scale, steps = scale_and_steps(case, x, weight, rounding)
    if bias is not None:
        scale = scale + abs(bias).reshape(-1, 1, 1, 1)
    if residual is not None:
        scale = scale + abs(residual)
    # The sum's roundings and two additions; activations are Lipschitz with constant
    # < 1.13 and cost a few roundings of their own.
    bound = 1.13 * chain_bound(case.dtype, steps + 2, scale)
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
