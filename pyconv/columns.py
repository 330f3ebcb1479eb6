"""Patches to columns and back: im2col and col2im, torch's unfold and fold."""

from __future__ import annotations

from typing import Any

from pyconv import _core
from pyconv.columns_arguments import prepare_col2im, prepare_im2col
from pyconv.running import Call, run_unary

__all__ = ["col2im", "im2col"]


def _run(call: Call, *raw: Any) -> Any:
    """Plan and run, and remember the plan if nothing was copied."""
    choice = call.choose()
    result = run_unary(call, choice)
    if call.may_be_remembered(choice):
        _core.unary_remember(choice.plan, call.shape, call.order, *raw)
    return result


def im2col(
    x: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    layout: str = "NCHW",
    out: Any = None,
) -> Any:
    """Write the patches under all positions of a window as the columns of a matrix.

    A convolution is the product of its weights, as (K, C R S), and this matrix.

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        Images; any float type, any strides. With layout="NHWC": (N, H, W, C).
    kernel_size : int or tuple of int
        The window. As many entries as there are spatial axes: (S,) for signals
        (N, C, W), (T, R, S) for volumes (N, C, D, H, W); an int is a square window over
        images.
    dilation : int or tuple of int
        Pixels from one element of the window to the next.
    padding : int, tuple of int, pairs, or {"valid", "same", "same_lower", "full"}
        Zeros around the images, as in `conv2d`.
    stride : int or tuple of int
        Pixels from one window to the next.
    layout : {"NCHW", "NHWC"}
        Order of x's logical axes; the result's is the same for both.
    out : ndarray, optional
        Takes the result; of its shape and dtype, any strides.

    Returns
    -------
    ndarray, (N, C R S, L) or (C R S, L)
        Row (c R + r) S + s of column p Q + q is the element of channel c that window
        (p, q) meets at (r, s); L = P Q windows.

    Raises
    ------
    TypeError, ShapeError
        As `conv2d`.

    See Also
    --------
    col2im : The adjoint: columns added back into images.

    Notes
    -----
    torch.nn.functional.unfold, which knows images only.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> pc.im2col(x, 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    raw = ("im2col", x, kernel_size, dilation, padding, stride, layout, out)
    result = _core.unary_cached(*raw)
    if result is not None:
        return result
    window = (kernel_size, dilation, padding, stride)
    return _run(prepare_im2col(x, *window, layout=layout, out=out), *raw)


def col2im(
    columns: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    out: Any = None,
) -> Any:
    """Add columns back into the images that their windows were cut from.

    The adjoint of `im2col`: where windows overlap, their elements are added; what lay in
    the padding is dropped.

    Parameters
    ----------
    columns : ndarray, (N, C R S, L) or (C R S, L)
        As `im2col` returns them; any float type, any strides.
    output_size : int or tuple of int
        Spatial extents of the images: (W,), (H, W) or (D, H, W); an int is a square.
    kernel_size, dilation, padding, stride
        Those of `im2col`.
    out : ndarray, optional
        Takes the result; of its shape and dtype, any strides.

    Returns
    -------
    ndarray, (N, C, *output_size) or (C, *output_size)

    Raises
    ------
    TypeError, ShapeError
        As `im2col`.

    Notes
    -----
    torch.nn.functional.fold, which knows images only. Elements are added in one order,
    column by column of the window, whatever the number of threads, the batch or the
    order in memory.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> ones = np.ones((1, 3, 3))
    >>> pc.col2im(pc.im2col(ones, 2), 3, 2)
    array([[[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]]])
    """
    raw = ("col2im", columns, output_size, kernel_size, dilation, padding, stride, out)
    result = _core.unary_cached(*raw)
    if result is not None:
        return result
    window = (output_size, kernel_size, dilation, padding, stride)
    return _run(prepare_col2im(columns, *window, out=out), *raw)
