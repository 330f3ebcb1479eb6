"""Whose array is this: its type, its memory order, and the output that goes back.

Kernels follow pitches, so strides of any kind are never copied. What must be copied
(a cast, a misaligned or byte-swapped array) becomes an Event. Everything downstream
sees arrays through five-axis views: (n, c, d, h, w) for x and y, (k, c, t, r, s) for
the weight.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyconv import _core
from pyconv.backends import is_cupy
from pyconv.errors import ShapeError
from pyconv.problem import BYTES, DTYPES, memory_order, result_type, sum_type
from pyconv.protocols import Event

__all__ = [
    "Layout",
    "Road",
    "check_array",
    "check_indices",
    "check_out",
    "five_axes",
    "operand_dtypes",
    "pitches",
    "promoted",
    "read_layout",
    "result_dtype",
    "stored_channels_last",
    "sum_dtype",
]

Array = Any

_LAYOUTS = {
    1: ("NCHW", "NHWC", "NCW", "NWC"),
    2: ("NCHW", "NHWC"),
    3: ("NCHW", "NHWC", "NCDHW", "NDHWC"),
}
_OVERLAP_WORK = 10_000  # candidates numpy.shares_memory may try before it gives up


@dataclass(frozen=True, slots=True)
class Layout:
    """How the user's x and y map to (n, c, d, h, w)."""

    rank: int
    channels_last: bool
    batched: bool

    def view(self, a: Array) -> Array:
        """View x, y, residual or indices with five axes."""
        if not self.batched:
            a = a[None]
        if self.channels_last:
            a = a.transpose(0, self.rank + 1, *range(1, self.rank + 1))
        return five_axes(a)

    def shape(self, n: int, channels: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of an output in the user's axes."""
        inner = (*spatial, channels) if self.channels_last else (channels, *spatial)
        return (n, *inner) if self.batched else inner

    def order(self, memory_last: bool) -> tuple[int, ...] | None:
        """Axes of an output from slowest to fastest; None where that is their order."""
        if memory_last == self.channels_last:
            return None
        lead = 1 if self.batched else 0
        spatial = tuple(range(lead, lead + self.rank))
        if memory_last:  # logical (c, spatial), stored (spatial, c)
            axes = (*(axis + 1 for axis in spatial), lead)
        else:  # logical (spatial, c), stored (c, spatial)
            axes = (lead + self.rank, *spatial)
        return (0, *axes) if self.batched else axes

    def planned(
        self, shape: tuple[int, ...], order: tuple[int, ...] | None, dtype: Any
    ) -> np.ndarray[Any, Any]:
        """Stand in for an output that is not allocated yet: its shape and steps."""
        steps = [0] * len(shape)
        step = dtype.itemsize
        for axis in reversed(order or range(len(shape))):
            steps[axis] = step
            step *= max(shape[axis], 1)
        return np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, steps)


def read_layout(layout: object, rank: int, x: Array, name: str = "x") -> Layout:
    """Read layout= and x's number of axes; `name` is x's, for errors."""
    if not isinstance(layout, str):
        raise TypeError(f"layout must be a string, not {type(layout).__name__}")
    names = _LAYOUTS[rank]
    if layout not in names:
        raise ValueError(
            f"layout must be one of {', '.join(names)}, got {layout!r:.60}"
        )
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name} must have {rank + 2} axes (or {rank + 1}, without a batch), got shape "
            f"{x.shape}"
        )
    return Layout(rank, layout[-1] == "C", x.ndim == rank + 2)


def five_axes(a: Array) -> Array:
    """Insert axes of extent 1 before the spatial axes of a (two, *spatial) array."""
    return a[(slice(None), slice(None)) + (None,) * (5 - a.ndim)]


