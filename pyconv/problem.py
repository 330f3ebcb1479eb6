"""The problem: what is to be computed, as plain integers.

ConvProblem and PoolProblem are the Python twins of the structs in
csrc/core/problem.hpp, field by field: rank 1 and 2 are rank 3 with extents of 1, spatial
triples are (depth, height, width), pitches count elements along the logical axes. They
are frozen and hashable, so that a plan can be looked up by its problem. Shape arithmetic
is exact here (Python integers cannot overflow) and happens nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

__all__ = [
    "ACCURACIES",
    "ACTIVATIONS",
    "BYTES",
    "CONV_RECORD",
    "DTYPES",
    "FLOATS",
    "PADDING_MODES",
    "POOL_KINDS",
    "POOL_RECORD",
    "BiasProblem",
    "Col2imProblem",
    "ConvProblem",
    "Im2colProblem",
    "InputProblem",
    "Pitches",
    "PoolGradProblem",
    "PoolProblem",
    "Triple",
    "WeightProblem",
    "conv_output",
    "itemsize_of",
    "memory_order",
    "pool_output",
    "result_type",
    "sum_type",
    "triple",
]

Triple = tuple[int, int, int]
Pitches = tuple[int, int, int, int, int]

# Codes of the enums in problem.hpp.
DTYPES = {
    "float32": 0,
    "float64": 1,
    "float16": 2,
    "bfloat16": 3,
    "int8": 4,
    "uint8": 5,
    "int16": 6,
    "uint16": 7,
    "int32": 8,
    "uint32": 9,
    "int64": 10,
    "uint64": 11,
    "complex64": 12,
    "complex128": 13,
}
FLOATS = ("float32", "float64", "float16", "bfloat16")
BYTES = ("int8", "uint8")
PADDING_MODES = {"zeros": 0, "reflect": 1, "replicate": 2, "circular": 3}
ACTIVATIONS = {
    None: 0,
    "relu": 1,
    "relu6": 2,
    "leaky_relu": 3,
    "sigmoid": 4,
    "tanh": 5,
    "gelu": 6,
    "silu": 7,
}
ACCURACIES = {"strict": 0, "default": 1, "fast": 2}
POOL_KINDS = {"max": 0, "average": 1, "lp": 2, "unpool": 3}

_ITEMSIZES = (4, 8, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 8, 16)

_WIDE = {"Triple": (3,), "Pitches": (5,)}


def _record_of(problem: type[Any]) -> np.dtype[np.void]:
    """Build the NumPy twin of a problem's struct from its fields."""
    return np.dtype(
        [
            (field.name, np.int64, _WIDE.get(str(field.type), ()))
            for field in fields(problem)
        ],
        align=True,
    )


