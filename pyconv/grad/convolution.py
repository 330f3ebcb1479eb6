"""Gradients of convolutions, as torch.nn.grad names them: input, weight, bias."""

from __future__ import annotations

from typing import Any

from pyconv.grad.arguments import of_bias, of_input, of_weight

__all__ = [
    "conv1d_bias",
    "conv1d_input",
    "conv1d_weight",
    "conv2d_bias",
    "conv2d_input",
    "conv2d_weight",
    "conv3d_bias",
    "conv3d_input",
    "conv3d_weight",
]


def conv1d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Compute the gradient of `conv1d` with respect to its input.

    As `conv2d_input`, with one spatial axis.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> w, g = np.ones((4, 2, 3)), np.ones((1, 4, 8))
    >>> pc.grad.conv1d_input((1, 2, 10), w, g).shape
    (1, 2, 10)
    """
    window = (stride, padding, dilation, groups)
    how = (layout, algorithm, accuracy, out)
    return of_input(1, input_size, weight, grad_output, *window, *how)


def conv1d_weight(
    x: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `conv1d` with respect to its weight.

    As `conv2d_weight`, with one spatial axis.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, g = np.ones((1, 2, 10)), np.ones((1, 4, 8))
    >>> pc.grad.conv1d_weight(x, (4, 2, 3), g).shape
    (4, 2, 3)
    """
    window = (stride, padding, dilation, groups)
    how = (layout, algorithm, out)
    return of_weight(1, x, weight_size, grad_output, *window, *how)


def conv1d_bias(grad_output: Any, *, layout: str = "NCHW") -> Any:
    """Compute the gradient of `conv1d` with respect to its bias.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the convolution's result.
    layout : str
        Order of its logical axes.

    Returns
    -------
    ndarray, (K,)
        Its sum over samples and pixels.

    Raises
    ------
    TypeError, ShapeError
        As `conv1d`.
    """
    return of_bias(1, grad_output, layout)


def conv2d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Compute the gradient of `conv2d` with respect to its input.

    Parameters
    ----------
    input_size : tuple of int
        Shape of the convolution's x, in the order of axes that `layout` names.
    weight : ndarray, (K, C/groups, R, S)
        The convolution's filters; any strides.
    grad_output : ndarray, (N, K, P, Q) or (K, P, Q)
        Gradient with respect to the convolution's result; any strides. With
        layout="NHWC": (N, P, Q, K).
    stride, padding, dilation, groups
        The convolution's; zeros as padding.
    layout, algorithm, accuracy, out
        As in `conv2d`.

    Returns
    -------
    ndarray of shape input_size

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `conv2d`.

    Notes
    -----
    The pixels of the result fall into stride x stride phases, each a convolution of
    grad_output with some of the taps in reverse; see `conv_transpose2d`. Where the stride
    is 1 there is one phase, and for 3x3 kernels Winograd's algorithm.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> w = np.ones((16, 8, 3, 3), np.float32)
    >>> g = np.ones((1, 16, 14, 14), np.float32)
    >>> pc.grad.conv2d_input((1, 8, 28, 28), w, g, stride=2, padding=1).shape
    (1, 8, 28, 28)
    """
    window = (stride, padding, dilation, groups)
    how = (layout, algorithm, accuracy, out)
    return of_input(2, input_size, weight, grad_output, *window, *how)


def conv2d_weight(
    x: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `conv2d` with respect to its weight.

    Parameters
    ----------
    x : ndarray, (N, C, H, W) or (C, H, W)
        The convolution's input; any strides.
    weight_size : tuple of int
        Shape of the convolution's weight: (K, C/groups, R, S).
    grad_output : ndarray, (N, K, P, Q) or (K, P, Q)
        Gradient with respect to the convolution's result; any strides.
    stride, padding, dilation, groups
        The convolution's; zeros as padding.
    layout : {"NCHW", "NHWC"}
        Order of the logical axes of x and grad_output.
    algorithm : str
        "auto", or a name of ``algorithms("conv_weight")``, which runs or raises.
    out : ndarray of weight_size, optional
        Takes the result; any strides.

    Returns
    -------
    ndarray of shape weight_size

    Raises
    ------
    TypeError, ShapeError, UnsupportedAlgorithm
        As `conv2d`.

    Notes
    -----
    Each element is one chain of multiply-adds over samples and pixels, in order, whatever
    the number of threads: abs(dw - dw*) <= gamma_n sum of abs(grad) abs(x), n = N P Q. The
    gradient of an empty batch is zero.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, g = np.ones((4, 8, 28, 28), np.float32), np.ones((4, 16, 28, 28), np.float32)
    >>> pc.grad.conv2d_weight(x, (16, 8, 3, 3), g, padding=1).shape
    (16, 8, 3, 3)
    """
    window = (stride, padding, dilation, groups)
    how = (layout, algorithm, out)
    return of_weight(2, x, weight_size, grad_output, *window, *how)


def conv2d_bias(grad_output: Any, *, layout: str = "NCHW") -> Any:
    """Compute the gradient of `conv2d` with respect to its bias.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the convolution's result.
    layout : str
        Order of its logical axes.

    Returns
    -------
    ndarray, (K,)
        Its sum over samples and pixels.

    Raises
    ------
    TypeError, ShapeError
        As `conv2d`.

    Notes
    -----
    Always added in one order, whatever the number of threads or the order in memory:
    sixty-four partial sums for each filter, in turn over its pixels.
    """
    return of_bias(2, grad_output, layout)


def conv3d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
) -> Any:
    """Compute the gradient of `conv3d` with respect to its input.

    As `conv2d_input`, with three spatial axes.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> w, g = np.ones((4, 2, 2, 2, 2)), np.ones((1, 4, 3, 4, 5))
    >>> pc.grad.conv3d_input((1, 2, 4, 5, 6), w, g).shape
    (1, 2, 4, 5, 6)
    """
    window = (stride, padding, dilation, groups)
    how = (layout, algorithm, accuracy, out)
    return of_input(3, input_size, weight, grad_output, *window, *how)


def conv3d_weight(
    x: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the gradient of `conv3d` with respect to its weight.

    As `conv2d_weight`, with three spatial axes.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, g = np.ones((1, 2, 4, 5, 6)), np.ones((1, 4, 3, 4, 5))
    >>> pc.grad.conv3d_weight(x, (4, 2, 2, 2, 2), g).shape
    (4, 2, 2, 2, 2)
    """
    window = (stride, padding, dilation, groups)
    how = (layout, algorithm, out)
    return of_weight(3, x, weight_size, grad_output, *window, *how)


def conv3d_bias(grad_output: Any, *, layout: str = "NCHW") -> Any:
    """Compute the gradient of `conv3d` with respect to its bias.

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the convolution's result.
    layout : str
        Order of its logical axes.

    Returns
    -------
    ndarray, (K,)
        Its sum over samples and pixels.

    Raises
    ------
    TypeError, ShapeError
        As `conv3d`.
    """
    return of_bias(3, grad_output, layout)
