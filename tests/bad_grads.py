"""Malformed calls of gradients, transposed convolution and unpooling."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyconv as pc
from tests.bad_calls import F32, Bad, W, X, Y

G = np.ones(Y.shape, F32)
POOLED, INDICES = pc.max_pool2d(X, 2, return_indices=True)
T = np.ones((4, 3, 3, 3), F32)  # takes X's channels


def grad(name: str, label: str, error: Any, words: str, *args: Any, **kw: Any) -> Bad:
    """A call of pyconv.grad."""
    return Bad(
        f"grad.{name}-{label}",
        lambda: getattr(pc.grad, name)(*args, **kw),
        error,
        words,
    )


def call(name: str, label: str, error: Any, words: str, *args: Any, **kw: Any) -> Bad:
    """A call of a function of the package."""
    return Bad(f"{name}-{label}", lambda: getattr(pc, name)(*args, **kw), error, words)


def transposed() -> list[Bad]:
    """Transposed convolution."""
    name = "conv_transpose2d"
    return [
        call(name, "x_list", TypeError, r"\bx\b", X.tolist(), T),
        call(name, "weight_list", TypeError, "weight", X, T.tolist()),
        call(name, "rank", ValueError, r"\bx\b", X[0, 0], T),
        call(name, "weight_rank", ValueError, "weight", X, T[0]),
        call(name, "channels", ValueError, "channels", X[:, :3], T),
        call(name, "groups", ValueError, "groups", X, T, groups=3),
        call(name, "groups_zero", ValueError, "groups", X, T, groups=0),
        call(name, "bias", ValueError, "bias", X, T, np.ones(4, F32)),
        call(name, "stride_zero", ValueError, "stride", X, T, stride=0),
        call(name, "stride_float", TypeError, "stride", X, T, stride=2.0),
        call(name, "dilation_zero", ValueError, "dilation", X, T, dilation=0),
        call(name, "padding_word", ValueError, "padding", X, T, padding="same"),
        call(name, "padding_negative", ValueError, "padding", X, T, padding=-1),
        call(name, "padding_too_large", ValueError, "padding", X, T, padding=9),
        call(
            name, "output_padding", ValueError, "output_padding", X, T, output_padding=1
        ),
        call(
            name,
            "output_padding_of_stride",
            ValueError,
            "output_padding",
            X,
            T,
            stride=2,
            output_padding=2,
        ),
        call(
            name,
            "output_padding_negative",
            ValueError,
            "output_padding",
            X,
            T,
            stride=2,
            output_padding=-1,
        ),
        call(name, "empty", ValueError, "spatial", X[:, :, :0], T),
        call(name, "huge", ValueError, "bytes", X, T, stride=2**39),
        call(
            name, "out_shape", ValueError, "out", X, T, out=np.ones((2, 3, 9, 9), F32)
        ),
        call(name, "out_dtype", TypeError, "out", X, T, out=np.ones((2, 3, 10, 10))),
        call(
            name,
            "residual",
            ValueError,
            "residual",
            X,
            T,
            residual=np.ones((2, 3, 9, 10), F32),
        ),
        call(name, "activation", ValueError, "activation", X, T, activation="step"),
        call(name, "layout", ValueError, "layout", X, T, layout="HWNC"),
        call(name, "algorithm", ValueError, "algorithm", X, T, algorithm="fast"),
        call("conv_transpose1d", "rank", ValueError, r"\bx\b", X, T),
    ]


def convolutions() -> list[Bad]:
    """Gradients of convolutions."""
    size, weight = X.shape, W.shape
    return [
        grad("conv2d_input", "size_int", TypeError, "input_size", 8, W, G),
        grad("conv2d_input", "size_short", ValueError, "input_size", (8, 8), W, G),
        grad(
            "conv2d_input", "size_other", ValueError, "input_size", (2, 4, 9, 8), W, G
        ),
        grad("conv2d_input", "batch", ValueError, "batch", (3, 4, 8, 8), W, G),
        grad("conv2d_input", "channels", ValueError, "channels", (2, 5, 8, 8), W, G),
        grad("conv2d_input", "filters", ValueError, "channels", size, W[:5], G),
        grad("conv2d_input", "negative", ValueError, "input_size", (2, 4, -8, 8), W, G),
        grad(
            "conv2d_input", "grad_list", TypeError, "grad_output", size, W, G.tolist()
        ),
        grad("conv2d_input", "weight_none", TypeError, "weight", size, None, G),
        grad("conv2d_input", "stride", ValueError, "grad_output", size, W, G, stride=2),
        grad("conv2d_input", "padding", ValueError, "padding", size, W, G, padding=-1),
        grad(
            "conv2d_input",
            "out",
            ValueError,
            "out",
            size,
            W,
            G,
            out=np.ones((2, 4, 8, 9), F32),
        ),
        grad("conv2d_weight", "size_int", TypeError, "weight_size", X, 3, G),
        grad("conv2d_weight", "size_short", ValueError, "weight_size", X, (6, 4, 3), G),
        grad(
            "conv2d_weight", "size_other", ValueError, "grad_output", X, (6, 4, 5, 3), G
        ),
        grad("conv2d_weight", "filters", ValueError, "filters", X, (7, 4, 3, 3), G),
        grad("conv2d_weight", "channels", ValueError, "channels", X, (6, 3, 3, 3), G),
        grad("conv2d_weight", "empty", ValueError, "weight_size", X, (6, 4, 0, 3), G),
        grad("conv2d_weight", "batch", ValueError, "batch", X[:1], weight, G),
        grad("conv2d_weight", "rank", ValueError, "grad_output", X, weight, G[0]),
        grad("conv2d_weight", "groups", ValueError, "groups", X, weight, G, groups=3),
        grad("conv2d_weight", "x_list", TypeError, r"\bx\b", X.tolist(), weight, G),
        grad("conv2d_weight", "dtype", TypeError, "dtype", X.astype(bool), weight, G),
        grad(
            "conv2d_weight",
            "algorithm",
            ValueError,
            "algorithm",
            X,
            weight,
            G,
            algorithm="winograd",
        ),
        grad(
            "conv2d_weight", "out", TypeError, "out", X, weight, G, out=np.ones(weight)
        ),
        grad("conv2d_bias", "rank", ValueError, "grad_output", G[0, 0]),
        grad("conv2d_bias", "list", TypeError, "grad_output", G.tolist()),
        grad("conv2d_bias", "empty", ValueError, "grad_output", G[:, :, :0]),
        grad("conv2d_bias", "no_filters", ValueError, "grad_output", G[:, :0]),
        grad("conv2d_bias", "layout", ValueError, "layout", G, layout="NWHC"),
    ]


def poolings() -> list[Bad]:
    """Gradients of pooling, and unpooling."""
    size = X.shape
    return [
        grad("max_pool2d", "indices_list", TypeError, "indices", POOLED, [1], size),
        grad("max_pool2d", "indices_float", TypeError, "indices", POOLED, POOLED, size),
        grad(
            "max_pool2d",
            "indices_shape",
            ValueError,
            "indices",
            POOLED,
            INDICES[:1],
            size,
        ),
        grad("max_pool2d", "size", ValueError, "input_size", POOLED, INDICES, (8, 8)),
        grad("max_pool2d", "batch", ValueError, "batch", POOLED, INDICES, (3, 4, 8, 8)),
        grad(
            "max_pool2d",
            "smaller",
            ValueError,
            "indices",
            POOLED,
            INDICES,
            (2, 4, 3, 3),
        ),
        grad("max_pool2d", "grad", TypeError, "grad_output", None, INDICES, size),
        grad("avg_pool2d", "size", ValueError, "input_size", POOLED, (2, 4, 12, 8), 2),
        grad("avg_pool2d", "kernel", ValueError, "kernel_size", POOLED, size, 0),
        grad("avg_pool2d", "padding", ValueError, "padding", POOLED, size, 2, 2, 2),
        grad(
            "avg_pool2d",
            "divisor",
            ValueError,
            "divisor_override",
            POOLED,
            size,
            2,
            divisor_override=0,
        ),
        grad("avg_pool2d", "empty", ValueError, "empty", POOLED, (2, 4, 0, 8), 2),
        grad(
            "avg_pool2d",
            "algorithm",
            ValueError,
            "algorithm",
            POOLED,
            size,
            2,
            algorithm="fft",
        ),
        grad(
            "adaptive_avg_pool2d",
            "channels",
            ValueError,
            "channels",
            POOLED,
            (2, 5, 8, 8),
        ),
        grad("lp_pool2d", "norm", ValueError, "norm_type", X, POOLED, 0, 2),
        grad(
            "lp_pool2d", "shape", ValueError, "grad_output", X, POOLED[:, :, :3], 2, 2
        ),
        grad("lp_pool2d", "x_list", TypeError, r"\bx\b", X.tolist(), POOLED, 2, 2),
        call("max_unpool2d", "indices", TypeError, "indices", POOLED, None, 2),
        call("max_unpool2d", "shape", ValueError, "indices", POOLED, INDICES[:, :2], 2),
        call("max_unpool2d", "outside", ValueError, "indices", POOLED, INDICES + 64, 2),
        call(
            "max_unpool2d", "negative", ValueError, "indices", POOLED, INDICES - 64, 2
        ),
        call(
            "max_unpool2d",
            "size",
            ValueError,
            "output_size",
            POOLED,
            INDICES,
            2,
            output_size=(8,),
        ),
        call(
            "max_unpool2d",
            "size_huge",
            ValueError,
            "bytes",
            POOLED,
            INDICES,
            2,
            output_size=(2**30, 2**30),
        ),
        call(
            "max_unpool2d",
            "padding",
            ValueError,
            "positive",
            POOLED,
            INDICES,
            2,
            padding=9,
        ),
        call("max_unpool2d", "x_list", TypeError, r"\bx\b", [1.0], INDICES, 2),
        call("max_unpool2d", "kernel", TypeError, "kernel_size", POOLED, INDICES, 2.5),
    ]


TABLE = [*transposed(), *convolutions(), *poolings()]