@dataclass(frozen=True, slots=True)
class ConvProblem:
    """A convolution; ``struct ConvProblem`` of problem.hpp."""

    dtype: int
    weight_dtype: int
    n: int
    c: int
    k: int
    groups: int
    input: Triple
    kernel: Triple
    stride: Triple
    dilation: Triple
    pad_before: Triple
    pad_after: Triple
    output: Triple
    padding_mode: int
    activation: int
    accuracy: int
    has_bias: int
    has_residual: int
    x_pitch: Pitches
    w_pitch: Pitches
    y_pitch: Pitches

    operation: ClassVar[str] = "conv"

    def to_record(self) -> np.void:
        """Return the struct as a NumPy structured scalar, byte for byte."""
        return _scalar(self, CONV_RECORD)

    def sample(self) -> ConvProblem:
        """Return the same for a batch of one, channels last, without gaps."""
        return replace(
            self,
            n=1,
            x_pitch=_channels_last(self.c, self.input),
            y_pitch=_channels_last(self.k, self.output),
            w_pitch=_channels_first(self.c // self.groups, self.kernel),
        )

    @property
    def itemsize(self) -> int:
        """Bytes of one element of x."""
        return _ITEMSIZES[self.dtype]

    @property
    def flops(self) -> int:
        """Operations of the direct sum; a multiply-add counts two."""
        return (
            2
            * self.n
            * self.k
            * (self.c // self.groups)
            * _volume(self.kernel)
            * _volume(self.output)
        )

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that any algorithm must move: inputs read and output written once."""
        x = self.n * self.c * _volume(self.input)
        weight = self.k * (self.c // self.groups) * _volume(self.kernel)
        y = self.n * self.k * _volume(self.output) * (1 + self.has_residual)
        bias = self.k * self.has_bias
        return (
            x * self.itemsize
            + weight * itemsize_of(self.weight_dtype)
            + bias * itemsize_of(sum_type(self.dtype))
            + y * itemsize_of(result_type(self.dtype))
        )


@dataclass(frozen=True, slots=True)
class InputProblem(ConvProblem):
    """The input gradient of a convolution; x_pitch is that of the gradient.

    Bias, residual and activation are the gradient's epilogue.
    """

    operation: ClassVar[str] = "conv_input"

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that any algorithm must move: inputs read and the gradient written."""
        x = self.n * self.c * _volume(self.input)
        weight = self.k * (self.c // self.groups) * _volume(self.kernel)
        y = self.n * self.k * _volume(self.output)
        bias = self.c * self.has_bias
        return (
            y * self.itemsize
            + weight * _ITEMSIZES[self.weight_dtype]
            + bias * _ITEMSIZES[sum_type(self.dtype)]
            + x * (1 + self.has_residual) * _ITEMSIZES[result_type(self.dtype)]
        )


@dataclass(frozen=True, slots=True)
class WeightProblem(ConvProblem):
    """The weight gradient of a convolution; y_pitch is that of the result's gradient."""

    operation: ClassVar[str] = "conv_weight"


@dataclass(frozen=True, slots=True)
class BiasProblem(ConvProblem):
    """The bias gradient of a convolution; y_pitch is that of the result's gradient."""

    operation: ClassVar[str] = "conv_bias"

    @property
    def flops(self) -> int:
        """One addition for every element."""
        return self.n * self.k * _volume(self.output)

    @property
    def compulsory_bytes(self) -> int:
        """Bytes of the gradient and of one sum for each filter."""
        return (self.n * _volume(self.output) + 1) * self.k * self.itemsize


@dataclass(frozen=True, slots=True)
class Im2colProblem(ConvProblem):
    """Patches to columns: k is c taps, one for each row; y is the matrix of columns."""

    operation: ClassVar[str] = "im2col"

    @property
    def flops(self) -> int:
        """Moving is no arithmetic."""
        return 0

    @property
    def compulsory_bytes(self) -> int:
        """Bytes of images and columns."""
        images = self.n * self.c * _volume(self.input)
        columns = self.n * self.k * _volume(self.output)
        return (images + columns) * self.itemsize


@dataclass(frozen=True, slots=True)
class Col2imProblem(Im2colProblem):
    """Columns back to patches, which are added."""

    operation: ClassVar[str] = "col2im"

    @property
    def flops(self) -> int:
        """One addition for every element of the columns."""
        return self.n * self.k * _volume(self.output)


@dataclass(frozen=True, slots=True)
class PoolProblem:
    """A pooling; ``struct PoolProblem`` of problem.hpp."""

    dtype: int
    kind: int
    n: int
    c: int
    input: Triple
    kernel: Triple
    stride: Triple
    dilation: Triple
    pad_before: Triple
    pad_after: Triple
    output: Triple
    adaptive: int
    count_include_pad: int
    divisor_override: int
    norm_bits: int
    return_indices: int
    x_pitch: Pitches
    y_pitch: Pitches

    operation: ClassVar[str] = "pool"

    def to_record(self) -> np.void:
        """Return the struct as a NumPy structured scalar, byte for byte."""
        return _scalar(self, POOL_RECORD)

    @property
    def itemsize(self) -> int:
        """Bytes of one element of x."""
        return _ITEMSIZES[self.dtype]

    @property
    def flops(self) -> int:
        """Comparisons or additions of the windows taken one by one."""
        return self.n * self.c * _volume(self.kernel) * _volume(self.output)

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that any algorithm must move: input read and output written once."""
        planes = self.n * self.c
        x = planes * _volume(self.input)
        y = planes * _volume(self.output)
        return x * self.itemsize + y * (self.itemsize + 8 * self.return_indices)


@dataclass(frozen=True, slots=True)
class PoolGradProblem(PoolProblem):
    """A pooling's gradient; y_pitch is that of the result's, x_pitch that of x's."""

    operation: ClassVar[str] = "pool_grad"

    @property
    def compulsory_bytes(self) -> int:
        """Bytes of both gradients, a maximum's indices, and a norm's x and y."""
        planes = self.n * self.c
        x, y = planes * _volume(self.input), planes * _volume(self.output)
        arrays = 2 if self.kind == POOL_KINDS["lp"] else 1
        return arrays * (x + y) * self.itemsize + 8 * y * self.return_indices


CONV_RECORD = _record_of(ConvProblem)
POOL_RECORD = _record_of(PoolProblem)


def _scalar(problem: Any, record: np.dtype[np.void]) -> np.void:
    """Fill one record with a problem's fields."""
    values = tuple(getattr(problem, name) for name in record.names or ())
    scalar: np.void = np.array([values], dtype=record)[0]
    return scalar


def _channels_last(channels: int, extents: Triple) -> Pitches:
    """Pitches of (n, c, d, h, w) when c is fastest."""
    _, h, w = extents
    return (_volume(extents) * channels, 1, h * w * channels, w * channels, channels)


def _channels_first(channels: int, extents: Triple) -> Pitches:
    """Pitches of (n, c, d, h, w) when w is fastest."""
    _, h, w = extents
    return (channels * _volume(extents), _volume(extents), h * w, w, 1)


def memory_order(a: Any) -> tuple[int, ...]:
    """List an array's axes from slowest to fastest."""
    return tuple(sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis])))


