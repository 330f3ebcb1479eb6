"""Transposed convolution: conv_transpose1d, conv_transpose2d, conv_transpose3d."""

from __future__ import annotations

from typing import Any

from pyconv import _core
from pyconv.adjoint import Geometry, adjoint, check_channels
from pyconv.arrays import check_array, read_layout
from pyconv.errors import ShapeError
from pyconv.parameters import integer, paddings, per_axis

__all__ = [
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "read_transposed",
]


def _transposed(*raw: Any) -> Any:
    """Take the short road if the raw arguments are known, else read them and run.

    `raw` are the rank and conv_transpose2d's arguments in their order.
    """
    y = _core.transposed_cached(*raw)
    if y is not None:
        return y
    taken, how = read_transposed(*raw)
    return adjoint(
        *taken, **how, remember=lambda *plan: _core.transposed_remember(*plan, *raw)
    )


def read_transposed(
    rank: int,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
    layout: Any = "NCHW",
    activation: Any = None,
    residual: Any = None,
    algorithm: Any = "auto",
    accuracy: Any = "default",
    out: Any = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the window, and compute the result's size: read_adjoint's arguments."""
    x, weight = check_array("x", x), check_array("weight", weight)
    seen = read_layout(layout, rank, x).view(x)
    group_count = integer("groups", groups, 1)
    check_channels(seen, weight, group_count, rank, "x")
    kernel, inputs = weight.shape[2:], seen.shape[5 - rank :]
    strides = per_axis("stride", stride, rank, 1)
    dilations = per_axis("dilation", dilation, rank, 1)
    extra = per_axis("output_padding", output_padding, rank, 0)
    if isinstance(padding, str):
        words = "words are for convolutions, whose input has a size of its own"
        raise ValueError(  # noqa: TRY004 - the type is right, the value is not
            f"padding must be integers or pairs, got {padding!r:.60}: {words}"
        )
    pads = paddings(padding, inputs, kernel, strides, dilations)
    for more_pixels, step, hole in zip(extra, strides, dilations, strict=True):
        if more_pixels >= max(step, hole):
            raise ValueError(
                f"output_padding={extra} must be smaller than stride={strides} or "
                f"dilation={dilations}"
            )
    if 0 in inputs:
        raise ShapeError(f"x has an empty spatial axis: extents {inputs}")
    extents = tuple(
        (n - 1) * step - sum(pad) + hole * (k - 1) + more_pixels + 1
        for n, step, pad, hole, k, more_pixels in zip(
            inputs, strides, pads, dilations, kernel, extra, strict=True
        )
    )
    if min(extents) < 1:
        raise ShapeError(
            f"padding={pads} cuts off all of the result: size (n - 1) * stride - before "
            f"- after + dilation * (k - 1) + output_padding + 1 = {extents}"
        )
    geometry = Geometry(extents, strides, pads, dilations, group_count)
    taken = (f"conv_transpose{rank}d", "x", rank, x, weight, geometry)
    how = {
        "bias": bias,
        "layout": layout,
        "activation": activation,
        "residual": residual,
        "algorithm": algorithm,
        "accuracy": accuracy,
        "out": out,
    }
    return taken, how


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Spread signals through a bank of filters: the transpose of `conv1d`.

    As `conv_transpose2d`, with one spatial axis: x is (N, K, W), weight
    (K, C/groups, S).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.ones((1, 4, 10), np.float32)
    >>> pc.conv_transpose1d(x, np.ones((4, 2, 3), np.float32), stride=2).shape
    (1, 2, 21)
    """
    return _transposed(
        1,
        x,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Spread images through a bank of filters: the transpose of `conv2d`.

    The result is what `conv2d` with this weight, from an input of the result's size,
    would hand back to its input: y[c, p stride + r dilation - padding] += sum over k of
    x[k, p] weight[k, c, r], and the same along the columns.

    Parameters
    ----------
    x : ndarray, (N, K, H, W) or (K, H, W)
        Images; any type of `conv2d`, any strides. With layout="NHWC": (N, H, W, K).
    weight : ndarray, (K, C/groups, R, S)
        Filters, in torch's order of axes, whatever `layout`; any strides.
    bias : ndarray, (C,), optional
        Added to every pixel of a channel of the result.
    stride, dilation : int or two ints
        Of the convolution that this transposes: x's pixels land `stride` apart.
    padding : int, two ints, or two (before, after) pairs
        Pixels cut off the result's edges.
    output_padding : int or two ints
        Pixels that the result has more at its end; less than stride or dilation.
    groups : int
        Channels and filters are cut into so many independent groups.
    layout, activation, residual, algorithm, accuracy, out
        As in `conv2d`; activation and residual end the whole sum.

    Returns
    -------
    ndarray, (N, C, P, Q)
        P = (H - 1) stride - before - after + dilation (R - 1) + output_padding + 1,
        Q likewise.

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `conv2d`.

    Notes
    -----
    No zeros are inserted: the pixels of the result fall into stride x stride phases, and
    each is a convolution of x with every stride-th tap, written where it belongs. They run
    as such, by an algorithm of ``algorithms("conv")``, or all in one piece, by one of
    ``algorithms("conv_input")``; `trace` shows what ran.

    References
    ----------
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
    arXiv 1603.07285, chapter 4.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.ones((1, 64, 28, 28), np.float32)
    >>> pc.conv_transpose2d(x, np.ones((64, 32, 2, 2), np.float32), stride=2).shape
    (1, 32, 56, 56)
    """
    return _transposed(
        2,
        x,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )


def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Spread volumes through a bank of filters: the transpose of `conv3d`.

    As `conv_transpose2d`, with three spatial axes: x is (N, K, D, H, W), weight
    (K, C/groups, T, R, S).

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x = np.ones((1, 4, 5, 6, 7), np.float32)
    >>> pc.conv_transpose3d(x, np.ones((4, 2, 2, 2, 2), np.float32), stride=2).shape
    (1, 2, 10, 12, 14)
    """
    return _transposed(
        3,
        x,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        layout,
        activation,
        residual,
        algorithm,
        accuracy,
        out,
    )
