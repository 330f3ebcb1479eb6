"""Malformed calls, each with the error it must raise and a word of its message.

The word is the name of the argument at fault. Many rows are calls that crashed, hung or
silently miscomputed in another library. tests/test_bad_input.py walks the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import pyconv as pc
from tests.cases import normal

F32 = np.float32
X = normal((2, 4, 8, 8), F32, 1)
W = normal((6, 4, 3, 3), F32, 2)
B = normal((6,), F32, 3)
X1, W1 = X[:, :, 0], W[:, :, 0]
X3, W3 = X[:, :, None], W[:, :, None]
Y = pc.conv2d(X, W)


class Bad(NamedTuple):
    """One malformed call."""

    name: str
    call: Callable[[], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    words: str


EITHER = (ValueError, TypeError)


def conv(name: str, error: Any, words: str, *args: Any, **options: Any) -> Bad:
    """A conv2d of the good X and W with these options, or of other arguments."""
    given = args or (X, W)
    return Bad(f"conv2d-{name}", lambda: pc.conv2d(*given, **options), error, words)


def pools(name: str, error: Any, words: str, *args: Any, **options: Any) -> list[Bad]:
    """The call for both pools."""
    return [
        Bad(
            "max_pool2d-" + name, lambda: pc.max_pool2d(*args, **options), error, words
        ),
        Bad(
            "avg_pool2d-" + name, lambda: pc.avg_pool2d(*args, **options), error, words
        ),
    ]


def no_arrays() -> list[Bad]:
    """What is no array, or of a type that has no kernel yet."""
    rows = []
    for name, wrong in {
        "list": X.tolist(),
        "none": None,
        "float": 1.5,
        "string": "image.png",
        "bytes": b"123",
        "dict": {},
        "numpy_scalar": F32(1),
        "module": np,
    }.items():
        rows.append(conv(f"x_{name}", TypeError, r"\bx\b", wrong, W))
        rows.append(conv(f"weight_{name}", TypeError, "weight", X, wrong))
        rows += pools(f"x_{name}", TypeError, r"\bx\b", wrong, 2)
    rows.append(conv("bias_list", TypeError, "bias", X, W, B.tolist()))
    rows.append(conv("bias_float", TypeError, "bias", X, W, 1.0))
    rows.append(conv("residual_list", TypeError, "residual", residual=Y.tolist()))
    rows.append(conv("out_list", TypeError, "out", out=Y.tolist()))
    for kind in ("?", "g", "U3", "S2", "O", "M8[s]"):
        wrong = np.zeros(X.shape, kind)
        filters = np.zeros(W.shape, kind)
        dtype = np.dtype(kind)
        words = f"{re.escape(dtype.name)}|{re.escape(str(dtype))}"
        rows.append(conv(f"x_{kind}", TypeError, words, wrong, W))
        rows.append(conv(f"weight_{kind}", TypeError, words, X, filters))
        rows += pools(f"x_{kind}", TypeError, words, wrong, 2)
    rows.append(
        conv("x_record", TypeError, r"\bx\b", np.zeros((1, 4, 8, 8), "f4,f4"), W)
    )
    whole, filters = X.astype(np.int8), W.astype(np.int8)
    rows += [
        conv("bias_complex", TypeError, "bias", X, W, np.zeros(6, complex)),
        conv("int_bias_float", TypeError, "bias", whole, filters, B),
        conv("int_residual_float", TypeError, "residual", whole, filters, residual=Y),
        conv("int_sigmoid", TypeError, "activation", whole, filters, activation="silu"),
        conv(
            "complex_relu", TypeError, "activation", X + 0j, W + 0j, activation="relu"
        ),
        conv("int_out", TypeError, "out", whole, filters, out=np.empty(Y.shape, "i1")),
        conv("int_winograd", ValueError, "float32", whole, filters, algorithm="direct"),
        conv("float_widened", ValueError, "float16", X, W, algorithm="widened"),
        Bad("avg_pool2d-int", lambda: pc.avg_pool2d(whole, 2), TypeError, "int8"),
        Bad("lp_pool2d-int", lambda: pc.lp_pool2d(whole, 2, 2), TypeError, "int8"),
        Bad("max_pool2d-c8", lambda: pc.max_pool2d(X + 0j, 2), TypeError, "complex"),
    ]
    return rows


def parameters() -> list[Bad]:
    """Numbers and words that mean nothing."""
    rows = []
    for name in ("stride", "dilation"):
        for label, wrong, error in (
            ("zero", 0, ValueError),
            ("negative", -1, ValueError),
            ("zero_in_pair", (1, 0), ValueError),
            ("three", (1, 1, 1), ValueError),
            ("empty", (), ValueError),
            ("float", 1.0, TypeError),
            ("true", True, TypeError),
            ("true_in_pair", (1, True), TypeError),
            ("nan", float("nan"), TypeError),
            ("string", "2", EITHER),
            ("none", None, TypeError),
            ("nested", ((1, 1), (1, 1)), EITHER),
            ("array", np.array([1.0, 1.0]), EITHER),
        ):
            rows.append(conv(f"{name}_{label}", error, name, **{name: wrong}))
    for label, wrong, error in (
        ("negative", -1, ValueError),
        ("negative_in_pair", ((0, -2), (0, 0)), ValueError),
        ("three", (1, 1, 1), ValueError),
        ("three_ends", ((1, 1, 1), (1, 1, 1)), ValueError),
        ("empty", (), ValueError),
        ("word", "sane", ValueError),
        ("float", 0.5, TypeError),
        ("true", True, TypeError),
        ("none", None, TypeError),
        ("too_deep", (((1,),),) * 2, EITHER),
    ):
        rows.append(conv(f"padding_{label}", error, "padding", padding=wrong))
    for label, wrong, error in (
        ("zero", 0, ValueError),
        ("negative", -2, ValueError),
        ("not_dividing_c", 3, ValueError),
        ("wrong_weight", 2, ValueError),
        ("above_c", 8, ValueError),
        ("huge", 2**63, ValueError),
        ("float", 1.0, TypeError),
        ("true", True, TypeError),
        ("tuple", (1,), TypeError),
        ("none", None, TypeError),
    ):
        rows.append(conv(f"groups_{label}", error, "groups", groups=wrong))
    rows.append(
        conv("groups_not_dividing_k", ValueError, "groups", X, W[:5, :2], groups=2)
    )
    for name, wrong in (
        ("padding_mode", "mirror"),
        ("layout", "CHWN"),
        ("layout", "NCDHW"),
        ("activation", "swish"),
        ("algorithm", "fastest"),
        ("accuracy", "sloppy"),
        ("padding_mode", "Zeros "),
    ):
        rows.append(conv(f"{name}_{wrong}", ValueError, name, **{name: wrong}))
    for name in ("padding_mode", "layout", "algorithm", "accuracy", "activation"):
        rows.append(conv(f"{name}_int", EITHER, name, **{name: 3}))
        rows.append(conv(f"{name}_bytes", EITHER, name, **{name: b"auto"}))
    for name in ("padding_mode", "layout", "algorithm", "accuracy"):
        rows.append(conv(f"{name}_none", EITHER, name, **{name: None}))
    return rows


def shapes() -> list[Bad]:
    """Ranks and extents that do not meet."""
    big = np.broadcast_to(F32(1), (1, 1, 2**20, 2**20))
    return [
        conv("x_rank_2", ValueError, r"\bx\b", X[0, 0], W),
        conv("x_rank_5", ValueError, r"\bx\b", X3, W),
        conv("x_rank_0", ValueError, r"\bx\b", np.array(1, F32), W),
        conv("weight_rank_3", ValueError, "weight", X, W[0]),
        conv("weight_rank_5", ValueError, "weight", X, W3),
        conv("weight_rank_0", ValueError, "weight", X, np.array(1, F32)),
        conv("channels", ValueError, "weight|channel", X, W[:, :3]),
        conv("channels_of_layout", ValueError, "weight|channel", X, W, layout="NHWC"),
        conv("kernel_too_large", ValueError, r"kernel", X, normal((1, 4, 9, 3), F32)),
        conv("dilated_kernel_too_large", ValueError, "kernel|dilation", dilation=4),
        conv("zero_channels", ValueError, "channel", X[:, :0], W[:, :0]),
        conv("zero_filters", ValueError, "weight|filter|channel", X, W[:0]),
        conv("zero_kernel", ValueError, "kernel", X, W[:, :, :0]),
        conv("zero_height", ValueError, "x|extent|spatial", X[:, :, :0], W),
        conv("zero_height_padded", ValueError, r"\bx\b", X[:, :, :0], W, padding=3),
        conv("bias_length", ValueError, "bias", X, W, B[:5]),
        conv("bias_length_1", ValueError, "bias", X, W, B[:1]),
        conv("bias_rank", ValueError, "bias", X, W, B[None]),
        conv("bias_scalar", ValueError, "bias", X, W, np.array(1, F32)),
        conv("residual_shape", ValueError, "residual", residual=X),
        conv("residual_broadcast", ValueError, "residual", residual=Y[:1]),
        conv("residual_rank", ValueError, "residual", residual=Y[0]),
        conv("reflect_pad", ValueError, "reflect", padding=8, padding_mode="reflect"),
        conv(
            "circular_pad", ValueError, "circular", padding=9, padding_mode="circular"
        ),
        conv(
            "reflect_pad_pairs",
            ValueError,
            "padding",
            padding=((0, 8), (0, 0)),
            padding_mode="reflect",
        ),
        conv(
            "padding_beyond_64_bits",
            ValueError,
            "padding='same' with dilation",
            X,
            np.broadcast_to(F32(1), (6, 4, 2**25, 3)),
            dilation=2**40 - 1,
            padding="same",
        ),
        conv("padding_2_40", ValueError, "padding|output|elements", padding=2**40),
        conv("padding_2_62", ValueError, "padding|output|elements", padding=2**62),
        conv("padding_2_100", ValueError, "padding|output|elements", padding=2**100),
        conv("dilation_2_63", ValueError, "dilation|kernel", dilation=2**63 - 1),
        conv("dilation_2_100", ValueError, "dilation|kernel", dilation=2**100),
        conv(
            "padding_and_dilation",
            ValueError,
            "padding|dilation|output|elements",
            padding=2**55,
            dilation=2**54,
        ),
        conv(
            "full_huge", ValueError, "dilation|output", padding="full", dilation=2**50
        ),
        conv("output_of_terabytes", ValueError, "output|bytes", big, W[:, :1]),
        Bad("conv1d-rank", lambda: pc.conv1d(X, W1), ValueError, r"\bx\b"),
        Bad("conv1d-weight", lambda: pc.conv1d(X1, W), ValueError, "weight"),
        Bad(
            "conv1d-stride",
            lambda: pc.conv1d(X1, W1, None, (1, 1)),
            ValueError,
            "stride",
        ),
        Bad("conv3d-rank", lambda: pc.conv3d(X1, W3), ValueError, r"\bx\b"),
        Bad("conv3d-weight", lambda: pc.conv3d(X3, W), ValueError, "weight"),
        Bad(
            "conv3d-padding_2_55",
            lambda: pc.conv3d(X3, W3, padding=2**55),
            ValueError,
            "padding|output|elements",
        ),
    ]


def outputs() -> list[Bad]:
    """An out= that cannot hold the result."""
    locked = np.empty_like(Y)
    locked.flags.writeable = False
    shared = np.zeros((6, 4, 8, 8), F32)
    square = np.zeros((4, 4, 3, 3), F32)
    flat = np.zeros(Y.size + X.size, F32)
    return [
        conv("out_shape", ValueError, "out", out=np.empty((2, 6, 6, 5), F32)),
        conv("out_rank", ValueError, "out", out=np.empty((6, 6, 6), F32)),
        conv("out_dtype", TypeError, "out", out=np.empty(Y.shape, np.float64)),
        conv("out_integer", TypeError, "out", out=np.empty(Y.shape, np.int32)),
        conv("out_narrow", TypeError, "out", X, W.astype(float), out=np.empty_like(Y)),
        conv("out_read_only", ValueError, "out", out=locked),
        conv(
            "out_byte_swapped",
            EITHER,
            "out",
            out=np.empty(Y.shape, Y.dtype.newbyteorder()),
        ),
        conv(
            "out_misaligned",
            ValueError,
            "out",
            out=np.zeros(Y.nbytes + 1, np.uint8)[1:].view(F32).reshape(Y.shape),
        ),
        conv(
            "out_broadcast",
            ValueError,
            "out",
            out=np.lib.stride_tricks.as_strided(np.zeros(1, F32), Y.shape, (0,) * 4),
        ),
        conv(
            "out_overlaps_itself",
            ValueError,
            "out",
            out=np.lib.stride_tricks.as_strided(flat, Y.shape, (216, 4, 4, 4)),
        ),
        conv(
            "out_is_x",
            ValueError,
            "out",
            shared,
            normal((4, 4, 1, 1), F32),
            out=shared,
        ),
        conv("out_is_residual", ValueError, "out", residual=Y, out=Y),
        conv(
            "out_overlaps_x",
            ValueError,
            "out",
            flat[: X.size].reshape(X.shape),
            W,
            out=flat[X.size - 1 : X.size - 1 + Y.size].reshape(Y.shape),
        ),
        conv("out_is_weight", ValueError, "out", square, square, padding=1, out=square),
        *pools("out_shape", ValueError, "out", X, 2, out=np.empty((2, 4, 4, 5), F32)),
        *pools("out_dtype", TypeError, "out", X, 2, out=np.empty((2, 4, 4, 4))),
        *pools("out_is_x", ValueError, "out", X, 1, out=X),
        *pools("out_none_array", TypeError, "out", X, 2, out=3),
    ]


TABLE = [*no_arrays(), *parameters(), *shapes(), *outputs()]