def itemsize_of(dtype: int) -> int:
    """Bytes of one element of a code's type."""
    return _ITEMSIZES[dtype]


def result_type(dtype: int) -> int:
    """Code of what a convolution of such elements gives."""
    if 4 <= dtype <= 7:  # 8 and 16 bits: exact in int32
        return DTYPES["int32"]
    return DTYPES["int64"] if 8 <= dtype <= 10 else dtype


def sum_type(dtype: int) -> int:
    """Code of what it is summed in, and its bias has: halves in float32."""
    return DTYPES["float32"] if dtype in (2, 3) else result_type(dtype)


def _volume(extents: Triple) -> int:
    """Multiply the extents."""
    return extents[0] * extents[1] * extents[2]


def triple(values: tuple[int, ...], fill: int) -> Triple:
    """Put leading axes in front of rank 1 and 2."""
    depth, height, width = (fill,) * (3 - len(values)) + values
    return (depth, height, width)


def conv_output(
    extent: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int]
) -> int:
    """Output size along one axis; below 1 when the kernel does not fit."""
    room = extent + padding[0] + padding[1] - dilation * (kernel - 1) - 1
    return room // stride + 1


def pool_output(
    extent: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: tuple[int, int],
    ceil_mode: bool,
) -> int:
    """Output size along one axis; below 1 when the window does not fit.

    With ceil_mode a last, partial window counts, but only if it starts inside the input
    or the padding before it (torch's rule).
    """
    size = conv_output(extent, kernel, stride, dilation, padding)
    if not ceil_mode or size < 1:
        return size
    room = extent + padding[0] + padding[1] - dilation * (kernel - 1) - 1
    size = -(-room // stride) + 1
    return size - 1 if (size - 1) * stride >= extent + padding[0] else size
