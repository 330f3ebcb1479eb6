"""Every CUDA kernel on a real GPU, on the emulator's cases, against float64."""

from __future__ import annotations

from typing import Any

import pytest

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
