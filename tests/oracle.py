"""What the right answer is, and how far from it rounding may take a direct sum.

The truth is the defining sum in a wider type: float64 for float32 data, long double for
float64 data. The bound is that of a sum of n products in any order, |y - y*| <= gamma_n
(|x| conv |w|), gamma_n = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 3.1), with one more rounding for each of bias and residual.
Nothing here imports pyconv: padding, output sizes and windows are worked out anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tests.winograd_error import WINOGRAD_STEPS, winograd_amplification

Array = NDArray[Any]
Pairs = tuple[tuple[int, int], ...]

# The largest slope of the activations: 1.13 for GELU, 1.10 for SiLU, 1 for the rest.
STEEPEST = 1.13
# Roundings an activation itself may add, relative to its argument and its value: exp,
# erf and tanh within a few units in the last place, and two or three operations more.
ACTIVATION_ULPS = 8.0


def wide(dtype: Any) -> Any:
    """The type the truth of a dtype is computed in."""
    return np.float64 if np.dtype(dtype) == np.float32 else np.longdouble


def unit(dtype: Any) -> float:
    """Unit roundoff u of a dtype."""
    return float(np.finfo(dtype).eps) / 2


def gamma(n: int, dtype: Any) -> float:
    """Higham's gamma_n."""
    return n * unit(dtype) / (1 - n * unit(dtype))


