"""Malformed calls of poolings, like tests/bad_calls.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyconv as pc
from tests.bad_calls import EITHER, F32, X1, X3, Bad, X, pools


def sliding() -> list[Bad]:
    """Windows that slide: the maximum and the mean."""
    rows = []
    for label, wrong, error in (
        ("zero", 0, ValueError),
        ("negative", -3, ValueError),
        ("three", (2, 2, 2), ValueError),
        ("empty", (), ValueError),
        ("float", 2.0, TypeError),
        ("true", True, TypeError),
        ("none", None, TypeError),
        ("string", "two", EITHER),
    ):
        rows += pools(f"kernel_size_{label}", error, "kernel_size", X, wrong)
    for name in ("stride", "dilation"):
        for label, wrong, error in (
            ("zero", 0, ValueError),
            ("negative", -1, ValueError),
            ("float", 1.5, TypeError),
            ("true", True, TypeError),
            ("three", (1, 1, 1), ValueError),
        ):
            rows += pools(f"{name}_{label}", error, name, X, 2, **{name: wrong})
    for label, wrong, error in (
        ("of_kernel", 2, ValueError),
        ("after_of_kernel", ((0, 2), (0, 0)), ValueError),
        ("negative", -1, ValueError),
        ("huge", 2**62, ValueError),
        ("float", 0.5, TypeError),
        ("word", "sane", ValueError),
    ):
        rows += pools(f"padding_{label}", error, "padding", X, 2, padding=wrong)
    rows += pools("too_large", ValueError, "kernel", X, 9)
    rows += pools("kernel_2_62", ValueError, "kernel", X, 2**62)
    rows += pools("dilation_2_62", ValueError, "kernel|dilation", X, 2, dilation=2**62)
    rows += pools("rank", ValueError, r"\bx\b", X[0, 0], 2)
    rows += pools("rank_5", ValueError, r"\bx\b", X3, 2)
    rows += pools("zero_height", ValueError, "x|extent|spatial", X[:, :, :0], 2)
    rows += pools("zero_channels", ValueError, "channel", X[:, :0], 2)
    rows += pools("layout", ValueError, "layout", X, 2, layout="HWNC")
    rows += pools("algorithm", ValueError, "algorithm", X, 2, algorithm="fft")
    rows += pools("ceil_mode", TypeError, "ceil_mode", X, 2, ceil_mode="yes")
    for label, wrong, error in (
        ("zero", 0, ValueError),
        ("negative", -4, ValueError),
        ("float", 4.0, TypeError),
    ):
        rows.append(
            Bad(
                f"avg_pool2d-divisor_{label}",
                lambda wrong=wrong: pc.avg_pool2d(X, 2, divisor_override=wrong),
                error,
                "divisor_override",
            )
        )
    return rows


def call(name: str, label: str, error: Any, words: str, *args: Any, **kw: Any) -> Bad:
    """A call of any function of the package."""
    return Bad(f"{name}-{label}", lambda: getattr(pc, name)(*args, **kw), error, words)


def every_rank() -> list[Bad]:
    """One and three dimensions, norms, adaptive and global poolings."""
    return [
        *(
            call(f"{kind}_pool{rank}d", label, error, words, *args)
            for kind, first in (("max", ()), ("avg", ()), ("lp", (2,)))
            for rank, x, wrong in ((1, X1, X3), (3, X3, X[0, 0]))
            for label, error, words, args in (
                ("rank", ValueError, r"\bx\b", (wrong, *first, 2)),
                ("kernel_zero", ValueError, "kernel_size", (x, *first, 0)),
                ("kernel_pair", ValueError, "kernel_size", (x, *first, (2, 2))),
                ("x_list", TypeError, r"\bx\b", (x.tolist(), *first, 1)),
                ("too_large", ValueError, "kernel_size", (x, *first, 99)),
            )
        ),
        *(
            call("lp_pool2d", f"norm_{label}", error, "norm_type", X, wrong, 2)
            for label, wrong, error in (
                ("zero", 0, ValueError),
                ("negative", -2.0, ValueError),
                ("infinite", np.inf, ValueError),
                ("nan", np.nan, ValueError),
                ("none", None, TypeError),
                ("string", "2", TypeError),
                ("true", True, TypeError),
                ("complex", 2j, TypeError),
            )
        ),
        *(
            call(f"adaptive_{kind}_pool2d", f"size_{label}", error, words, X, wrong)
            for kind in ("avg", "max")
            for label, wrong, error, words in (
                ("zero", 0, ValueError, "output_size"),
                ("negative", (3, -1), ValueError, "output_size"),
                ("float", 2.0, TypeError, "output_size"),
                ("true", True, TypeError, "output_size"),
                ("three", (2, 2, 2), ValueError, "output_size"),
                ("huge", 2**62, ValueError, "output_size"),
                # PyTorch crashed on such a size (pytorch#50960).
                ("too_large_to_hold", 2**39, ValueError, "bytes"),
            )
        ),
        call("adaptive_avg_pool2d", "rank", ValueError, r"\bx\b", X1[0], 2),
        call("adaptive_avg_pool2d", "empty", ValueError, "spatial", X[:, :, :0], 2),
        call("adaptive_max_pool2d", "indices", TypeError, "return_indices", X, 2, 1),
        call("global_avg_pool", "rank", ValueError, r"\bx\b", X[0, 0]),
        call("global_avg_pool", "no_array", TypeError, r"\bx\b", [[1.0]]),
        call("global_max_pool", "layout", ValueError, "layout", X, layout="CHWN"),
        call("global_avg_pool", "empty", ValueError, "spatial", X[:, :, :, :0]),
        call(
            "global_max_pool",
            "out_and_indices",
            ValueError,
            "out",
            X,
            True,
            out=np.empty((2, 4, 1, 1), F32),
        ),
    ]


TABLE = [*sliding(), *every_rank()]
