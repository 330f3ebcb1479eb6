"""Pooling over windows that slide: maximum, mean and norm, 1-D, 2-D and 3-D.

Parameters have torch's meaning, in torch's order; what torch has not is keyword-only.
"""

from __future__ import annotations

from typing import Any

from pyconv.pool_calls import pool

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


def max_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of every window of signals.

    As `max_pool2d`, with one spatial axis: x is (N, C, W) and the result (N, C, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.max_pool1d(np.ones((1, 2, 8)), 2).shape
    (1, 2, 4)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (True, None, None, return_indices)
    return pool("max_pool1d", x, *window, *rules, layout, algorithm, out)


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of every window.

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        Images; any type but complex, any strides. With layout="NHWC": (N, H, W, C).
    kernel_size : int or two ints
        Height and width of the window, in pixels.
    stride : int or two ints, optional
        Step of the window; kernel_size where not given.
    padding : int, two ints, or two (before, after) pairs
        Pixels of -infinity around x; less than the window.
    dilation : int or two ints
        Step inside the window; 1 means none.
    ceil_mode : bool
        Count a last, partial window if it starts inside x or the padding before it.
    return_indices : bool
        Return the place of each maximum too.
    layout : {"NCHW", "NHWC"}
        Order of the logical axes of x and the result.
    algorithm : str
        "auto", or a name of ``algorithms("pool")``, which runs or raises.
    out : ndarray of the result's shape and dtype, optional
        Takes the result; any strides. It must not overlap x. Not with return_indices.

    Returns
    -------
    y : ndarray, (N, C, P, Q)
        P = floor((H + before + after - dilation (R - 1) - 1) / stride) + 1, Q likewise;
        ceil instead of floor with ceil_mode.
    indices : ndarray of int64, (N, C, P, Q)
        Only with return_indices: h W + w of the first maximum, or of the first NaN.

    Raises
    ------
    TypeError
        For what is no array, another dtype, or a parameter of the wrong type.
    ShapeError
        A ValueError: shapes or windows that do not fit together.
    UnsupportedAlgorithm
        A ValueError: the algorithm does not exist or cannot do this, with the reason.

    Notes
    -----
    A window that holds a NaN gives NaN. A window of nothing but padding gives -infinity
    and index -1.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.max_pool2d(np.ones((1, 64, 112, 112), np.float32), 3, 2, 1).shape
    (1, 64, 56, 56)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (True, None, None, return_indices)
    return pool("max_pool2d", x, *window, *rules, layout, algorithm, out)


def max_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the largest element of every window of volumes.

    As `max_pool2d`, with three spatial axes: x is (N, C, D, H, W) and the result (N, C, M, P, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.max_pool3d(np.ones((1, 2, 8, 8, 8)), 2).shape
    (1, 2, 4, 4, 4)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (True, None, None, return_indices)
    return pool("max_pool3d", x, *window, *rules, layout, algorithm, out)


def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the mean of every window of signals.

    As `avg_pool2d`, with one spatial axis: x is (N, C, W) and the result (N, C, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.avg_pool1d(np.ones((1, 2, 8)), 2).shape
    (1, 2, 4)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (count_include_pad, divisor_override, None, False)
    return pool("avg_pool1d", x, *window, *rules, layout, algorithm, out)


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the mean of every window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, layout, algorithm, out
        As in `max_pool2d`; padding holds zeros.
    count_include_pad : bool
        Divide by the window's elements in x and its padding, else by those in x.
    divisor_override : int, optional
        Divide by this instead.

    Returns
    -------
    ndarray, (N, C, P, Q)
        P and Q as in `max_pool2d`.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.

    Notes
    -----
    Sums are in x's dtype, down the columns of a window first. The mean of a window with
    nothing to count is 0.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.avg_pool2d(np.ones((1, 64, 56, 56), np.float32), 2).shape
    (1, 64, 28, 28)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (count_include_pad, divisor_override, None, False)
    return pool("avg_pool2d", x, *window, *rules, layout, algorithm, out)


def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take the mean of every window of volumes.

    As `avg_pool2d`, with three spatial axes: x is (N, C, D, H, W) and the result (N, C, M, P, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.avg_pool3d(np.ones((1, 2, 8, 8, 8)), 2).shape
    (1, 2, 4, 4, 4)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (count_include_pad, divisor_override, None, False)
    return pool("avg_pool3d", x, *window, *rules, layout, algorithm, out)


def lp_pool1d(
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    padding: Any = 0,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take a norm of every window of signals.

    As `lp_pool2d`, with one spatial axis: x is (N, C, W) and the result (N, C, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.lp_pool1d(np.ones((1, 2, 8)), 2, 2).shape
    (1, 2, 4)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (True, None, norm_type, False)
    return pool("lp_pool1d", x, *window, *rules, layout, algorithm, out)


def lp_pool2d(
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    padding: Any = 0,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take a norm of every window: (sum of abs(x) ** p) ** (1 / p).

    Parameters
    ----------
    x, kernel_size, stride, ceil_mode, padding, dilation, layout, algorithm, out
        As in `max_pool2d`; padding holds zeros.
    norm_type : number
        The order p of the norm, positive: 1 for sums of sizes, 2 for L2 pooling.

    Returns
    -------
    ndarray, (N, C, P, Q)
        P and Q as in `max_pool2d`.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `max_pool2d`.
    ValueError
        For a norm_type that is not positive and finite.

    Notes
    -----
    Powers are taken of absolute values, as in ONNX's LpPool: PyTorch, which takes them of
    the signed ones, differs where p is odd and x is negative. Nor is a partial window of
    ceil_mode scaled up to a whole one, as PyTorch's is. Powers are in x's dtype and
    overflow where they leave it.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> float(pc.lp_pool2d(np.full((1, 1, 2, 2), -3.0), 2, 2)[0, 0, 0, 0])
    6.0
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (True, None, norm_type, False)
    return pool("lp_pool2d", x, *window, *rules, layout, algorithm, out)


def lp_pool3d(
    x: Any,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
    *,
    padding: Any = 0,
    dilation: Any = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Take a norm of every window of volumes.

    As `lp_pool2d`, with three spatial axes: x is (N, C, D, H, W) and the result (N, C, M, P, Q).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> pc.lp_pool3d(np.ones((1, 2, 8, 8, 8)), 2, 2).shape
    (1, 2, 4, 4, 4)
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    rules = (True, None, norm_type, False)
    return pool("lp_pool3d", x, *window, *rules, layout, algorithm, out)
