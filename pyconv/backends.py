"""Which device runs a call.

The arrays decide: NumPy runs on the CPU, CuPy on the GPU. `device` may lend the GPU to
NumPy arrays: "cuda" insists, "auto" takes it where there is one and falls back to the
CPU where there is none. CuPy is never imported for a NumPy call under the default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pyconv import _core
from pyconv.cpu import CPU
from pyconv.errors import BackendUnavailable
from pyconv.protocols import Backend, Candidate, Problem

__all__ = [
    "algorithms",
    "backend_for",
    "cuda_unavailable",
    "device",
    "is_cupy",
    "requested_device",
]

DEVICES = ("auto", "cpu", "cuda")
OPERATIONS = (
    "conv",
    "conv_input",
    "conv_weight",
    "conv_bias",
    "pool",
    "pool_grad",
    "im2col",
    "col2im",
)

# Read once: calls that the cache remembers could not follow a later change.
_DEFAULT = os.environ.get("PYCONV_DEVICE") or "cpu"

_requested: ContextVar[str | None] = ContextVar("pyconv_device", default=None)


class CudaBackend:
    """pyconv.cuda behind the Backend protocol; imported at first use."""

    name = "cuda"
    usual_batch = 32  # one sample leaves a device idle, and tells little

    def __init__(self) -> None:
        from pyconv import cuda  # noqa: PLC0415 - only where a GPU is asked for

        self._cuda = cuda

    @property
    def measuring(self) -> Any:
        """Events and ceilings: pyconv.cuda.measuring."""
        return self._cuda.measuring

    def current_device(self) -> int:
        """Give the number of the current device."""
        return self._cuda.device.current_device()

    def variant(self) -> str:
        """Name what plans depend on: nothing beside the problem."""
        return "cuda"

    def algorithms(self, operation: str) -> Sequence[tuple[str, str]]:
        """List (name, summary), in registry order."""
        return self._cuda.algorithms(operation)

    def candidates(self, problem: Problem) -> list[Candidate]:
        """Ask every kernel about a problem."""
        return [Candidate(**one) for one in self._cuda.candidates(problem)]

    def plan(self, problem: Problem, algorithm: str) -> Any:
        """Plan a problem with a named kernel."""
        return self._cuda.plan(problem, algorithm)

    def empty(
        self,
        shape: tuple[int, ...],
        order: tuple[int, ...] | None,
        dtype: Any,
        like: Any,
    ) -> Any:
        """Allocate a device array where `like` is."""
        return self._cuda.empty(shape, order, dtype, like)

    def pack(self, plan: Any, weight: Any) -> Any:
        """Pack nothing: the kernels read weights as they are."""
        del plan, weight

    def launch(self, plan: Any, *arrays: Any) -> None:
        """Launch any plan; the arrays in its order, as pyconv.cuda.run takes them."""
        self._cuda.run(plan, *arrays)

    def run_conv(
        self,
        plan: Any,
        x: Any,
        weight: Any,
        bias: Any,
        residual: Any,
        y: Any,
        packed: Any,
    ) -> None:
        """Launch a convolution on the current stream."""
        del packed
        self._cuda.run(plan, x, weight, bias, residual, y)

    def run_pool(self, plan: Any, x: Any, y: Any, indices: Any) -> None:
        """Launch a pooling on the current stream."""
        self._cuda.run(plan, x, y, indices)

    def run_pool_grad(
        self, plan: Any, grad: Any, indices: Any, x: Any, y: Any, dx: Any
    ) -> None:
        """Launch a pooling's gradient on the current stream."""
        self._cuda.run(plan, grad, indices, x, y, dx)

    def run_weight(self, plan: Any, x: Any, grad: Any, weight: Any) -> None:
        """Launch a weight gradient on the current stream."""
        self._cuda.run(plan, x, grad, weight)

    def run_unary(self, plan: Any, source: Any, target: Any) -> None:
        """Launch an operation that makes one array of one other."""
        self._cuda.run(plan, source, target)

    def to_device(self, a: Any) -> Any:
        """Copy a NumPy array to the GPU."""
        return self._cuda.to_device(a)

    def to_host(self, a: Any) -> Any:
        """Copy a device array to NumPy."""
        return self._cuda.to_host(a)


_cuda_backend: CudaBackend | None = None