def triple(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """One number per spatial axis."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def pairs(
    padding: Any,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Pairs:
    """(before, after) per axis of any spelling of padding."""
    if isinstance(padding, int):
        return ((padding, padding),) * len(spatial)
    if not isinstance(padding, str):
        return tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    found = []
    for n, r, s, d in zip(spatial, kernel, stride, dilation, strict=True):
        reach = d * (r - 1)
        if padding == "valid":
            found.append((0, 0))
        elif padding == "full":
            found.append((reach, reach))
        else:
            total = max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0)
            small = total // 2
            upper = padding == "same"
            found.append((small, total - small) if upper else (total - small, small))
    return tuple(found)


def out_size(n: int, r: int, s: int, d: int, pad: tuple[int, int]) -> int:
    """The output extent of one axis."""
    return (n + sum(pad) - d * (r - 1) - 1) // s + 1


def pool_out_size(
    n: int, r: int, s: int, d: int, pad: tuple[int, int], ceil_mode: bool
) -> int:
    """Torch's rule: the last window starts inside the input or the padding before it."""
    room = n + sum(pad) - d * (r - 1) - 1
    size = (-(-room // s) if ceil_mode else room // s) + 1
    if ceil_mode and (size - 1) * s >= n + pad[0]:
        size -= 1
    return size


def padded(x: Array, pad: Pairs, mode: str) -> Array:
    """X with its spatial axes extended; one gather per axis unless zeros are added."""
    if mode == "zeros":
        return np.pad(x, ((0, 0), (0, 0), *pad))
    for axis, (before, after) in enumerate(pad, start=2):
        n = x.shape[axis]
        at = np.arange(-before, n + after)
        if mode == "replicate":
            at = at.clip(0, n - 1)
        elif mode == "circular":
            at %= n
        else:
            period = max(2 * (n - 1), 1)
            at = at % period
            at = np.where(at < n, at, period - at)
        x = np.take(x, at, axis=axis)
    return x


def windows(
    x: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """View (N, C, *output, *kernel) of a padded (N, C, *spatial)."""
    rank = len(kernel)
    extents = tuple(d * (r - 1) + 1 for r, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, extents, axis=tuple(range(2, 2 + rank)))
    step = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *step, *taps)]


def _direct_sum(x: Array, w: Array, groups: int) -> Array:
    """Contract windows (N, C, *output, *kernel) with weights (K, C/G, *kernel)."""
    rank = w.ndim - 2
    n, c, *rest = x.shape
    k = w.shape[0]
    x = x.reshape(n, groups, c // groups, *rest)
    w = w.reshape(groups, k // groups, *w.shape[1:])
    out, taps = "xyz"[:rank], "rst"[:rank]
    y = np.einsum(f"ngc{out}{taps},gkc{taps}->ngk{out}", x, w)
    return y.reshape(n, k, *rest[:rank])


def _erf(z: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(z.astype(np.float64))


def activate(z: Array, name: str | None) -> Array:
    """The activation in z's own precision."""
    with np.errstate(over="ignore"):
        results = {
            None: lambda: z,
            "relu": lambda: np.where(z < 0, 0, z),
            "relu6": lambda: np.clip(z, 0, 6),
            "leaky_relu": lambda: np.where(z < 0, z * z.dtype.type(0.01), z),
            "sigmoid": lambda: 1 / (1 + np.exp(-z)),
            "tanh": lambda: np.tanh(z),
            "gelu": lambda: z * (1 + _erf(z / math.sqrt(2))) / 2,
            "silu": lambda: z / (1 + np.exp(-z)),
        }
        result: Array = results[name]()
    return result


@dataclass(frozen=True)
class Answer:
    """The truth, and what each element may be off by."""

    value: Array
    bound: Array

    def worst(self, y: Array) -> float:
        """Largest error in units of the bound: right means at most 1."""
        assert y.shape == self.value.shape, f"{y.shape}, expected {self.value.shape}"
        if y.size == 0:
            return 0.0
        error = np.abs(y.astype(self.value.dtype) - self.value)
        return float(np.max(error / self.bound))


def rounded(answer: Answer, dtype: Any, unit_of: float) -> Answer:
    """The answer in halves: summed as it says, then rounded once, unit `unit_of`."""
    tiny = float(np.asarray(1, np.uint16).view(dtype))
    largest = np.abs(answer.value) + answer.bound
    return Answer(answer.value, answer.bound + unit_of * largest + tiny)


# Points and sizes of csrc/cpu/micro/winograd.hpp: pairs, m, r, dimensions.
WINOGRAD_FORMS = (
    ((1.0,), 2, 3, 2),
    ((0.75, 1.5), 4, 3, 2),
    ((0.75, 1.5), 4, 3, 1),
    ((0.5, 1.0, 2.0), 4, 5, 1),
    ((0.5, 1.0, 2.0), 2, 7, 1),
)
WINOGRAD_AMPLIFICATION = max(
    winograd_amplification(pairs, m, r) ** dimensions
    for pairs, m, r, dimensions in WINOGRAD_FORMS
)
# Two transforms in, one out, each off by 8 u log2 N of its 2-norm at most (Higham,
# section 24.1: log2 N steps of eta, eta = u + gamma_4 (sqrt(2) + u) < 8 u).
FFT_STEPS = 24.0


def rounding_of(algorithm: str) -> str:
    """How an algorithm rounds: what `conv` calls it."""
    family = algorithm.split("_", maxsplit=1)[0]
    return family if family in ("winograd", "fft") else "direct"


def _over_channels(of_x: Array, of_w: Array, groups: int, rank: int) -> Array:
    """Sum over a group's channels of (N, C) by (K, C/G), as (N, K, 1 ...)."""
    n, k = len(of_x), len(of_w)
    of_x = of_x.reshape(n, groups, -1)
    of_w = of_w.reshape(groups, -1, of_w.shape[1])
    return np.einsum("ngc,gkc->ngk", of_x, of_w).reshape(n, k, *(1,) * rank)


def conv(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    activation: str | None = None,
    residual: Array | None = None,
    rounding: str = "direct",
) -> Answer:
    """Convolution of a logical (N, C, *spatial) with (K, C/G, *kernel).

    `rounding` names what is known of the errors. With "winograd" the bound is that of its
    transforms: whatever lies in a tile rounds with all of it, so each element's bound
    follows the largest inputs of its sample. With "fft" it follows the sample's 2-norms.
    """
    dtype, rank, kernel = x.dtype, w.ndim - 2, w.shape[2:]
    steps, holes = triple(stride, rank), triple(dilation, rank)
    pad = pairs(padding, x.shape[2:], kernel, steps, holes)
    truth = wide(dtype)
    extended = padded(x.astype(truth), pad, padding_mode)
    patches = windows(extended, kernel, steps, holes)
    taps = w.astype(truth)
    value = _direct_sum(patches, taps, groups)
    scale = _direct_sum(np.abs(patches), np.abs(taps), groups)
    terms = math.prod(w.shape[1:])
    space = tuple(range(2, 2 + rank))
    noise = np.zeros((), truth)
    if rounding == "winograd":
        largest = np.abs(patches).max(axis=(*space, *(a + rank for a in space)))
        product = _over_channels(largest, np.abs(taps).sum(axis=space), groups, rank)
        scale = np.broadcast_to(product, scale.shape) * WINOGRAD_AMPLIFICATION
        terms += WINOGRAD_STEPS
    elif rounding == "fft":
        lengths = [np.sqrt((a * a).sum(axis=space)) for a in (extended, taps)]
        steps_of_fft = FFT_STEPS * math.log2(2 * math.prod(extended.shape[2:]))
        noise = (steps_of_fft + w.shape[1]) * unit(np.float64)
        noise = noise * _over_channels(*lengths, groups, rank)
        scale, terms = np.abs(value), 1
    if bias is not None:
        column = bias.astype(truth).reshape(-1, *(1,) * rank)
        value, scale, terms = value + column, scale + np.abs(column), terms + 1
    if residual is not None:
        added = residual.astype(truth)
        value, scale, terms = value + added, scale + np.abs(added), terms + 1
    # The last term covers products that underflow.
    bound = gamma(terms, dtype) * scale + noise
    bound = bound + terms * float(np.finfo(dtype).smallest_subnormal)
    final = activate(value, activation)
    if activation is not None:
        ulps = ACTIVATION_ULPS * unit(dtype) * (np.abs(value) + np.abs(final))
        bound = STEEPEST * bound + ulps
    return Answer(final, bound)


def _pool_windows(
    x: Array, fill: float, kernel: Any, stride: Any, pad: Pairs, dilation: Any, out: Any
) -> Array:
    """Windows for exactly `out` outputs; what lies outside the input is `fill`."""
    widths = []
    for axis, (before, _) in enumerate(pad):
        n = x.shape[axis + 2]
        last = (out[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        widths.append((before, max(last - before - n, 0)))
    extended = np.pad(x, ((0, 0), (0, 0), *widths), constant_values=fill)
    view = windows(extended, kernel, stride, dilation)
    return view[(slice(None), slice(None), *(slice(0, size) for size in out))]


def _pool_geometry(
    x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Any, Any, Pairs, Any, tuple[int, ...]]:
    rank = x.ndim - 2
    kernel = triple(kernel, rank)
    stride = kernel if stride is None else triple(stride, rank)
    dilation = triple(dilation, rank)
    pad = pairs(padding, x.shape[2:], kernel, stride, dilation)
    out = tuple(
        pool_out_size(n, r, s, d, p, ceil_mode)
        for n, r, s, d, p in zip(
            x.shape[2:], kernel, stride, dilation, pad, strict=True
        )
    )
    return kernel, stride, pad, dilation, out


def max_pool(
    x: Array,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Largest element of each window and its offset in the plane, exactly.

    A window that holds NaN gives NaN and the first NaN's offset, a window of nothing
    but padding -inf and -1.
    """
    kernel, stride, pad, dilation, out = _pool_geometry(
        x, kernel, stride, padding, dilation, ceil_mode
    )
    taps = math.prod(kernel)
    flat = (*x.shape[:2], *out, taps)
    at = np.arange(math.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])
    view = _pool_windows(x, -np.inf, kernel, stride, pad, dilation, out).reshape(flat)
    where = _pool_windows(at, -1, kernel, stride, pad, dilation, out)
    where = np.broadcast_to(where.reshape(1, 1, *out, taps), flat)
    # Order: taps in the input, NaN first, then the largest, then the earliest.
    rank_of = np.where(np.isnan(view), np.inf, view.astype(np.longdouble))
    nothing = where < 0
    best = np.full(flat[:-1], -1)
    for tap in range(taps):
        here = best[..., None].clip(0)
        current = np.take_along_axis(rank_of, here, -1)[..., 0]
        is_nan = np.isnan(np.take_along_axis(view, here, -1)[..., 0])
        better = (rank_of[..., tap] > current) & ~is_nan
        better |= np.isnan(view[..., tap]) & ~is_nan
        best = np.where(~nothing[..., tap] & ((best < 0) | better), tap, best)
    chosen = best[..., None].clip(0)
    value = np.take_along_axis(view, chosen, -1)[..., 0]
    index = np.take_along_axis(where, chosen, -1)[..., 0]
    empty = best < 0
    return np.where(empty, -np.inf, value).astype(x.dtype), np.where(empty, -1, index)


def avg_pool(
    x: Array,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Answer:
    """Average of each window: taps past the padding count for nothing, as in torch."""
    kernel, stride, pad, dilation, out = _pool_geometry(
        x, kernel, stride, padding, dilation, ceil_mode
    )
    rank, truth = len(kernel), wide(x.dtype)
    over = tuple(range(2 + rank, 2 + 2 * rank))
    view = _pool_windows(x.astype(truth), 0.0, kernel, stride, pad, dilation, out)
    counted = np.ones(out)
    for place in product(*(range(size) for size in out)):
        for axis, p in enumerate(place):
            low = 0 if not count_include_pad else -pad[axis][0]
            high = x.shape[axis + 2] + (pad[axis][1] if count_include_pad else 0)
            first = p * stride[axis] - pad[axis][0]
            taps = (first + r * dilation[axis] for r in range(kernel[axis]))
            counted[place] *= sum(low <= tap < high for tap in taps)
    divisor = np.full(out, divisor_override) if divisor_override else counted
    divisor = np.where(divisor == 0, 1, divisor).astype(truth)
    value = view.sum(axis=over) / divisor
    scale = np.abs(view).sum(axis=over) / divisor
    # One rounding for the division, or two for a product with a rounded reciprocal.
    bound = gamma(math.prod(kernel) + 2, x.dtype) * scale
    return Answer(value, bound + float(np.finfo(x.dtype).smallest_subnormal))
