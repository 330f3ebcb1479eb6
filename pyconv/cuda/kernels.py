"""THE list of CUDA kernels.

A new kernel is one .cuh under csrc/cuda and one entry here; tests, benchmarks and
``explain()`` follow the list. Order is the order in which candidates are shown; the
simplest kernel of each operation comes first and takes every valid problem.
"""

from __future__ import annotations

from pyconv.cuda.bias_gradient import BIAS, BIAS_PARTS
from pyconv.cuda.columns import COL2IM, IM2COL
from pyconv.cuda.conv import CACHED_WEIGHTS, COALESCED, NAIVE
from pyconv.cuda.depthwise import DEPTHWISE
from pyconv.cuda.gradient import GRADIENT, WEIGHT
from pyconv.cuda.halo import (
    ASYNC_PIPELINE,
    BANK_PADDING,
    REGISTER_TILE,
    SHARED_HALO,
    VECTOR_LOADS,
)
from pyconv.cuda.im2col_gemm import IM2COL_GEMM
from pyconv.cuda.implicit_gemm import IMPLICIT_GEMM
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.pool import AVERAGE, LP, MAX
from pyconv.cuda.pool_claims import CLAIMS
from pyconv.cuda.pool_gradient_strips import GRADIENT_STRIPS
from pyconv.cuda.pool_planes import PLANES
from pyconv.cuda.pool_strips import STRIPS
from pyconv.cuda.weight_depthwise import WEIGHT_DEPTHWISE
from pyconv.cuda.weight_gradient import WEIGHT_GEMM
from pyconv.cuda.winograd_f2 import WINOGRAD_F2
from pyconv.cuda.winograd_f4 import WINOGRAD_F4

__all__ = ["KERNELS", "find", "of_operation"]

KERNELS: tuple[Kernel, ...] = (
    NAIVE,
    COALESCED,
    CACHED_WEIGHTS,
    SHARED_HALO,
    REGISTER_TILE,
    VECTOR_LOADS,
    BANK_PADDING,
    ASYNC_PIPELINE,
    IM2COL_GEMM,
    IMPLICIT_GEMM,
    DEPTHWISE,
    WINOGRAD_F2,
    WINOGRAD_F4,
    WEIGHT,
    WEIGHT_GEMM,
    WEIGHT_DEPTHWISE,
    BIAS,
    BIAS_PARTS,
    MAX,
    AVERAGE,
    LP,
    STRIPS,
    PLANES,
    GRADIENT,
    GRADIENT_STRIPS,
    CLAIMS,
    IM2COL,
    COL2IM,
)


def of_operation(operation: str) -> tuple[Kernel, ...]:
    """List the kernels of an operation, in order."""
    return tuple(kernel for kernel in KERNELS if kernel.operation == operation)


def find(operation: str, name: str) -> Kernel:
    """Find a kernel by name; ValueError lists the names there are."""
    kernels = of_operation(operation)
    for kernel in kernels:
        if kernel.name == name:
            return kernel
    names = ", ".join(kernel.name for kernel in kernels)
    raise ValueError(f"no CUDA {operation} algorithm {name!r}; there are: {names}")
