"""The emulator's cases on a real GPU: one call runs a kernel on a case and checks it.

No test runner is imported: the device tests and benchmarks/gpu.py run the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyconv import cuda
from tests.emulation import cases, columns_cases, elements, gradient_cases

__all__ = ["RUNS", "every_run"]


def _conv(kernel: Any, case: Any) -> None:
    arrays = cases.conv_arrays(case)
    there = [elements.device_copy(a) for a in arrays]
    cuda.run(cases.conv_plan(kernel, case), *there)
    got = (*arrays[:-1], cuda.to_host(there[-1]))
    cases.check_conv(case, got, kernel.rounding)


def _pool(kernel: Any, case: Any) -> None:
    x, *outputs = cases.pool_arrays(case)
    there = [elements.device_copy(a) for a in (x, *outputs)]
    places = there[2] if case.kind == 0 else None
    cuda.run(cases.pool_plan(kernel, case), there[0], there[1], places)
    cases.check_pool(case, x, *(cuda.to_host(a) for a in there[1:]))


def _weight(kernel: Any, case: Any) -> None:
    arrays = gradient_cases.weight_arrays(case)
    there = [elements.device_copy(a) for a in arrays]
    cuda.run(gradient_cases.weight_plan(kernel, case), *there)
    gradient_cases.check_weight(case, arrays[0], arrays[1], cuda.to_host(there[2]))


def _bias(kernel: Any, case: Any) -> None:
    grad, bias = gradient_cases.bias_arrays(case)
    there = [elements.device_copy(a) for a in (grad, bias)]
    cuda.run(gradient_cases.bias_plan(kernel, case), *there)
    gradient_cases.check_bias(grad, cuda.to_host(there[1]))


def _pool_grad(kernel: Any, case: Any) -> None:
    arrays = gradient_cases.pool_grad_arrays(case)
    grad, indices, x, y, dx = (elements.device_copy(a) for a in arrays)
    places = indices if case.kind == 0 else None
    cuda.run(gradient_cases.pool_grad_plan(kernel, case), grad, places, x, y, dx)
    gradient_cases.check_pool_grad(case, (*arrays[:-1], cuda.to_host(dx)))


def _columns(kernel: Any, case: Any) -> None:
    source, target = columns_cases.columns_arrays(kernel, case)
    there = [elements.device_copy(a) for a in (source, target)]
    cuda.run(columns_cases.columns_plan(kernel, case), *there)
    columns_cases.check_columns(kernel, case, source, cuda.to_host(there[1]))


# Pairs of a kernel and a case, and what runs one and raises AssertionError if it errs.
RUNS: dict[str, tuple[Any, Callable[[Any, Any], None]]] = {
    "conv": (cases.CONV_PAIRS, _conv),
    "pool": (cases.POOL_PAIRS, _pool),
    "weight": (gradient_cases.WEIGHT_PAIRS, _weight),
    "bias": (gradient_cases.BIAS_PAIRS, _bias),
    "pool_grad": (gradient_cases.POOL_GRAD_PAIRS, _pool_grad),
    "columns": (columns_cases.COLUMNS_PAIRS, _columns),
}


def every_run() -> Iterator[tuple[str, Any, Any, Callable[[Any, Any], None]]]:
    """Give the operation, the kernel, the case and what checks the two."""
    for operation, (pairs, check) in RUNS.items():
        for kernel, case in pairs:
            yield operation, kernel, case, check
