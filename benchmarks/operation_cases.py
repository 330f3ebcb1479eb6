"""The operations beside the convolution, as cases: pooling, gradients, transposed.

Shapes of published networks, and odd ones. Ours and PyTorch's take the same arrays; its
gradients are called below autograd, where only the wanted one is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

import pyconv as pc

Array = np.ndarray[Any, Any]
aten: Any = torch.ops.aten
functional: Any = torch.nn.functional


@dataclass(frozen=True)
class Case:
    """One operation: arrays in, a call of ours and one of PyTorch's."""

    group: str
    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    onnx: tuple[str, dict[str, Any]] | None = None
    given: tuple[Any, ...] = field(default=())  # arrays that are not drawn
    unread: tuple[int, ...] = ()  # arrays of which only the shape is asked


def pools() -> Iterator[Case]:
    """Pooling and its gradients."""
    for n in (1, 8):
        big, odd = (n, 64, 112, 112), (n, 91, 57, 43)
        for shape, k, s, p in ((big, 3, 2, 1), (big, 2, 2, 0), (odd, 3, 2, 0)):
            name = f"{'x'.join(map(str, shape))} {k}x{k} s{s} p{p}"
            onnx = {"kernel_shape": [k, k], "strides": [s, s], "pads": [p] * 4}
            for indexed in (False, True):
                yield Case(
                    "max",
                    name + (" indices" if indexed else ""),
                    (shape,),
                    partial(
                        pc.max_pool2d,
                        kernel_size=k,
                        stride=s,
                        padding=p,
                        return_indices=indexed,
                    ),
                    partial(
                        functional.max_pool2d,
                        kernel_size=k,
                        stride=s,
                        padding=p,
                        return_indices=indexed,
                    ),
                    None if indexed else ("MaxPool", onnx),
                )
            yield Case(
                "mean",
                "average " + name,
                (shape,),
                partial(pc.avg_pool2d, kernel_size=k, stride=s, padding=p),
                partial(functional.avg_pool2d, kernel_size=k, stride=s, padding=p),
                ("AveragePool", {**onnx, "count_include_pad": 1}),
            )
            if p == 0:
                yield Case(
                    "norm",
                    "L2 " + name,
                    (shape,),
                    partial(pc.lp_pool2d, norm_type=2, kernel_size=k, stride=s),
                    partial(
                        functional.lp_pool2d, norm_type=2.0, kernel_size=k, stride=s
                    ),
                    ("LpPool", {**onnx, "p": 2}),
                )
                # PyTorch takes powers of x itself: NaN below 0.
                positive = np.random.default_rng(2).standard_normal(shape) ** 2
                for norm in (3, 2.7):
                    yield Case(
                        "norm",
                        f"L{norm} {name}",
                        (),
                        partial(pc.lp_pool2d, norm_type=norm, kernel_size=k, stride=s),
                        partial(
                            functional.lp_pool2d,
                            norm_type=float(norm),
                            kernel_size=k,
                            stride=s,
                        ),
                        ("LpPool", {**onnx, "p": norm}) if norm == 3 else None,
                        given=(positive.astype(np.float32),),
                    )
            yield from pool_gradients(name, shape, k, s, p)
        for shape, size in (
            ((n, 256, 14, 14), 6),
            (big, 5),
            ((n, 2048, 7, 7), 1),
            ((n, 64, 56, 56), 1),
        ):
            yield Case(
                "mean",
                f"adaptive {'x'.join(map(str, shape))} to {size}",
                (shape,),
                partial(pc.adaptive_avg_pool2d, output_size=size),
                partial(functional.adaptive_avg_pool2d, output_size=size),
                ("GlobalAveragePool", {}) if size == 1 else None,
            )


def pool_gradients(
    name: str, shape: tuple[int, ...], k: int, s: int, p: int
) -> Iterator[Case]:
    """Of the maximum, by indices, and of the mean."""
    x = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    y, index = pc.max_pool2d(x, k, s, p, return_indices=True)
    window = ([k, k], [s, s], [p, p])

    def of_max(g: Any, there: Any, places: Any) -> Any:
        return aten.max_pool2d_with_indices_backward(
            g, there, *window, [1, 1], False, places
        )

    def of_mean(g: Any, there: Any) -> Any:
        return aten.avg_pool2d_backward(g, there, *window, False, True, None)

    yield Case(
        "pool_grad",
        "max " + name,
        (y.shape,),
        lambda g, _, places: pc.grad.max_pool2d(g, places, shape),
        of_max,
        given=(x, index),
        unread=(1,),
    )
    yield Case(
        "pool_grad",
        "average " + name,
        (y.shape,),
        lambda g, _: pc.grad.avg_pool2d(g, shape, k, s, p),
        of_mean,
        given=(x,),
        unread=(1,),
    )


