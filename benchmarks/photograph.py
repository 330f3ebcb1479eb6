"""A real photograph, a bank of filters, and the exact answers to hold results against.

The photograph is scikit-learn's sample image china.jpg (427 x 640, RGB). Five filters
run over each colour on its own (a grouped convolution: 3 groups, 15 filters), all set
in a 5x5 window. The oracle is the definition in float64: one shifted image per tap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.oracle import RELATIVE

Array = NDArray[Any]

FILTERS = ("blur", "sobel_x", "sobel_y", "sharpen", "laplacian")


def load() -> Array:
    """The photograph as float32 in [0, 1], shape (1, 3, 427, 640)."""
    datasets: Any = import_module("sklearn.datasets")
    image = datasets.load_sample_image("china.jpg")
    planes = np.moveaxis(image, 2, 0)[None]
    scaled: Array = np.ascontiguousarray(planes, dtype=np.float32) / np.float32(255)
    return scaled


def bank() -> Array:
    """The filters for three groups: shape (15, 1, 5, 5); colour, then filter."""
    binomial = np.array([1, 4, 6, 4, 1], dtype=np.float32)
    slope = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=np.float32)
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=np.float32)
    identity = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)
    small = (slope, slope.T, identity - laplacian, laplacian)
    five = [np.outer(binomial, binomial) / 256, *(np.pad(f, 1) for f in small)]
    return np.tile(np.stack(five)[:, None], (3, 1, 1, 1)).astype(np.float32)


def exact_filters(x: Array, w: Array) -> tuple[Array, Array]:
    """Exact "same" grouped convolution and its bound, both (1, 15, H, W) float64.

    The bound is gamma_n (|x| conv |w|) with n = 25 terms and float32's unit roundoff.
    """
    size = w.shape[-1]
    pad = size // 2
    height, width = x.shape[2:]
    planes = np.repeat(x.astype(np.float64), len(FILTERS), axis=1)
    padded = np.pad(planes, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    exact = np.zeros_like(planes)
    scale = np.zeros_like(planes)
    for r in range(size):
        for s in range(size):
            shifted = padded[:, :, r : r + height, s : s + width]
            tap = w[None, :, 0, r, s, None, None].astype(np.float64)
            exact += tap * shifted
            scale += np.abs(tap) * np.abs(shifted)
    terms = size * size
    unit = float(np.finfo(np.float32).eps) / 2
    return exact, terms * unit / (1 - terms * unit) * scale


def windows(x: Array, size: int) -> Array:
    """The non-overlapping size x size windows of the last two axes, flattened."""
    n, c, height, width = x.shape
    p, q = height // size, width // size
    cut = x[:, :, : p * size, : q * size].reshape(n, c, p, size, q, size)
    flat: Array = cut.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, p, q, size * size)
    return flat


def exact_pool(x: Array, kind: str, size: int) -> tuple[Array, Array]:
    """Exact pooling of stride `size` and its bound; a maximum has no error at all."""
    w = windows(x.astype(np.float64), size)
    if kind == "max":
        exact = w.max(-1)
        return exact, np.zeros_like(exact)
    unit = float(np.finfo(np.float32).eps) / 2
    return w.mean(-1), (size * size + 1) * unit * np.abs(w).mean(-1)


def among_zeros(w: Array) -> Array:
    """The filters of three groups as filters of one: shape (15, 3, 5, 5)."""
    whole = np.zeros((len(w), 3, *w.shape[2:]), w.dtype)
    for k in range(len(w)):
        whole[k, k * 3 // len(w)] = w[k, 0]
    return whole


def excess(y: Array, exact: Array, bound: Array, rounding: str = "direct") -> float:
    """Return the error over its bound; infinite for a wrong shape or no number.

    The largest |y - exact| over its own bound; for Winograd and the FFT, which round a
    tile or the whole image, the root mean square over RELATIVE of the result's.
    """
    if y.shape != exact.shape or not np.isfinite(y).all():
        return float("inf")
    error = np.abs(y.astype(np.float64) - exact)
    if rounding in RELATIVE:
        relative = float(np.sqrt(np.mean(error**2) / np.mean(exact**2)))
        return relative / RELATIVE[rounding]
    if (error[bound == 0] > 0).any():
        return float("inf")
    inside = bound > 0
    return float((error[inside] / bound[inside]).max(initial=0.0))