def pitches(a: Array) -> tuple[int, int, int, int, int]:
    """Count a five-axis view's steps in elements."""
    size = a.dtype.itemsize
    n, c, d, h, w = (step // size for step in a.strides)
    return (n, c, d, h, w)


def stored_channels_last(x: Array, layout: Layout) -> bool:
    """Whether the channels of x (five axes) lie closer together than its pixels."""
    steps = [
        abs(step)
        for step, extent in zip(x.strides[2:], x.shape[2:], strict=True)
        if extent > 1
    ]
    if x.shape[1] == 1 or not steps:
        return layout.channels_last
    return bool(abs(x.strides[1]) < min(steps))


def check_array(name: str, a: object, supported: Collection[str] = DTYPES) -> Array:
    """Return an array of a supported type as a plain array; TypeError otherwise."""
    if not (isinstance(a, np.ndarray) or is_cupy(a)):
        raise TypeError(f"{name} must be a NumPy or CuPy array, not {type(a).__name__}")
    array: Array = a
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: masks have no kernel")
    if array.dtype.name not in supported:  # whatever the byte order
        raise TypeError(
            f"{name} has dtype {array.dtype}; supported are {', '.join(supported)}"
        )
    if array.dtype.name == "bfloat16":  # no type of NumPy's own
        _core.set_bfloat16(array.dtype.num)
    else:
        usual = np.dtype(array.dtype.name)
        if array.dtype.isnative and array.dtype.num != usual.num:  # long long, where it
            array = array.view(usual)  # is not the usual integer of its size
    return np.asarray(array) if isinstance(array, np.ndarray) else array


def check_indices(indices: object, shape: tuple[int, ...]) -> Array:
    """Return an array of integers of a shape as a plain array; an error otherwise."""
    if not (isinstance(indices, np.ndarray) or is_cupy(indices)):
        raise TypeError(
            f"indices must be a NumPy or CuPy array, not {type(indices).__name__}"
        )
    array: Array = indices
    if isinstance(indices, np.ma.MaskedArray) or array.dtype.kind not in "iu":
        raise TypeError(f"indices must be an array of integers, got {array.dtype}")
    if array.shape != shape:
        raise ShapeError(
            f"indices must have the shape of what they place, {shape}, got "
            f"{array.shape}"
        )
    return np.asarray(array) if isinstance(array, np.ndarray) else array


def promoted(x: Array, weight: Array) -> np.dtype[Any]:
    """Promote x's and weight's types as NumPy does; the two halves meet in float32."""
    if {x.dtype.name, weight.dtype.name} == {"float16", "bfloat16"}:
        return np.dtype(np.float32)
    try:
        return np.result_type(x.dtype.newbyteorder("="), weight.dtype.newbyteorder("="))
    except np.exceptions.DTypePromotionError:
        raise TypeError(
            f"{x.dtype} and {weight.dtype} have no common type: cast one of the arrays"
        ) from None


def operand_dtypes(x: Array, weight: Array) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Types that x and weight are multiplied in: promoted, but bytes keep their signs."""
    if x.dtype.name in BYTES and weight.dtype.name in BYTES:
        return x.dtype, weight.dtype
    dtype = promoted(x, weight)
    return dtype, dtype


def result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of a convolution's result, from that of its operands."""
    return _by_code(dtype, result_type(DTYPES[dtype.name]))


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type that a convolution is summed in, and its bias has."""
    return _by_code(dtype, sum_type(DTYPES[dtype.name]))


def _by_code(dtype: np.dtype[Any], code: int) -> np.dtype[Any]:
    """Name the type of a code; that of `dtype` itself may not be NumPy's own."""
    if code == DTYPES[dtype.name]:
        return dtype
    return np.dtype(next(name for name, one in DTYPES.items() if one == code))


@dataclass(slots=True)
class Road:
    """The arrays of one call made ready, and what had to happen to them.

    With `dry` nothing is copied: a copy's place is taken by uninitialised memory of the
    right shape, enough to plan and explain by.
    """

    dtype: np.dtype[Any]
    dry: bool = False
    events: list[Event] = field(default_factory=list)

    def ready(self, name: str, a: Array, dtype: np.dtype[Any] | None = None) -> Array:
        """Return `a` in a type, the call's own by default, aligned, in native order."""
        wanted = self.dtype if dtype is None else dtype
        if a.dtype == wanted and a.dtype.isnative and _aligned(a):
            return a
        if a.dtype.newbyteorder("=") != wanted:
            kind, reason = "cast", f"{a.dtype} to {wanted}"
        elif not a.dtype.isnative:
            kind, reason = "copy", "bytes are swapped"
        else:
            kind, reason = "copy", "elements are misaligned"
        return self._copied(kind, name, a, reason, wanted)

    def contiguous(self, name: str, a: Array, dtype: np.dtype[Any]) -> Array:
        """Return `a` ready and with neighbouring elements."""
        a = self.ready(name, a, dtype)
        if a.flags.c_contiguous:
            return a
        return self._copied("copy", name, a, "elements are not neighbours", dtype)

    def like(self, name: str, a: Array, y: Array) -> Array:
        """Return `a` ready in y's type and with y's steps."""
        a = self.ready(name, a, y.dtype)
        if same_steps(a, y):
            return a
        self._note("copy", name, a, "its memory order is not the output's", y.dtype)
        if self.dry:
            return y
        twin = in_axis_order(a, memory_order(y))
        if same_steps(twin, y):
            return twin
        if not isinstance(a, np.ndarray):
            raise ShapeError(f"{name} must have out's strides: {y.strides}")
        twin = _twin(y)  # y has gaps: borrow its whole stretch of memory
        twin[...] = a
        return twin

    def _copied(
        self, kind: str, name: str, a: Array, reason: str, dtype: np.dtype[Any]
    ) -> Array:
        self._note(kind, name, a, reason, dtype)
        if self.dry:
            return np.empty_like(a, dtype=dtype, subok=False)
        # Keeps the memory order, so that the output's follows the user's array.
        return a.astype(dtype, order="K", copy=True)

    def _note(
        self, kind: str, name: str, a: Array, reason: str, dtype: np.dtype[Any]
    ) -> None:
        size = int(a.size) * dtype.itemsize
        self.events.append(Event(kind, name, size, reason))


def same_steps(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape are walked by the same steps."""
    return all(
        one == other
        for one, other, extent in zip(a.strides, b.strides, a.shape, strict=True)
        if extent > 1
    )


def in_axis_order(a: Array, order: tuple[int, ...]) -> Array:
    """Copy an array so that its axes lie in memory in an order, without gaps."""
    back = sorted(range(a.ndim), key=order.__getitem__)
    return a.transpose(order).copy(order="C").transpose(back)


def _aligned(a: Array) -> bool:
    """Whether a NumPy array's elements are aligned; CuPy's always are."""
    return not isinstance(a, np.ndarray) or bool(a.flags.aligned)


def _twin(y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Allocate an array with y's shape and strides, gaps and all."""
    spans = [
        (extent - 1) * step for extent, step in zip(y.shape, y.strides, strict=True)
    ]
    below = -sum(span for span in spans if span < 0)
    above = sum(span for span in spans if span > 0)
    memory = np.empty(below + above + y.itemsize, np.uint8)
    twin: np.ndarray[Any, Any] = np.ndarray(y.shape, y.dtype, memory, below, y.strides)
    return twin


def check_out(
    out: Array,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    others: dict[str, Array | None],
    name: str = "out",
) -> None:
    """Refuse an out= that cannot take the result as it is."""
    if not (isinstance(out, np.ndarray) or is_cupy(out)):
        raise TypeError(f"{name} must be an array, not {type(out).__name__}")
    if out.dtype != dtype or out.dtype.num != dtype.num or not out.dtype.isnative:
        raise TypeError(f"{name} must have dtype {dtype}, got {out.dtype}")
    if out.shape != shape:
        raise ShapeError(
            f"{name} must have the result's shape {shape}, got {out.shape}"
        )
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: masks have no kernel")
    _check_memory(out, others, name)


def _check_memory(out: Array, others: dict[str, Array | None], name: str) -> None:
    """Refuse memory that cannot be written element by element."""
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if not _aligned(out):
        raise ValueError(f"{name} is misaligned: its elements cross their boundaries")
    if _overlaps_itself(out):
        raise ValueError(f"{name} has elements that share memory with each other")
    for other, a in others.items():
        if a is not None and _shares(out, a):
            raise ValueError(f"{name} overlaps {other} in memory")


def _stretch(a: Array) -> tuple[int, int]:
    """Return the first device address of an array and the one past its last."""
    low = high = int(a.data.ptr)
    for step, extent in zip(a.strides, a.shape, strict=True):
        low += min(step * (extent - 1), 0)
        high += max(step * (extent - 1), 0)
    return low, high + a.dtype.itemsize


def _shares(a: Array, b: Array) -> bool:
    """Whether two arrays share an element; yes when that is too hard to tell."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) or not a.size:
            return False
        (low, high), (other_low, other_high) = _stretch(a), _stretch(b)
        return bool(b.size) and low < other_high and other_low < high
    try:
        return bool(np.shares_memory(a, b, max_work=_OVERLAP_WORK))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _overlaps_itself(a: Array) -> bool:
    """Whether two indices may reach one element: steps do not nest."""
    reach = 0
    axes = sorted(
        (abs(step), extent)
        for step, extent in zip(a.strides, a.shape, strict=True)
        if extent > 1
    )
    for step, extent in axes:
        if step <= reach or step < a.itemsize:
            return True
        reach += step * (extent - 1)
    return False