def convolutions() -> Iterator[Case]:
    """Input and weight gradients, and transposed convolution."""
    for n in (1, 8):
        for c, k, size in (
            (64, 64, 56),
            (128, 128, 28),
            (256, 256, 14),
            (512, 512, 7),
            (96, 80, 35),
        ):
            yield from gradients("3x3", n, c, k, size, 3, 1)
        yield from gradients("3x3", n, 128, 128, 56, 3, 2)
        for c, k, size in (
            (64, 256, 56),
            (256, 64, 56),
            (512, 128, 28),
            (1024, 256, 14),
            (2048, 512, 7),
            (90, 70, 35),
        ):
            yield from gradients("1x1", n, c, k, size, 1, 1)
        for c, k, size, kernel, groups in (
            (64, 32, 56, 2, 1),
            (512, 256, 28, 2, 1),
            (256, 128, 16, 4, 1),
            (64, 3, 64, 4, 1),
            (64, 64, 56, 4, 64),
            (128, 128, 28, 4, 32),
        ):
            pad = (kernel - 2) // 2
            how: dict[str, Any] = {"stride": 2, "padding": pad, "groups": groups}
            yield Case(
                "transposed" if groups == 1 else "grouped",
                f"n{n} {c} to {k} {size}x{size} k{kernel}s2 g{groups}",
                ((n, c, size, size), (c, k // groups, kernel, kernel)),
                partial(pc.conv_transpose2d, **how),
                partial(functional.conv_transpose2d, **how),
            )


def patches() -> Iterator[Case]:
    """Patches to columns and back, and sums over pixels."""
    for n in (1, 8):
        for c, size, k, p, s in (
            (64, 56, 3, 1, 1),
            (512, 7, 3, 1, 1),
            (90, 35, 5, 2, 1),
            (3, 224, 7, 3, 2),
            (3, 224, 16, 0, 16),
        ):
            x = (n, c, size, size)
            out = (size + 2 * p - k) // s + 1
            window: dict[str, Any] = {"kernel_size": k, "padding": p, "stride": s}
            whole: dict[str, Any] = {**window, "output_size": (size, size)}
            name = f"{'x'.join(map(str, x))} {k}x{k} s{s} p{p}"
            yield Case(
                "columns",
                f"im2col {name}",
                (x,),
                partial(pc.im2col, **window),
                partial(functional.unfold, **window),
            )
            yield Case(
                "columns",
                f"col2im {name}",
                ((n, c * k * k, out * out),),
                partial(pc.col2im, **whole),
                partial(functional.fold, **whole),
            )
        for x in ((n, 64, 56, 56), (n, 512, 7, 7), (n, 91, 57, 43), (n, 3, 224, 224)):
            yield Case(
                "bias",
                "x".join(map(str, x)),
                (x,),
                pc.grad.conv2d_bias,
                lambda g: g.sum((0, 2, 3)),
            )


def gradients(
    kind: str, n: int, c: int, k: int, size: int, kernel: int, stride: int
) -> Iterator[Case]:
    """Both gradients of one layer."""
    pad = kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    x, w, g = (n, c, size, size), (k, c, kernel, kernel), (n, k, out, out)
    name = f"n{n} {c} to {k} {size}x{size} s{stride}"
    window = ([stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1)

    def backward(g: Any, x: Any, w: Any, which: int) -> Any:
        mask = [which == 0, which == 1, False]
        return aten.convolution_backward(g, x, w, None, *window, mask)[which]

    yield Case(
        f"input_{kind}",
        name,
        (g, w),
        lambda g, w: pc.grad.conv2d_input(x, w, g, stride, pad),
        lambda g, w: backward(g, _empty(x, g), w, 0),
    )
    yield Case(
        f"weight_{kind}",
        name,
        (x, g),
        lambda x, g: pc.grad.conv2d_weight(x, w, g, stride, pad),
        lambda x, g: backward(g, x, _empty(w, x), 1),
    )


_EMPTY: dict[Any, Any] = {}


def _empty(shape: tuple[int, ...], like: Any) -> Any:
    """An operand that only its shape, type and memory order are asked of."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    last = last and not like.is_contiguous()
    key = (shape, like.dtype, last)
    if key not in _EMPTY:
        order = torch.channels_last if last else torch.contiguous_format
        _EMPTY[key] = torch.zeros(shape, dtype=like.dtype).to(memory_format=order)
    return _EMPTY[key]
