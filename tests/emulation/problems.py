"""Problems built from NumPy arrays, and their float64 answers.

The references pad with np.pad and sum taps with einsum: no index arithmetic is shared
with the kernels. Shapes are (N, C, D, H, W); memory order is the arrays' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import erf
from typing import Any

import numpy as np

from pyconv.problem import (
    DTYPES,
    BiasProblem,
    ConvProblem,
    Im2colProblem,
    PoolGradProblem,
    PoolProblem,
    WeightProblem,
)
from tests.emulation.elements import Array

PAD_MODES = ("constant", "reflect", "edge", "wrap")


@dataclass(frozen=True)
class ConvCase:
    """One convolution: extents and options, per axis (depth, height, width)."""

    name: str
    input: tuple[int, int, int]
    kernel: tuple[int, int, int]
    n: int = 1
    c: int = 3
    k: int = 5
    groups: int = 1
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)
    before: tuple[int, int, int] = (0, 0, 0)
    after: tuple[int, int, int] = (0, 0, 0)
    mode: int = 0
    activation: int = 0
    bias: bool = False
    residual: bool = False
    dtype: str = "float32"
    weight_dtype: str = ""  # dtype, but for bytes
    memory: str = "first"  # "first", "last" (channels), "flipped" (negative pitches)

    def output(self) -> tuple[int, ...]:
        """Spatial extents of y."""
        return tuple(
            (n + a + b - d * (k - 1) - 1) // s + 1
            for n, k, s, d, a, b in zip(
                self.input,
                self.kernel,
                self.stride,
                self.dilation,
                self.before,
                self.after,
                strict=True,
            )
        )


@dataclass(frozen=True)
class PoolCase:
    """One pooling: kind 0 is max, 1 is average, 2 a norm."""

    name: str
    kind: int
    input: tuple[int, int, int]
    kernel: tuple[int, int, int]
    output: tuple[int, int, int]
    n: int = 2
    c: int = 3
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)
    before: tuple[int, int, int] = (0, 0, 0)
    after: tuple[int, int, int] = (0, 0, 0)
    include_pad: bool = True
    divisor: int = 0
    adaptive: bool = False
    norm: float = 2.0
    dtype: str = "float32"
    memory: str = "first"
    values: dict[tuple[int, ...], float] = field(default_factory=dict)


def pitch(a: Array) -> Any:
    """Strides in elements, one for each of five axes."""
    return tuple(step // a.itemsize for step in a.strides)


def conv_problem(
    case: ConvCase,
    x: Array,
    weight: Array,
    y: Array,
    kind: type[ConvProblem] = ConvProblem,
) -> ConvProblem:
    """Describe a case with the arrays it is run on."""
    return kind(
        dtype=DTYPES[case.dtype],
        weight_dtype=DTYPES[case.weight_dtype or case.dtype],
        n=case.n,
        c=case.c,
        k=case.k,
        groups=case.groups,
        input=case.input,
        kernel=case.kernel,
        stride=case.stride,
        dilation=case.dilation,
        pad_before=case.before,
        pad_after=case.after,
        output=(y.shape[2], y.shape[3], y.shape[4]),
        padding_mode=case.mode,
        accuracy=1,
        activation=case.activation,
        has_bias=int(case.bias),
        has_residual=int(case.residual),
        x_pitch=pitch(x),
        w_pitch=pitch(weight),
        y_pitch=pitch(y),
    )


def pool_problem(
    case: PoolCase,
    x: Array,
    y: Array,
    *,
    indices: bool,
    of: type[PoolProblem] = PoolProblem,
) -> PoolProblem:
    """Describe a case with the arrays it is run on."""
    return of(
        dtype=DTYPES[case.dtype],
        kind=case.kind,
        n=case.n,
        c=case.c,
        input=case.input,
        kernel=case.kernel,
        stride=case.stride,
        dilation=case.dilation,
        pad_before=case.before,
        pad_after=case.after,
        output=case.output,
        adaptive=int(case.adaptive),
        count_include_pad=int(case.include_pad),
        divisor_override=case.divisor,
        norm_bits=int(np.float64(case.norm).view(np.int64)),
        return_indices=int(indices),
        x_pitch=pitch(x),
        y_pitch=pitch(y),
    )


def conv_sum(case: ConvCase, x: Array, weight: Array) -> Array:
    """Sum the taps in x's type; of |x| and |weight| it is the error bound's scale."""
    pads = [(0, 0), (0, 0), *zip(case.before, case.after, strict=True)]
    mode: Any = PAD_MODES[case.mode]
    padded = np.pad(x, pads, mode=mode)
    per_group, filters = case.c // case.groups, case.k // case.groups
    grouped = padded.reshape(case.n, case.groups, per_group, *padded.shape[2:])
    taps = weight.reshape(case.groups, filters, per_group, *case.kernel)
    out = np.zeros((case.n, case.groups, filters, *case.output()), x.dtype)
    for tap in np.ndindex(*case.kernel):
        window = tuple(
            slice(i * d, i * d + s * (m - 1) + 1, s)
            for i, d, s, m in zip(
                tap, case.dilation, case.stride, case.output(), strict=True
            )
        )
        inputs: Any = (..., *window)
        weights: Any = (..., *tap)
        out += np.einsum("ngcdhw,gkc->ngkdhw", grouped[inputs], taps[weights])
    shape = (case.n, case.k, *case.output())
    return np.asarray(out.reshape(shape))


def weight_problem(case: ConvCase, x: Array, weight: Array, grad: Array) -> ConvProblem:
    """Describe a case's weight gradient."""
    bare = replace(case, activation=0, bias=False, residual=False)
    return conv_problem(bare, x, weight, grad, WeightProblem)


