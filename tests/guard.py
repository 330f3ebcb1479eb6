"""Arrays that end, or start, exactly at a page that may not be touched.

A kernel that reads or writes one element too far dies of SIGSEGV instead of passing by
luck: the idea of electric fence, with mmap and mprotect through ctypes.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PAGE = mmap.PAGESIZE
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Guards:
    """A context that owns guarded blocks; arrays must not outlive it."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, int]] = []

    def __enter__(self) -> Guards:  # noqa: PYI034 (Self is Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        for address, length in self._blocks:
            _libc.munmap(address, length)
        self._blocks.clear()

    def copy(self, array: Array, order: str, at: str) -> Array:
        """Copy a logical (N, C, *spatial) whose block meets a guard `at` "end"/"start".

        order "first" or "last" is the memory order, as in tests.cases.in_order.
        """
        moved = array if order == "first" else np.moveaxis(array, 1, -1)
        size = moved.size * moved.itemsize
        pages = -(-size // PAGE) * PAGE
        length = pages + 2 * PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        base = _libc.mmap(None, length, _READ_WRITE, flags, -1, 0)
        assert base not in (None, ctypes.c_void_p(-1).value), "mmap failed"
        self._blocks.append((base, length))
        for forbidden in (base, base + PAGE + pages):
            assert _libc.mprotect(forbidden, PAGE, 0) == 0, "mprotect failed"
        begin = base + PAGE + (pages - size if at == "end" else 0)
        block = (ctypes.c_char * size).from_address(begin)
        view = np.frombuffer(block, moved.dtype).reshape(moved.shape)
        view[...] = moved
        return view if order == "first" else np.moveaxis(view, -1, 1)