def cuda_backend() -> CudaBackend:
    """Return the CUDA backend; BackendUnavailable with the reason where it cannot run."""
    global _cuda_backend  # noqa: PLW0603 - made once, at first use
    reason = cuda_unavailable()
    if reason:
        raise BackendUnavailable(f"the CUDA backend cannot run here: {reason}")
    if _cuda_backend is None:
        _cuda_backend = CudaBackend()
    return _cuda_backend


def cuda_unavailable() -> str:
    """Say why the CUDA backend cannot run, or "" when it can."""
    from pyconv import cuda  # noqa: PLC0415 - only when asked

    return cuda.availability()


def is_cupy(a: object) -> bool:
    """Whether this is a CuPy array; CuPy is looked for, never imported."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(a, cupy.ndarray)


def requested_device() -> str:
    """Return the device asked for: device()'s, else PYCONV_DEVICE's, else "cpu"."""
    name = _requested.get()
    if name is not None:
        return name
    if _DEFAULT not in DEVICES:
        raise ValueError(
            f"PYCONV_DEVICE must be one of {', '.join(DEVICES)}, got {_DEFAULT!r}"
        )
    return _DEFAULT


def backend_for(arrays: Sequence[object]) -> tuple[Backend, bool]:
    """Choose the backend of a call, and say whether it is lent to NumPy arrays."""
    on_gpu = [is_cupy(a) for a in arrays]
    if any(on_gpu):
        if not all(on_gpu):
            raise TypeError(
                "x, weight and the other arrays must be on one device: some are NumPy "
                "arrays and some are CuPy arrays"
            )
        devices = sorted({int(a.device.id) for a in arrays})  # type: ignore[attr-defined]
        if len(devices) > 1:
            raise TypeError(
                f"x, weight and the other arrays must be on one device: they are on "
                f"GPUs {', '.join(map(str, devices))}"
            )
        return cuda_backend(), False
    wanted = requested_device()
    if wanted == "cuda" or (wanted == "auto" and not cuda_unavailable()):
        return cuda_backend(), True
    return CPU, False


def algorithms(operation: str = "conv", device: str = "cpu") -> tuple[str, ...]:
    """Name the registered algorithms of an operation.

    Parameters
    ----------
    operation : str
        "conv"; "conv_input", "conv_weight" and "conv_bias" (gradients); "pool" and
        "pool_grad" (also of unpooling); "im2col", "col2im". Transposed convolutions and
        input gradients take those of "conv", for their phases, and of "conv_input", for
        the whole.
    device : {"cpu", "cuda"}
        Whose algorithms.

    Returns
    -------
    tuple of str
        Names that `algorithm=` takes, in registry order.

    Raises
    ------
    ValueError
        For another operation or device.
    BackendUnavailable
        For "cuda" where there is no GPU.

    Examples
    --------
    >>> import pyconv as pc
    >>> "direct" in pc.algorithms("conv")
    True
    """
    if operation not in OPERATIONS:
        names = ", ".join(map(repr, OPERATIONS))
        raise ValueError(f"operation must be one of {names}, got {operation!r}")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    backend: Backend = CPU if device == "cpu" else cuda_backend()
    return tuple(name for name, _ in backend.algorithms(operation))


@contextmanager
def device(name: str) -> Iterator[None]:
    """Run NumPy calls inside the block on a device.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
        "cuda" copies NumPy arrays to the GPU and back (each copy is an event that
        `trace` shows); "auto" does so where a GPU is present and uses the CPU where
        not. CuPy arrays run on the GPU in any case.

    Raises
    ------
    ValueError
        For another name.
    BackendUnavailable
        For "cuda" where there is no GPU, with the reason.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> with pc.device("auto"):
    ...     y = pc.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)))
    >>> y.shape
    (1, 1, 2, 2)
    """
    if name not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {name!r}")
    if name == "cuda":
        cuda_backend()
    token = _requested.set(name)
    is_lent = _may_lend(name)
    if is_lent:
        _core.set_fast_path(False)
    try:
        yield
    finally:
        if is_lent:
            _core.set_fast_path(True)
        _requested.reset(token)


def _may_lend(name: str) -> bool:
    """Whether NumPy calls may go to a GPU: the cache of raw calls knows only the CPU."""
    return name != "cpu" and not (name == "auto" and cuda_unavailable())


if _may_lend(_DEFAULT):
    _core.set_fast_path(False)