def weight_sum(case: ConvCase, x: Array, grad: Array) -> Array:
    """Sum the weight gradient's products in float64."""
    pads = [(0, 0), (0, 0), *zip(case.before, case.after, strict=True)]
    mode: Any = PAD_MODES[case.mode]
    padded = np.pad(x.astype(np.float64), pads, mode=mode)
    per_group, filters = case.c // case.groups, case.k // case.groups
    grouped = padded.reshape(case.n, case.groups, per_group, *padded.shape[2:])
    given = grad.astype(np.float64).reshape(
        case.n, case.groups, filters, *grad.shape[2:]
    )
    out = np.zeros((case.groups, filters, per_group, *case.kernel))
    for tap in np.ndindex(*case.kernel):
        window = tuple(
            slice(i * d, i * d + s * (m - 1) + 1, s)
            for i, d, s, m in zip(
                tap, case.dilation, case.stride, case.output(), strict=True
            )
        )
        inputs: Any = (..., *window)
        taps: Any = (..., *tap)
        out[taps] = np.einsum("ngcdhw,ngkdhw->gkc", grouped[inputs], given)
    return np.asarray(out.reshape(case.k, per_group, *case.kernel))


def bias_problem(case: ConvCase, grad: Array) -> ConvProblem:
    """Describe a case's bias gradient."""
    bare = replace(case, c=1, groups=1, activation=0, bias=False, residual=False)
    nothing = np.zeros((1,) * 5, grad.dtype)
    described = conv_problem(bare, nothing, nothing, grad, BiasProblem)
    return replace(described, w_pitch=(1, 0, 0, 0, 0))


def columns_problem(
    case: ConvCase, x: Array, columns: Array, kind: type[Im2colProblem]
) -> ConvProblem:
    """Describe the patches of a case: columns are (n, c taps, *output)."""
    bare = replace(
        case, k=columns.shape[1], groups=1, activation=0, bias=False, residual=False
    )
    nothing = np.zeros((1,) * 5, x.dtype)
    described = conv_problem(bare, x, nothing, columns, kind)
    return replace(described, w_pitch=(0, 0, 0, 0, 0))


