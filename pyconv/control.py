"""Control: threads and the output pool, and the tie to threadpoolctl."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import Any

from pyconv import _core
from pyconv.parameters import integer

__all__ = [
    "empty_output_pool",
    "get_num_threads",
    "output_pool_info",
    "set_num_threads",
    "set_output_pool_limit",
]


def get_num_threads() -> int:
    """Return how many threads a call may use, the caller's included.

    Until set: PYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the processors that this
    process may use.
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use, the caller's included; 1 to 4095.

    Results do not depend on it.
    """
    count = integer("n, the number of threads,", n, 1)
    if count > 4095:
        raise ValueError(f"n, the number of threads, must be at most 4095, got {count}")
    _core.set_num_threads(count)


def output_pool_info() -> dict[str, int]:
    """Report the pool that large results come from, in bytes.

    Returns
    -------
    dict
        held_bytes (free, kept for the next result), in_use_bytes, limit_bytes (of
        held_bytes), hits, misses.
    """
    return dict(_core.output_pool())  # type: ignore[arg-type]


def empty_output_pool() -> int:
    """Give the pool's free blocks back to the system; returns how many bytes."""
    return _core.empty_output_pool()


def set_output_pool_limit(limit_bytes: int) -> None:
    """Bound the free bytes that the pool keeps; 0 keeps none."""
    _core.set_output_pool_limit(integer("limit_bytes", limit_bytes, 0))


def _register_controller() -> None:
    """Let threadpoolctl find and limit our threads, where it is installed."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return
    import threadpoolctl  # noqa: PLC0415 - only where it is installed

    if not hasattr(threadpoolctl, "LibController"):  # before 3.2
        return

    class PyconvController(threadpoolctl.LibController):  # type: ignore[misc]
        """pyconv's own pool of threads."""

        user_api = "pyconv"
        internal_api = "pyconv"
        filename_prefixes = ("_core",)
        check_symbols = ("pyconv_get_num_threads", "pyconv_set_num_threads")

        def get_num_threads(self) -> int:
            """Ask the library."""
            count: int = self.dynlib.pyconv_get_num_threads()
            return count

        def set_num_threads(self, num_threads: int) -> None:
            """Tell the library."""
            self.dynlib.pyconv_set_num_threads(ctypes.c_int(num_threads))

        def get_version(self) -> str:
            """Return pyconv's version."""
            return _core.version

        def set_additional_attributes(self) -> None:
            """Nothing beside the count of threads."""

    controller: Any = PyconvController
    threadpoolctl.register(controller)


_register_controller()
