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
    device_copy,
    pair_id,
    pool_arrays,
    pool_plan,
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
    cuda.run(plan, x, weight, bias, residual, y, None)
    check_conv(case, (*arrays[:-1], cuda.to_host(y)))


@pytest.mark.parametrize(("kernel", "case"), POOL_PAIRS, ids=pair_id)
def test_pool_on_the_device(kernel: Any, case: Any) -> None:
    x, y, indices = pool_arrays(case)
    plan = pool_plan(kernel, case)
    assert plan is not None
    on_device = [device_copy(a) for a in (x, y, indices)]
    places = on_device[2] if case.kind == 0 else None
    cuda.run(plan, on_device[0], None, None, None, on_device[1], places)
    got = [cuda.to_host(a) for a in on_device[1:]]
    check_pool(case, x, got[0], got[1])
