"""How much a Winograd form's transforms may enlarge an error.

Nothing here imports pyconv: the transforms are built anew.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["WINOGRAD_STEPS", "winograd_amplification"]

WINOGRAD_STEPS = 40  # roundings of the three transforms in a row


def winograd_amplification(pairs: tuple[float, ...], m: int, r: int) -> float:
    """Largest sum over the points of |A| max|G| sum|B|, in one dimension.

    The transforms are built here from the points alone, by Toom and Cook's recipe.
    """
    points = [0.0, *(sign * p for p in pairs for sign in (1, -1))]
    n = m + r - 1
    assert len(points) == n - 1
    products = np.zeros(n)
    for i, point in enumerate(points):
        others = [q for j, q in enumerate(points) if j != i]
        norm = math.prod(point - q for q in others)
        products[i] = max(abs(point**t / norm) for t in range(r))
        products[i] *= np.abs(np.poly(others)).sum()
    products[n - 1] = np.abs(np.poly(points)).sum()
    outputs = np.zeros((n, m))
    outputs[: n - 1] = [[abs(point**i) for i in range(m)] for point in points]
    outputs[n - 1, m - 1] = 1
    return float((products @ outputs).max())
