"""Pooling to an output of a given size: adaptive and global.

An adaptive window is as torch cuts it: output o of p looks at the elements from
floor(o n / p) to ceil((o + 1) n / p) of n.
"""

from __future__ import annotations

from typing import Any

from pyconv.pool_calls import pool

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "global_avg_pool",
    "global_max_pool",
]


def adaptive_avg_pool1d(
    x: Any,
    output_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the mean of windows that cut x to a given size.

    As `adaptive_avg_pool2d`, with one spatial axis: x is (N, C, W), the result
    (N, C, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.adaptive_avg_pool1d(np.ones((1, 2, 13)), 5).shape
    (1, 2, 5)
    """
    return _adaptive(
        "adaptive_avg_pool1d", x, output_size, False, layout, algorithm, out
    )


def adaptive_avg_pool2d(
    x: Any,
    output_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the mean of windows that cut x into an output of a given size.

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        Images; any float type, any strides. With layout="NHWC": (N, H, W, C).
    output_size : int or two ints or None
        P and Q; None keeps x's extent.
    layout, algorithm, out
        As in `max_pool2d`.

    Returns
    -------
    ndarray, (N, C, P, Q)

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.

    Notes
    -----
    Windows differ in size, by at most a pixel, where the output's extents do not divide
    x's; larger outputs than x repeat its pixels.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.adaptive_avg_pool2d(np.ones((1, 8, 13, 9)), (5, None)).shape
    (1, 8, 5, 9)
    """
    return _adaptive(
        "adaptive_avg_pool2d", x, output_size, False, layout, algorithm, out
    )


def adaptive_avg_pool3d(
    x: Any,
    output_size: Any,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the mean of windows that cut x to a given size.

    As `adaptive_avg_pool2d`, with three spatial axes: x is (N, C, D, H, W), the result
    (N, C, M, P, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.adaptive_avg_pool3d(np.ones((1, 2, 7, 8, 9)), 5).shape
    (1, 2, 5, 5, 5)
    """
    return _adaptive(
        "adaptive_avg_pool3d", x, output_size, False, layout, algorithm, out
    )


def adaptive_max_pool1d(
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of windows that cut x to a given size.

    As `adaptive_max_pool2d`, with one spatial axis: x is (N, C, W), the result
    (N, C, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.adaptive_max_pool1d(np.ones((1, 2, 13)), 5).shape
    (1, 2, 5)
    """
    return _adaptive(
        "adaptive_max_pool1d", x, output_size, return_indices, layout, algorithm, out
    )


def adaptive_max_pool2d(
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of windows that cut x into an output of a given size.

    Parameters
    ----------
    x, output_size, layout, algorithm, out
        As in `adaptive_avg_pool2d`.
    return_indices : bool
        Return the place of each maximum too, as `max_pool2d` does.

    Returns
    -------
    y : ndarray, (N, C, P, Q)
    indices : ndarray of int64, (N, C, P, Q)
        Only with return_indices: h W + w of the first maximum, or of the first NaN.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.adaptive_max_pool2d(np.ones((1, 8, 13, 9)), 4).shape
    (1, 8, 4, 4)
    """
    return _adaptive(
        "adaptive_max_pool2d", x, output_size, return_indices, layout, algorithm, out
    )


def adaptive_max_pool3d(
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of windows that cut x to a given size.

    As `adaptive_max_pool2d`, with three spatial axes: x is (N, C, D, H, W), the result
    (N, C, M, P, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.adaptive_max_pool3d(np.ones((1, 2, 7, 8, 9)), 5).shape
    (1, 2, 5, 5, 5)
    """
    return _adaptive(
        "adaptive_max_pool3d", x, output_size, return_indices, layout, algorithm, out
    )


def global_avg_pool(
    x: Any, *, layout: str = "NCHW", algorithm: str = "auto", out: Any = None
) -> Any:
    """Take the mean of every plane.

    Parameters
    ----------
    x : ndarray, (N, C, *spatial)
        With one, two or three spatial axes; any float type, any strides.
    layout, algorithm, out
        As in `max_pool2d`.

    Returns
    -------
    ndarray, (N, C, 1, ...)
        With as many axes as x.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.global_avg_pool(np.ones((2, 8, 7, 7), np.float32)).shape
    (2, 8, 1, 1)
    """
    return _adaptive("global_avg_pool", x, 1, False, layout, algorithm, out)


def global_max_pool(
    x: Any,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of every plane.

    Parameters
    ----------
    x, layout, algorithm, out
        As in `global_avg_pool`.
    return_indices : bool
        Return the place of each maximum too, as `max_pool2d` does.

    Returns
    -------
    y : ndarray, (N, C, 1, ...)
        With as many axes as x.
    indices : ndarray of int64
        Only with return_indices.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.global_max_pool(np.ones((2, 8, 7, 7), np.float32)).shape
    (2, 8, 1, 1)
    """
    return _adaptive("global_max_pool", x, 1, return_indices, layout, algorithm, out)


def _adaptive(
    name: str,
    x: Any,
    output_size: Any,
    return_indices: Any,
    layout: Any,
    algorithm: Any,
    out: Any,
) -> Any:
    """Fill in what windows of no fixed size have not."""
    window = (output_size, None, 0, 1, False)
    rules = (True, None, None, return_indices)
    return pool(name, x, *window, *rules, layout, algorithm, out)
