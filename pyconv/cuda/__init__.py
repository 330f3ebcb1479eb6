"""The CUDA backend: kernels compiled at run time by NVRTC, launched through CuPy.

Importing this package imports neither CuPy nor a driver library; `availability` says in
a sentence whether it can run. The public functions reach it through pyconv.backends.
"""

# ruff: noqa: PLC0415 - CuPy is imported only where a GPU is used

from __future__ import annotations

from typing import Any

import numpy as np

from pyconv.cuda import device, measuring
from pyconv.cuda.device import availability
from pyconv.cuda.kernel import Problem
from pyconv.cuda.kernels import KERNELS, of_operation
from pyconv.cuda.launch import CudaPlan, make_plan, refusal
from pyconv.cuda.launch import run as _launch
from pyconv.problem import memory_order

__all__ = [
    "KERNELS",
    "CudaPlan",
    "algorithms",
    "availability",
    "candidates",
    "empty",
    "measuring",
    "plan",
    "run",
    "to_device",
    "to_host",
]


def algorithms(operation: str) -> tuple[tuple[str, str], ...]:
    """List (name, summary) of the kernels of "conv" or "pool", in registry order."""
    return tuple((kernel.name, kernel.summary) for kernel in of_operation(operation))


def candidates(problem: Problem) -> list[dict[str, Any]]:
    """Judge each kernel of the problem's operation; launches nothing.

    Returns
    -------
    list of dict
        name, summary, reason ("" if it can), cost_us, workspace_bytes, flops and bytes
        by level (``l1`` leaves L1 or shared memory, ``l2`` leaves L2, ``dram``).
    """
    judged: list[dict[str, Any]] = []
    for kernel in of_operation(problem.operation):
        reason = refusal(kernel, problem)
        entry: dict[str, Any] = {
            "name": kernel.name,
            "summary": kernel.summary,
            "rounding": kernel.rounding,
            "reason": reason,
            "cost_us": 0.0,
            "pack_us": 0.0,
            "workspace_bytes": 0,
            "flops": 0,
            "bytes": {"l1": 0, "l2": 0, "dram": 0},
        }
        if not reason:
            movement = kernel.movement(problem)
            entry["workspace_bytes"] = sum(kernel.workspace(problem).values())
            entry["cost_us"] = kernel.cost_us(problem, device.ceilings())
            entry["flops"] = movement.flops
            entry["bytes"] = {
                "l1": movement.l1_bytes,
                "l2": movement.l2_bytes,
                "dram": movement.dram_bytes,
            }
        judged.append(entry)
    return judged


def plan(problem: Problem, algorithm: str) -> CudaPlan:
    """Plan one problem with one algorithm; ValueError with the reason if refused."""
    return make_plan(problem, algorithm)


def run(plan: CudaPlan, *arrays: Any) -> None:
    """Launch a plan on CuPy's current stream.

    Parameters
    ----------
    plan : CudaPlan
        What `plan` returned.
    arrays : cupy.ndarray or None
        With the problem's dtype and pitches. A convolution takes x, weight, bias,
        residual and y (bias contiguous, residual with y's pitches), its weight gradient
        x, the result's gradient and the weight's, a pooling x, y and indices (with y's
        pitches), its gradient grad, indices, x, y and dx.
    """
    _launch(plan, *arrays)


def empty(
    shape: tuple[int, ...], order: tuple[int, ...] | None, dtype: Any, like: Any
) -> Any:
    """Allocate an uninitialised device array, contiguous in an axis order.

    Parameters
    ----------
    shape : tuple of int
        Extents of the logical axes.
    order : tuple of int or None
        Axes from slowest to fastest; None is C order.
    dtype : numpy dtype
        Of the elements.
    like : cupy.ndarray
        Whose device it is to be on.
    """
    import cupy

    with like.device:
        if order is None:
            return cupy.empty(shape, dtype)
        stored = cupy.empty(tuple(shape[axis] for axis in order), dtype)
    return stored.transpose(tuple(order.index(axis) for axis in range(len(order))))


def to_device(a: np.ndarray[Any, Any]) -> Any:
    """Copy a NumPy array to the current device, keeping its axis order in memory."""
    import cupy

    order = memory_order(a)
    stored = cupy.asarray(np.ascontiguousarray(a.transpose(order)))
    return stored.transpose(sorted(range(a.ndim), key=order.__getitem__))


def to_host(a: Any) -> np.ndarray[Any, Any]:
    """Copy a device array to NumPy, its axis order too; waits for the stream."""
    import cupy

    order = memory_order(a)
    host: np.ndarray[Any, Any] = cupy.asnumpy(a.transpose(order))
    back = sorted(range(a.ndim), key=order.__getitem__)
    home: np.ndarray[Any, Any] = host.transpose(back)
    return home
