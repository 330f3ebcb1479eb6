"""Malformed calls of im2col and col2im."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyconv as pc
from tests.bad_calls import F32, Bad, X

COLUMNS = pc.im2col(X, 3)
OVERLAPPING = np.zeros(4000, F32)


def call(name: str, label: str, error: Any, words: str, *args: Any, **kw: Any) -> Bad:
    """A call of one of the two."""
    return Bad(f"{name}-{label}", lambda: getattr(pc, name)(*args, **kw), error, words)


def windows(name: str, *given: Any) -> list[Bad]:
    """What both refuse about the window."""
    return [
        call(name, "kernel_zero", ValueError, "kernel_size", *given, 0),
        call(name, "kernel_float", TypeError, "kernel_size", *given, 3.0),
        call(name, "kernel_bool", TypeError, "kernel_size", *given, True),
        call(name, "kernel_none", TypeError, "kernel_size", *given, None),
        call(name, "kernel_large", ValueError, "kernel_size", *given, 9),
        call(name, "kernel_huge", ValueError, "kernel_size", *given, 2**62),
        call(name, "dilation_zero", ValueError, "dilation", *given, 3, 0),
        call(name, "dilation_large", ValueError, "dilation", *given, 3, 4),
        call(name, "dilation_axes", ValueError, "dilation", *given, 3, (1, 1, 1)),
        call(name, "padding_negative", ValueError, "padding", *given, 3, 1, -1),
        call(name, "padding_word", ValueError, "padding", *given, 3, 1, "mirror"),
        call(name, "padding_pairs", ValueError, "padding", *given, 3, 1, ((1, 1),)),
        call(name, "stride_zero", ValueError, "stride", *given, 3, 1, 0, 0),
        call(name, "stride_float", TypeError, "stride", *given, 3, 1, 0, 1.5),
        call(name, "stride_axes", ValueError, "stride", *given, 3, 1, 0, (1,)),
    ]


TABLE = [
    *windows("im2col", X),
    call("im2col", "list", TypeError, r"\bx\b", X.tolist(), 3),
    call("im2col", "dtype", TypeError, "dtype", X > 0, 3),
    call("im2col", "masked", TypeError, "masked", np.ma.masked_array(X), 3),
    call("im2col", "rank", ValueError, r"\bx\b", X[0, 0], 3),
    call("im2col", "axes", ValueError, r"\bx\b", X, (3,)),
    call("im2col", "four_axes", ValueError, "kernel_size", X, (3, 3, 3, 3)),
    call("im2col", "no_axes", ValueError, "kernel_size", X, ()),
    call("im2col", "empty", ValueError, "empty", X[:, :, :0], 3, 1, 3),
    call("im2col", "no_channels", ValueError, "empty", X[:, :0], 3),
    call("im2col", "layout", ValueError, "layout", X, 3, layout="CHWN"),
    call("im2col", "layout_type", TypeError, "layout", X, 3, layout=1),
    call("im2col", "huge", ValueError, "bytes", X, 2, 1, 2**30),
    call("im2col", "out_shape", ValueError, "out", X, 3, out=COLUMNS[:1].copy()),
    call("im2col", "out_dtype", TypeError, "out", X, 3, out=COLUMNS.astype(float)),
    call("im2col", "out_list", TypeError, "out", X, 3, out=[]),
    call(
        "im2col",
        "out_overlaps",
        ValueError,
        "overlaps x",
        OVERLAPPING[: X.size].reshape(X.shape),
        1,
        out=OVERLAPPING[8 : 8 + X.size].reshape(2, 4, 64),
    ),
    *windows("col2im", COLUMNS, (8, 8)),
    call("col2im", "list", TypeError, "columns", COLUMNS.tolist(), 8, 3),
    call("col2im", "dtype", TypeError, "dtype", COLUMNS > 0, 8, 3),
    call("col2im", "rank", ValueError, "columns", COLUMNS[0, 0], 8, 3),
    call("col2im", "rows", ValueError, "rows", COLUMNS[:, 1:], 8, 3),
    call("col2im", "no_rows", ValueError, "rows", COLUMNS[:, :0], 8, 3),
    call("col2im", "count", ValueError, "columns", COLUMNS[:, :, 1:], 8, 3),
    call("col2im", "size", ValueError, "output_size", COLUMNS, (8, 9), 3),
    call("col2im", "size_zero", ValueError, "output_size", COLUMNS, (0, 8), 3),
    call("col2im", "size_float", TypeError, "output_size", COLUMNS, 8.0, 3),
    call("col2im", "size_axes", ValueError, "output_size", COLUMNS, (8, 8, 8, 8), 3),
    call("col2im", "size_none", TypeError, "output_size", COLUMNS, None, 3),
    call(
        "col2im",
        "huge",
        ValueError,
        "bytes",
        COLUMNS[:, :, :1],
        2**39,
        3,
        1,
        0,
        2**39,
    ),
    call("col2im", "out_shape", ValueError, "out", COLUMNS, 8, 3, out=X[:1].copy()),
    call("col2im", "out_dtype", TypeError, "out", COLUMNS, 8, 3, out=X.astype(float)),
]
