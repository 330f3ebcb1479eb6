"""Cases that together bring all a kernel must get right, for the slower builds.

The address log's and the sanitizers' builds run these; the tables have the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyconv.cuda.launch import CudaPlan
from tests.emulation.cases import (
    CONV_PAIRS,
    POOL_PAIRS,
    conv_arrays,
    conv_plan,
    pool_arrays,
    pool_plan,
)
from tests.emulation.columns_cases import COLUMNS_PAIRS, columns_arrays, columns_plan
from tests.emulation.elements import Array
from tests.emulation.gradient_cases import (
    BIAS_PAIRS,
    POOL_GRAD_PAIRS,
    WEIGHT_PAIRS,
    bias_arrays,
    bias_plan,
    pool_grad_arrays,
    pool_grad_plan,
    weight_arrays,
    weight_plan,
)
from tests.emulation.problems import PoolCase

__all__ = ["Run", "runs"]

# A plan, what makes its arrays, and a name.
Run = tuple[CudaPlan, Callable[[], tuple[Array | None, ...]], str]

# Each brings something a count must get right.
CHOSEN = (
    "even_kernel_same",
    "strided",
    "dilated",
    "grouped",
    "three_dimensions",
    "replicate",
    "channels_last",
    "float16_first",
    "uint8_and_int8",
    "padded",
    "adaptive",
    "whole_plane",
    "norm_of_three",
    "bfloat16_padded",
    "depthwise_first_3_3x3",
    "depthwise_first_3_causal",
    "depthwise_last_24_3x3_strided",
    "depthwise_last_24_half",
    "depthwise_last_5_3x5_mixed",
    "large_plane",
)


def _pool(case: PoolCase) -> tuple[Array | None, ...]:
    """Arrays of a pooling, indices only of maxima."""
    x, y, indices = pool_arrays(case)
    return x, y, indices if case.kind == 0 else None


def _pool_grad(case: PoolCase) -> tuple[Array | None, ...]:
    """Arrays of a pooling's gradient, of which a kernel may take a part."""
    grad, indices, x, y, dx = pool_grad_arrays(case)
    return (grad, indices if case.kind == 0 else None, x, y, dx)


def runs() -> list[Run]:
    """List a run for each kernel and chosen case."""
    tables: tuple[tuple[Any, Any, Any], ...] = (
        (CONV_PAIRS, conv_plan, lambda _, case: conv_arrays(case)),
        (WEIGHT_PAIRS, weight_plan, lambda _, case: weight_arrays(case)),
        (BIAS_PAIRS, bias_plan, lambda _, case: bias_arrays(case)),
        (POOL_PAIRS, pool_plan, lambda _, case: _pool(case)),
        (POOL_GRAD_PAIRS, pool_grad_plan, lambda _, case: _pool_grad(case)),
        (COLUMNS_PAIRS, columns_plan, columns_arrays),
    )
    return [
        (
            plan_of(kernel, case),
            partial(arrays_of, kernel, case),
            f"{kernel.operation}-{kernel.name}-{case.name}",
        )
        for pairs, plan_of, arrays_of in tables
        for kernel, case in pairs
        if case.name in CHOSEN
    ]
