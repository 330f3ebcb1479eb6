"""The same shapes as in cases.py, for the kernels that move patches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyconv.cuda import KERNELS
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan, make_plan
from pyconv.problem import Col2imProblem, Im2colProblem
from tests.emulation.cases import CONV_CASES, conv_arrays
from tests.emulation.elements import (
    Array,
    arranged,
    chain_bound,
    check_stored,
    exact,
    random_array,
    unwritten,
)
from tests.emulation.problems import (
    ConvCase,
    columns_of,
    columns_problem,
    images_of,
)


def columns_arrays(kernel: Kernel, case: ConvCase) -> tuple[Array, Array]:
    """Make what is read, and what is written with nothing in it yet."""
    x = conv_arrays(case)[0]
    columns = arranged(columns_of(case, x), case.memory)
    if kernel.operation == "im2col":
        return x, unwritten(columns.shape, case.dtype, case.memory)
    given = random_array(columns.shape, case.dtype, case.memory, 8)
    return given, unwritten(x.shape, case.dtype, case.memory)


def columns_plan(kernel: Kernel, case: ConvCase) -> CudaPlan | None:
    """Plan a case's patches; None if the kernel refuses it."""
    source, target = columns_arrays(kernel, case)
    if kernel.operation == "im2col":
        problem = columns_problem(case, source, target, Im2colProblem)
    else:
        problem = columns_problem(case, target, source, Col2imProblem)
    return None if kernel.supports(problem) else make_plan(problem, kernel.name)


COLUMNS_PAIRS = [
    (kernel, case)
    for kernel in KERNELS
    if kernel.operation in ("im2col", "col2im")
    for case in CONV_CASES
    if not case.activation and not case.mode and columns_plan(kernel, case) is not None
]


def columns_plans() -> Iterator[CudaPlan]:
    """Give every plan of the table."""
    for kernel, case in COLUMNS_PAIRS:
        plan = columns_plan(kernel, case)
        assert plan is not None
        yield plan


def check_columns(kernel: Kernel, case: ConvCase, source: Array, target: Array) -> None:
    """Compare columns exactly, sums within the bound of one chain."""
    if kernel.operation == "im2col":
        np.testing.assert_array_equal(target, columns_of(case, source))
        return
    terms = int(np.prod(case.kernel))
    bound = chain_bound(case.dtype, terms, images_of(case, abs(exact(source))))
    check_stored(case.dtype, target, images_of(case, source), bound)
