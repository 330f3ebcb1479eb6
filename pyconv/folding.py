"""Folding what follows a convolution into its weights, before it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyconv.arrays import Array, check_array
from pyconv.errors import ShapeError

__all__ = ["fold_batch_norm"]


def fold_batch_norm(
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    gamma: Any = None,
    beta: Any = None,
    eps: float = 1e-5,
) -> tuple[Any, Any]:
    """Fold a batch normalisation into the convolution before it.

    gamma (conv(x) + bias - mean) / sqrt(var + eps) + beta is one convolution: its
    weight is weight gamma / sqrt(var + eps), its bias the rest.

    Parameters
    ----------
    weight : ndarray, (K, C/groups, *kernel)
        Filters of a convolution of any rank.
    bias : ndarray, (K,), or None
        Its bias.
    mean, var : ndarray, (K,)
        The normalisation's running statistics.
    gamma, beta : ndarray, (K,), optional
        Its scale and shift; 1 and 0 where not given.
    eps : float
        Added to the variance.

    Returns
    -------
    weight : ndarray of weight's shape and dtype
    bias : ndarray, (K,), of weight's dtype

    Raises
    ------
    TypeError
        For what is no array, or another dtype.
    ShapeError
        A ValueError: statistics that are not one number for each filter.
    ValueError
        For a variance that is negative with eps added.

    Notes
    -----
    Computed in float64 and rounded once. Arrays stay where they are.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> w, b = pc.fold_batch_norm(
    ...     np.ones((2, 3, 3, 3)), None, np.zeros(2), np.full(2, 4.0), eps=0.0
    ... )
    >>> float(w[0, 0, 0, 0]), b.tolist()
    (0.5, [0.0, 0.0])
    """
    weight = check_array("weight", weight)
    if weight.ndim < 3:
        raise ShapeError(
            f"weight must have 3 to 5 axes (K, C/groups, *kernel), got {weight.shape}"
        )
    filters = weight.shape[0]
    given = {"bias": bias, "mean": mean, "var": var, "gamma": gamma, "beta": beta}
    wide: dict[str, Array] = {}
    for name, a in given.items():
        if a is None and name not in ("mean", "var"):
            continue
        array = check_array(name, a)
        if array.shape != (filters,):
            raise ShapeError(
                f"{name} must have shape ({filters},), one for each filter, got "
                f"{array.shape}"
            )
        wide[name] = array.astype(np.float64)
    spread = wide["var"] + eps
    if not bool((spread > 0).all()):
        raise ValueError("var + eps must be positive")
    scale = wide.get("gamma", 1.0) / spread**0.5
    shift = (wide.get("bias", 0.0) - wide["mean"]) * scale + wide.get("beta", 0.0)
    column = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    folded = (weight.astype(np.float64) * column).astype(weight.dtype)
    return folded, shift.astype(weight.dtype)