def windows_of(case: ConvCase) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Number every tap, with the padded pixels its windows meet."""
    for number, tap in enumerate(np.ndindex(*case.kernel)):
        yield (
            number,
            tuple(
                slice(i * d, i * d + s * (m - 1) + 1, s)
                for i, d, s, m in zip(
                    tap, case.dilation, case.stride, case.output(), strict=True
                )
            ),
        )


def columns_of(case: ConvCase, x: Array) -> Array:
    """Write the patches of x out, tap by tap."""
    pads = [(0, 0), (0, 0), *zip(case.before, case.after, strict=True)]
    padded = np.pad(x, pads)
    taps = int(np.prod(case.kernel))
    out = np.zeros((case.n, case.c, taps, *case.output()), x.dtype)
    for number, window in windows_of(case):
        place: Any = (..., *window)
        out[:, :, number] = padded[place]
    return out.reshape(case.n, -1, *case.output())


def images_of(case: ConvCase, columns: Array) -> Array:
    """Add columns back into images, in float64."""
    taps = int(np.prod(case.kernel))
    given = columns.astype(np.float64).reshape(case.n, case.c, taps, *case.output())
    padded = np.zeros(
        (
            case.n,
            case.c,
            *(
                n + b + a
                for n, b, a in zip(case.input, case.before, case.after, strict=True)
            ),
        )
    )
    for number, window in windows_of(case):
        place: Any = (..., *window)
        padded[place] += given[:, :, number]
    inside: Any = (
        ...,
        *(slice(b, b + n) for b, n in zip(case.before, case.input, strict=True)),
    )
    return np.asarray(padded[inside])


def activated(v: Array, activation: int) -> Array:
    """Apply an activation in float64."""
    if activation == 6:
        return np.asarray(v * 0.5 * (1 + np.vectorize(erf)(v / np.sqrt(2))))
    table: dict[int, Callable[[], Any]] = {
        0: lambda: v,
        1: lambda: np.maximum(v, 0),
        2: lambda: np.clip(v, 0, 6),
        3: lambda: np.where(v < 0, 0.01 * v, v),
        4: lambda: 1 / (1 + np.exp(-v)),
        5: lambda: np.tanh(v),
        7: lambda: v / (1 + np.exp(-v)),
    }
    return np.asarray(table[activation]())


def _coordinates(case: PoolCase, axis: int, output: int) -> list[int]:
    """Input coordinates of one output's window along an axis, padding included."""
    n, outputs = case.input[axis], case.output[axis]
    if case.adaptive:
        return list(range(output * n // outputs, -(-(output + 1) * n // outputs)))
    start = output * case.stride[axis] - case.before[axis]
    return [start + tap * case.dilation[axis] for tap in range(case.kernel[axis])]


def pooled(case: PoolCase, x: Array) -> tuple[Array, Array]:
    """Pool in float64, window by window: values, and indices of the maxima."""
    shape = (case.n, case.c, *case.output)
    whole = x.dtype.kind in "iu"
    values = np.zeros(shape, x.dtype if whole else np.float64)
    nothing = np.iinfo(x.dtype).min if whole else -np.inf
    indices = np.full(shape, -1, np.int64)
    _, height, width = case.input
    for at in np.ndindex(*shape):
        taps = []
        padded = 0
        for place in product(
            *(_coordinates(case, axis, at[axis + 2]) for axis in range(3))
        ):
            limits = zip(place, case.input, case.after, strict=True)
            padded += all(p < n + a for p, n, a in limits)
            if all(0 <= p < n for p, n in zip(place, case.input, strict=True)):
                index = (place[0] * height + place[1]) * width + place[2]
                here = (*at[:2], *place)
                taps.append((_number(x[here]), index))
        if case.kind == 0:
            values[at], indices[at] = _maximum(taps, nothing)
        elif case.kind == 2:
            total = sum(abs(value) ** case.norm for value, _ in taps)
            values[at] = total ** (1 / case.norm)
        elif taps:
            count = case.divisor or (padded if case.include_pad else len(taps))
            values[at] = sum(value for value, _ in taps) / count
    return values, indices


def pool_grad_problem(case: PoolCase, dx: Array, grad: Array) -> PoolProblem:
    """Describe a case's gradient."""
    indexed = case.kind == 0
    return pool_problem(case, dx, grad, indices=indexed, of=PoolGradProblem)


def pool_gradient(
    case: PoolCase, x: Array, y: Array, grad: Array, indices: Array
) -> Array:
    """Hand each output's gradient to its window, in float64."""
    dx = np.zeros((case.n, case.c, *case.input))
    for at in np.ndindex(*grad.shape):
        places = list(
            product(*(_coordinates(case, axis, at[axis + 2]) for axis in range(3)))
        )
        inside = [
            place
            for place in places
            if all(0 <= p < n for p, n in zip(place, case.input, strict=True))
        ]
        padded = sum(
            all(
                p < n + a for p, n, a in zip(place, case.input, case.after, strict=True)
            )
            for place in places
        )
        if case.kind == 0:
            if indices[at] >= 0:
                flat = dx.reshape(case.n, case.c, -1)
                flat[at[0], at[1], indices[at]] += grad[at]
            continue
        count = case.divisor or (padded if case.include_pad else len(inside))
        for place in inside:
            here = (*at[:2], *place)
            if case.kind == 1:
                dx[here] += grad[at] / count
            elif y[at] != 0:
                slope = np.sign(x[here]) * (abs(x[here]) / y[at]) ** (case.norm - 1)
                dx[here] += grad[at] * slope
    return dx


def _number(value: Any) -> Any:
    """An element as Python's own number: halves exactly, integers of any width."""
    return int(value) if value.dtype.kind in "iu" else float(value)


def _maximum(taps: list[tuple[Any, int]], nothing: float) -> tuple[Any, int]:
    """First NaN, else first maximum, else what is less than any number, and -1."""
    best = (nothing, -1)
    for value, index in taps:
        if value != value:  # noqa: PLR0124 - NaN
            return value, index
        if best[1] < 0 or value > best[0]:
            best = (value, index)
    return best
