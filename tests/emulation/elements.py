"""Arrays of every element type, and how far a sum of them may lie from the exact one."""

# ruff: noqa: PLC0415 - CuPy is imported only where a GPU is used

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from pyconv.problem import DTYPES, result_type, sum_type

Array = np.ndarray[Any, Any]
HALVES = ("float16", "bfloat16")
SENTINEL = 12345  # what no kernel has written
GUARD = 2048  # elements on each side of a guarded array
_NAMES = {code: name for name, code in DTYPES.items()}


def dtype_of(name: str) -> np.dtype[Any]:
    """NumPy's type of a name; bfloat16 is ml_dtypes'."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def result_name(name: str) -> str:
    """Name the type of a convolution of such elements."""
    return _NAMES[result_type(DTYPES[name])]


def sum_name(name: str) -> str:
    """Name the type it is summed in, and its bias has."""
    return _NAMES[sum_type(DTYPES[name])]


def arranged(a: Array, memory: str) -> Array:
    """Copy an array into a memory order, keeping its logical axes."""
    if memory == "last":
        stored = np.ascontiguousarray(a.transpose(0, 2, 3, 4, 1))
        return np.asarray(stored.transpose(0, 4, 1, 2, 3))
    if memory == "flipped":
        return np.asarray(np.ascontiguousarray(a[..., ::-1, ::-1])[..., ::-1, ::-1])
    return np.ascontiguousarray(a)


def random_array(shape: tuple[int, ...], name: str, memory: str, seed: int) -> Array:
    """Draw a normal array, or integers over all of their range, in a memory order."""
    random = np.random.default_rng(seed)
    dtype = dtype_of(name)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        drawn = random.integers(info.min, info.max, shape, dtype, endpoint=True)
        return arranged(drawn, memory)
    values: Any = random.standard_normal(shape)
    if dtype.kind == "c":
        values = values + 1j * random.standard_normal(shape)
    return arranged(values.astype(dtype), memory)


def unwritten(shape: tuple[int, ...], name: str, memory: str = "first") -> Array:
    """Make an array that nothing has written."""
    return arranged(np.full(shape, SENTINEL).astype(dtype_of(name)), memory)


def exact(a: Array) -> Array:
    """Widen an array to what its sums are exact in, or nearly; integers wrap."""
    if a.dtype.kind in "iu":
        return a.astype(np.uint64 if a.dtype == np.uint64 else np.int64)
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)


def chain_bound(name: str, n: int, scale: Array) -> Array:
    """Bound a chain of n roundings, by the sum of the terms' sizes."""
    wide = {"complex64": "float32", "complex128": "float64"}.get(name, sum_name(name))
    unit = float(np.finfo(wide).eps) / 2
    if name.startswith("complex"):  # two products and an addition for each part
        n, scale = 2 * n, 2 * scale
    return np.asarray(n * unit / (1 - n * unit) * scale)


def check_stored(name: str, got: Array, wanted: Array, bound: Array) -> None:
    """Compare with an exact sum: `bound` on the sum, and one rounding of a half."""
    if got.dtype.kind in "iu":
        np.testing.assert_array_equal(got, wanted.astype(got.dtype))
        return
    found = exact(got)
    assert np.isfinite(found).all()
    if name in HALVES:
        info: Any = ml_dtypes.finfo(dtype_of(name))
        unit, least = float(info.eps) / 2, float(info.smallest_subnormal) / 2
        bound = bound + unit * (abs(wanted) + bound) + least
    error = abs(found - wanted)
    assert (error <= bound).all(), f"error / bound is {(error / bound).max():.3g}"


def guarded(a: Any, shift: int = 0) -> Any:
    """Copy an array, with its pitches, between two stretches of NaN (or of -9).

    It begins `shift` elements past where a vector would be aligned. A read outside gives
    NaN, a write outside leaves a mark for `guards_are_whole`: what nothing has written
    stands between more of the same, over which a NaN shows.
    """
    if a is None:
        return None
    fill = {"i": -9, "u": 9}.get(a.dtype.kind, np.nan)
    if a.size and (a == np.full((), SENTINEL).astype(a.dtype)).all():
        fill = SENTINEL
    before = sum(
        (1 - extent) * step
        for extent, step in zip(a.shape, a.strides, strict=True)
        if step < 0
    )
    buffer = np.full(a.size + 2 * GUARD + shift, fill).astype(a.dtype)
    start = (GUARD + shift) * a.itemsize + before
    view: Array = np.ndarray(a.shape, a.dtype, buffer, start, a.strides)
    view[...] = a
    return view


def guards_are_whole(a: Any) -> bool:
    """Whether nothing was written outside an array that `guarded` made."""
    buffer = a.base
    ends = np.concatenate((buffer[:GUARD], buffer[-GUARD:]))
    mark = buffer[0]
    return bool((np.isnan(ends) if mark != mark else ends == mark).all())  # noqa: PLR0124


def byte_bounds(a: Array | None) -> tuple[int, int]:
    """Give the addresses of an array's first byte and past its last; zeros for None."""
    if a is None:
        return 0, 0
    spans = [(n - 1) * step for n, step in zip(a.shape, a.strides, strict=True)]
    first: int = a.ctypes.data
    low = first + sum(span for span in spans if span < 0)
    return low, first + sum(span for span in spans if span > 0) + a.itemsize


def aligned(a: Array | None) -> Array | None:
    """Copy an array, with its pitches, to where a line begins, as allocators do."""
    if a is None:
        return None
    line = 128
    low, high = byte_bounds(a)
    memory = np.empty(high - low + line, np.uint8)
    start = -memory.ctypes.data % line
    first = a.ctypes.data - low
    view: Array = np.ndarray(a.shape, a.dtype, memory, start + first, a.strides)
    view[...] = a
    return view


def device_copy(a: Any) -> Any:
    """Copy to the device with the same strides."""
    import cupy

    if a is None:
        return None
    order = sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis]))
    backwards = tuple(
        slice(None, None, -1) if s < 0 else slice(None) for s in a.strides
    )
    stored = cupy.asarray(np.ascontiguousarray(a[backwards].transpose(order)))
    inverse = tuple(order.index(axis) for axis in range(a.ndim))
    return stored.transpose(inverse)[backwards]
