"""Compiling ahead: cubins on disk before the first call asks for them.

NVRTC needs no GPU, so an image that is built on one machine can hold the kernels of
another: PYCONV_CACHE_DIR says where they lie.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pyconv.cuda import device, module
from pyconv.cuda.launch import CudaPlan, source_of

__all__ = ["Warmed", "architecture_of", "warm"]


@dataclass(frozen=True, slots=True)
class Warmed:
    """A kernel that lies in the cache now.

    Parameters
    ----------
    kernel : str
        Operation and algorithm.
    architecture : str
        For example "sm_90".
    seconds : float
        That it took.
    size_bytes : int
        Of the cubin.
    was_there : bool
        Whether the cache held it already.
    """

    kernel: str
    architecture: str
    seconds: float
    size_bytes: int
    was_there: bool

    def __str__(self) -> str:
        """Write a line of a table."""
        how = "was there" if self.was_there else f"{self.seconds:.2f} s"
        size = f"{self.size_bytes / 1e3:.0f} kB"
        return f"{self.kernel:<28} {self.architecture:<8} {how:>10} {size:>8}"


def architecture_of(name: str | None) -> str:
    """Check an architecture's name, or ask the current device for its own.

    Raises
    ------
    ValueError
        If there is no such name, or no device to ask.
    """
    if name is not None:
        digits = name.removeprefix("sm_").removesuffix("a")
        if not (name.startswith("sm_") and digits.isdigit()):
            raise ValueError(f"an architecture is written like sm_90, got {name!r:.60}")
        return name
    reason = device.availability()
    if reason:
        raise ValueError(
            "there is no GPU to ask for its architecture: name one, such as --arch "
            f"sm_90 ({reason})"
        )
    return device.architecture(device.current_device())


def warm(plan: CudaPlan, architecture: str) -> Warmed:
    """Compile a plan's kernel into the cache, if it is not there.

    Raises
    ------
    pyconv.cuda.module.CompileError
        If it does not compile.
    """
    options = module.options_for(architecture, plan.index_bits)
    text = source_of(plan)
    was_there = module.cached(text, options) is not None
    start = time.perf_counter()
    path = module.cubin_file(text, options)
    return Warmed(
        kernel=f"{plan.kernel.operation} {plan.kernel.name}",
        architecture=architecture,
        seconds=time.perf_counter() - start,
        size_bytes=path.stat().st_size,
        was_there=was_there,
    )
