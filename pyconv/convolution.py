"""Convolution: conv1d, conv2d, conv3d.

A call whose raw arguments were seen before goes straight to its plan, in C++. Any other
call is read, planned and run, and remembered if nothing about it had to be copied.
"""

from __future__ import annotations

from typing import Any

from pyconv import _core, device_calls
from pyconv.conv_arguments import prepare
from pyconv.running import run_conv

__all__ = ["conv1d", "conv2d", "conv3d"]

_cached = _core.conv_cached
# Where a plan's arrays are among the raw arguments.
_TAKES = (0, 1, 2, 10, device_calls.RESULT)


def _conv(rank: int, *raw: Any) -> Any:
    """Take the long road: read, plan, run, and remember if nothing was copied."""
    y = device_calls.cached(("conv", rank), raw, 0)
    if y is not None:
        return y
    (x, weight, bias, stride, padding, dilation, groups) = raw[:7]
    (padding_mode, layout, activation, residual, algorithm, accuracy, out) = raw[7:]
    call = prepare(
        rank,
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode=padding_mode,
        layout=layout,
        activation=activation,
        residual=residual,
        algorithm=algorithm,
        accuracy=accuracy,
        out=out,
    )
    choice_made = call.choose()
    y = run_conv(call, choice_made)
    if call.may_be_remembered(choice_made):
        _core.conv_remember(choice_made.plan, None, call.shape, call.order, rank, *raw)
    device_calls.remember(("conv", rank), raw, call, choice_made, _TAKES)
    return y


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Cross-correlate a batch of signals with a bank of filters.

    As `conv2d`, with one spatial axis: x is (N, C, W), weight (K, C/groups, S) and the
    result (N, K, Q), Q = floor((W + before + after - dilation (S - 1) - 1) / stride) + 1.
    Parameters, errors and notes are conv2d's.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.ones((1, 2, 100), np.float32)
    >>> pc.conv1d(x, np.ones((4, 2, 3), np.float32), dilation=2).shape
    (1, 4, 96)
    """
    raw = (
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )
    y = _cached(1, *raw)
    return y if y is not None else _conv(1, *raw)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Cross-correlate a batch of images with a bank of filters.

    y = activation(sum over c, r, s of x[n, c, p stride + r dilation - pad, ...]
    weight[k, c, r, s] + bias[k] + residual).

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        Images, any strides. float16, bfloat16 (ml_dtypes), float32, float64, integers,
        complex64, complex128. With layout="NHWC": (N, H, W, C).
    weight : ndarray, (K, C/groups, R, S)
        Filters, in this order of axes whatever `layout`; any strides.
    bias : ndarray, (K,), optional
        Added to every pixel of a filter's output.
    stride, dilation : int or one int for each spatial axis
        Steps of the window and inside it, in pixels; 1 means none.
    padding : int, ints, (before, after) pairs, or a word
        "valid" is 0; "same" makes the output ceil(n / stride), the odd pixel after;
        "same_lower" puts it before; "full" pads by the whole kernel but one.
    groups : int
        Channels and filters are cut into so many independent groups.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding holds; done in the index arithmetic, without a padded copy.
    layout : {"NCHW", "NHWC"}
        Order of the logical axes of x, residual and result. The memory order is read
        from x's strides, and the result's follows it.
    activation : {None, "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu"}
        Applied to each result as it is stored. leaky_relu's slope is 0.01.
    residual : ndarray of the result's shape, optional
        Added before the activation.
    algorithm : str
        "auto", or a name of `algorithms`, which runs or raises.
    accuracy : {"strict", "default", "fast"}
        "strict" allows direct sums only; "default" also Winograd's F(2x2,3x3),
        F(4x4,3x3) and one-dimensional kin, for float32, with at most three times a
        direct sum's root-mean-square error; "fast" also F(6x6,3x3), and float64.
    out : ndarray of the result's shape and dtype, optional
        Takes the result; any strides. It must not overlap an input.

    Returns
    -------
    ndarray, (N, K, P, Q)
        P = floor((H + before + after - dilation (R - 1) - 1) / stride) + 1, Q likewise.
        Its dtype is NumPy's promotion of x's and weight's; of integers, see Notes.

    Raises
    ------
    TypeError
        For what is no array, another dtype, or a parameter of the wrong type.
    ShapeError
        A ValueError: shapes that do not fit together, a kernel larger than the padded
        input, a result larger than this machine's memory.
    UnsupportedAlgorithm
        A ValueError: the algorithm does not exist or cannot do this, with the reason.
    BackendUnavailable
        A RuntimeError: a CuPy array where CUDA cannot run.

    Notes
    -----
    The kernel is not flipped: this is cross-correlation, as in neural networks.
    float32 is summed in float32, float64 in float64, halves in float32 and rounded once.
    Integers of 8 and 16 bits give int32, wider ones int64 (uint64 itself), modulo 2^32 and
    2^64; bias has that type, with halves float32. Direct sums add in one order (r, s,
    then c), whatever the algorithm ("reference" and the plain loops beside it round each
    product besides). Results do not depend on the number of threads, the batch or the
    memory order. Zero padding adds no term, whatever the weight over it.

    References
    ----------
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
    arXiv 1603.07285.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.ones((8, 3, 32, 32), np.float32)
    >>> w = np.ones((16, 3, 3, 3), np.float32)
    >>> pc.conv2d(x, w, stride=2, padding="same", activation="relu").shape
    (8, 16, 16, 16)
    """
    y = _cached(
        2,
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )
    if y is not None:
        return y
    return _conv(
        2,
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Cross-correlate a batch of volumes with a bank of filters.

    As `conv2d`, with three spatial axes: x is (N, C, D, H, W), weight
    (K, C/groups, T, R, S) and the result (N, K, M, P, Q). Parameters, errors and notes
    are conv2d's.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.ones((1, 2, 8, 16, 16), np.float32)
    >>> pc.conv3d(x, np.ones((4, 2, 3, 3, 3), np.float32), padding=1).shape
    (1, 4, 8, 16, 16)
    """
    raw = (
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )
    y = _cached(3, *raw)
    return y if y is not None else _conv(3, *raw)
