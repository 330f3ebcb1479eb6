"""Exact answers to hold a contender against before its time counts.

Each checked output is computed in float64 from the float32 arrays. For a big layer a
sample of outputs is enough: the eight corners of the output and random places, the same
for every contender. The bound is the direct sum's: |y - y*| <= gamma_n (|x| conv |w| +
|b|), gamma_n = n u / (1 - n u), n = C/G R S + 1 (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.1). pyconv's direct-sum algorithms must meet it;
a peer may use Winograd or another order, so it is only required to compute the same
thing, within PEER_SLACK bounds.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool_shapes import PoolLayer
from pyconv.movement.layers import Layer

Array = NDArray[Any]

# Room for a peer's Winograd on a layer of few terms, where gamma_n is tight; at 64
# channels and more every peer stays far below the direct sum's bound.
PEER_SLACK = 10.0
# Promises of the algorithms that round a tile or a sample as a whole: root mean square of
# the error over that of the result. The FFT computes in float64 and rounds once.
RELATIVE = {
    **dict.fromkeys(("winograd", "winograd_f2", "winograd_f4"), 2e-5),
    "fft": float(np.finfo(np.float32).eps),
}
# Of types that are summed in float32: unit roundoff, smallest positive number.
UNITS = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}


def make_input(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Float32 normal deviates, C-contiguous."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def tensors(layer: Layer) -> tuple[Array, Array, Array]:
    """x, weight and bias of a layer, the same in every run."""
    return (
        make_input(layer.x_shape, 1),
        make_input(layer.w_shape, 2),
        make_input((layer.k,), 3),
    )


def places(shape: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Corners of an array and `count` random places in it; all if it is that small."""
    if np.prod(shape) <= count:
        return list(product(*(range(n) for n in shape)))
    corners = set(product(*({0, n - 1} for n in shape)))
    rng = np.random.default_rng(7)
    random = {tuple(int(rng.integers(n)) for n in shape) for _ in range(count)}
    return sorted(corners | random)


def window(
    place: tuple[int, ...],
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the input plane and of the kernel that meet at an output place."""
    of_x, of_w = [], []
    for p, n, r, s, pad, d in zip(
        place, spatial, kernel, stride, padding, dilation, strict=True
    ):
        start = p * s - pad
        taps = [t for t in range(r) if 0 <= start + t * d < n]
        if not taps:
            of_x.append(slice(0, 0))
            of_w.append(slice(0, 0))
            continue
        first, last = taps[0], taps[-1]
        of_x.append(slice(start + first * d, start + last * d + 1, d))
        of_w.append(slice(first, last + 1))
    return tuple(of_x), tuple(of_w)


def gamma(terms: int, unit: float) -> float:
    """Higham's gamma_n."""
    return terms * unit / (1 - terms * unit)


def over_bound(y: Array, exact: Array, sizes: Array, terms: int, dtype: str) -> float:
    """Largest error of any element in units of its own bound; NaN counts as infinite.

    The bound is gamma_n of float32 times the sum of |x| |w| (`sizes`, float64), n the
    terms; and for halves one rounding of what comes of it.
    """
    bound = gamma(terms, UNITS["float32"]) * sizes + SMALLEST["float32"]
    if dtype != "float32":
        bound = bound + UNITS[dtype] * (np.abs(exact) + bound) + SMALLEST[dtype] / 2
    worst = float(np.max(np.abs(y - exact) / bound))
    return float("inf") if np.isnan(worst) else worst


def conv_error(
    layer: Layer,
    x: Array,
    w: Array,
    b: Array,
    y: Array,
    count: int = 64,
    rounding: str = "direct",
) -> float:
    """Error of the sampled outputs, in units of the bound (1 is at the bound).

    A direct sum's largest error is held against gamma_n (|x| conv |w|), element by
    element. Winograd rounds by tiles and the FFT by samples, so their error is that of
    all sampled outputs together: root mean square, against RELATIVE of the outputs'.

    Raises
    ------
    AssertionError
        If y has another shape than the layer's output.
    """
    assert y.shape == layer.y_shape, f"shape {y.shape}, expected {layer.y_shape}"
    of_terms = gamma(layer.terms + 1, float(np.finfo(y.dtype).eps) / 2)
    per_group, k_per_group = layer.c // layer.groups, layer.k // layer.groups
    worst, squares = 0.0, np.zeros(2)
    for place in places(layer.y_shape, count):
        sample, k = place[:2]
        first = (k // k_per_group) * per_group
        of_x, of_w = window(
            place[2:],
            layer.spatial,
            layer.kernel,
            layer.stride,
            layer.padding,
            layer.dilation,
        )
        in_x: Any = (sample, slice(first, first + per_group), *of_x)
        in_w: Any = (k, slice(None), *of_w)
        patch = x[in_x].astype(np.float64)
        taps = w[in_w].astype(np.float64)
        bias = float(b[k])
        exact = float(np.sum(patch * taps)) + bias
        scale = float(np.sum(np.abs(patch) * np.abs(taps))) + abs(bias)
        error = abs(float(y[place]) - exact)
        worst = max(worst, error / (of_terms * scale) if scale else float(error > 0))
        squares += np.array([error * error, exact * exact])
        if not np.isfinite(y[place]):
            return float("inf")
    if rounding in RELATIVE:
        return float(np.sqrt(squares[0] / squares[1])) / RELATIVE[rounding]
    return worst


def pool_error(layer: PoolLayer, x: Array, y: Array, count: int = 64) -> float:
    """Largest error of the sampled outputs in units of the bound; max must be exact."""
    assert y.shape == layer.y_shape, f"shape {y.shape}, expected {layer.y_shape}"
    size = int(np.prod(layer.kernel))
    unit = float(np.finfo(y.dtype).eps) / 2
    worst = 0.0
    for place in places(layer.y_shape, count):
        of_x, _ = window(
            place[2:],
            layer.spatial,
            layer.kernel,
            layer.stride,
            layer.padding,
            (1,) * len(layer.kernel),
        )
        in_x: Any = (*place[:2], *of_x)
        patch = x[in_x].astype(np.float64)
        if layer.kind == "max":
            worst = max(worst, float(float(y[place]) != patch.max()))
            continue
        exact = patch.sum() / size
        bound = (size + 1) * unit * np.abs(patch).sum() / size
        worst = max(worst, abs(float(y[place]) - float(exact)) / float(bound))
    return worst
