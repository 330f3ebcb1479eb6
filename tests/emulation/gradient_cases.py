"""The same shapes as in cases.py, for the kernels that compute gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyconv.cuda import KERNELS
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan, make_plan
from tests.emulation.cases import (
    CONV_CASES,
    POOL_CASES,
    conv_arrays,
    pool_arrays,
)
from tests.emulation.elements import (
    Array,
    chain_bound,
    check_stored,
    exact,
    random_array,
    unwritten,
)
from tests.emulation.problems import (
    ConvCase,
    PoolCase,
    bias_problem,
    pool_grad_problem,
    pool_gradient,
    pooled,
    weight_problem,
    weight_sum,
)


def weight_arrays(case: ConvCase) -> tuple[Array, Array, Array]:
    """Make x, the result's gradient, and a weight that nothing has written."""
    x, weight, _, _, y = conv_arrays(case)
    grad = random_array(y.shape, case.dtype, case.memory, 6)
    return x, grad, unwritten(weight.shape, case.dtype)


def weight_plan(kernel: Kernel, case: ConvCase) -> CudaPlan | None:
    """Plan a case's weight gradient; None if the kernel refuses it."""
    x, grad, weight = weight_arrays(case)
    problem = weight_problem(case, x, weight, grad)
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


def bias_arrays(case: ConvCase) -> tuple[Array, Array]:
    """Make the result's gradient, and a bias that nothing has written."""
    _, grad, _ = weight_arrays(case)
    return grad, unwritten((case.k,), case.dtype, "bias")


def bias_plan(kernel: Kernel, case: ConvCase) -> CudaPlan | None:
    """Plan a case's bias gradient; None if the kernel refuses it."""
    problem = bias_problem(case, bias_arrays(case)[0])
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


def pool_grad_arrays(case: PoolCase) -> tuple[Array, Array, Array, Array, Array]:
    """Make grad, indices, x, y, and a dx that nothing has written."""
    x, y, indices = pool_arrays(case)
    values, places = pooled(case, x)
    y[...], indices[...] = values, places
    grad = random_array(y.shape, case.dtype, case.memory, 7)
    return grad, indices, x, y, unwritten(x.shape, case.dtype, case.memory)


def pool_grad_plan(kernel: Kernel, case: PoolCase) -> CudaPlan | None:
    """Plan a case's gradient; None if the kernel refuses it."""
    grad, _, _, _, dx = pool_grad_arrays(case)
    problem = pool_grad_problem(case, dx, grad)
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


WEIGHT_PAIRS = [
    (kernel, case)
    for kernel in KERNELS
    if kernel.operation == "conv_weight"
    for case in CONV_CASES
    if not case.activation and weight_plan(kernel, case) is not None
]


BIAS_PAIRS = [
    (kernel, case)
    for kernel in KERNELS
    if kernel.operation == "conv_bias"
    for case in CONV_CASES
    if not case.activation and bias_plan(kernel, case) is not None
]


POOL_GRAD_PAIRS = [
    (kernel, case)
    for kernel in KERNELS
    if kernel.operation == "pool_grad"
    for case in POOL_CASES
    if not case.values and pool_grad_plan(kernel, case) is not None
]


def gradient_plans() -> Iterator[CudaPlan]:
    """Give every plan of the three tables."""
    for kernel, conv_case in BIAS_PAIRS:
        plan = bias_plan(kernel, conv_case)
        assert plan is not None
        yield plan
    for kernel, conv_case in WEIGHT_PAIRS:
        plan = weight_plan(kernel, conv_case)
        assert plan is not None
        yield plan
    for kernel, pool_case in POOL_GRAD_PAIRS:
        plan = pool_grad_plan(kernel, pool_case)
        assert plan is not None
        yield plan


def check_weight(case: ConvCase, x: Array, grad: Array, weight: Array) -> None:
    """Compare with the float64 answer, within the bound of one summation chain."""
    n = case.n * int(np.prod(case.output())) + 1
    bound = chain_bound(case.dtype, n, weight_sum(case, abs(x), abs(grad)))
    check_stored(case.dtype, weight, weight_sum(case, x, grad), bound)


def check_bias(grad: Array, bias: Array) -> None:
    """Compare with the float64 sum, within the bound of a sum in any order."""
    axes = (0, 2, 3, 4)
    name, given = grad.dtype.name, exact(grad)
    bound = chain_bound(name, grad.size // grad.shape[1], abs(given).sum(axes))
    check_stored(name, bias, given.sum(axes), bound)


def check_pool_grad(case: PoolCase, arrays: tuple[Array, ...]) -> None:
    """Compare dx with the float64 answer, within the bound of one chain and a power."""
    grad, indices, x, y, dx = arrays
    given = (exact(y), exact(grad), indices)
    wanted = pool_gradient(case, exact(x), *given)
    scale = pool_gradient(case, abs(exact(x)), given[0], abs(given[1]), indices)
    bound = 2 * chain_bound(case.dtype, int(np.prod(case.kernel)) + 8, scale)
    check_stored(case.dtype, dx, wanted, bound)
