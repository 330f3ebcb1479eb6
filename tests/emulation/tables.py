"""The awkward shapes: of convolutions, and of poolings."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyconv.problem import DTYPES
from tests.emulation.problems import ConvCase, PoolCase

SAME: dict[str, Any] = {"before": (0, 1, 1), "after": (0, 1, 1)}
FAR: dict[str, Any] = {"before": (0, 3, 3), "after": (0, 3, 3)}
WIDE: dict[str, Any] = {"dilation": (1, 1, 4)}
DEPTHWISE: tuple[tuple[str, Any, Any, dict[str, Any]], ...] = (
    ("3x3", (1, 13, 11), (1, 3, 3), {"bias": True, "residual": True, **SAME}),
    ("3x3_strided", (1, 13, 18), (1, 3, 3), {"stride": (1, 2, 2), **SAME}),
    ("3x5_mixed", (1, 9, 17), (1, 3, 5), {"stride": (1, 1, 2), "dilation": (1, 2, 1)}),
    ("7x7_reflect", (1, 9, 8), (1, 7, 7), {"mode": 1, **FAR, "n": 1}),
    ("stride_3", (1, 11, 13), (1, 2, 3), {"stride": (1, 3, 3), "activation": 1}),
    ("causal", (1, 1, 41), (1, 1, 4), {"before": (0, 0, 3)}),
    ("causal_dilated", (1, 1, 41), (1, 1, 3), {"before": (0, 0, 8), **WIDE}),
    ("half", (1, 9, 10), (1, 3, 3), {"dtype": "float16", "bias": True, **SAME}),
    ("half_causal", (1, 1, 41), (1, 1, 4), {"dtype": "bfloat16", "before": (0, 0, 3)}),
)
CONV_CASES = (
    ConvCase("one_by_one", (1, 6, 7), (1, 1, 1), c=5, k=9),
    ConvCase("three_by_three", (1, 11, 37), (1, 3, 3), n=2, k=33, **SAME),
    ConvCase("single_pixel_output", (1, 3, 3), (1, 3, 3), c=17),
    ConvCase("single_channel_filter", (1, 9, 33), (1, 3, 3), c=1, k=1, bias=True),
    ConvCase(
        "even_kernel_same", (1, 8, 9), (1, 2, 4), after=(0, 1, 2), before=(0, 0, 1)
    ),
    ConvCase("strided", (1, 20, 19), (1, 3, 3), stride=(1, 2, 2), k=40, **SAME),
    ConvCase("stride_over_kernel", (1, 16, 21), (1, 2, 2), stride=(1, 3, 5)),
    ConvCase("dilated", (1, 14, 15), (1, 3, 3), dilation=(1, 2, 3), **SAME),
    ConvCase("grouped", (1, 10, 9), (1, 3, 3), c=6, k=9, groups=3, bias=True, **SAME),
    ConvCase("depthwise", (1, 17, 18), (1, 5, 5), c=4, k=4, groups=4, n=2),
    ConvCase("depthwise_multiplier", (1, 9, 8), (1, 3, 3), c=3, k=6, groups=3),
    *(
        ConvCase(
            f"depthwise_{memory}_{channels}_{name}",
            input_,
            kernel,
            c=channels,
            k=channels,
            groups=channels,
            memory=memory,
            **{"n": 2, **options},
        )
        for memory, channels in (("first", 3), ("last", 24), ("last", 5))
        for name, input_, kernel, options in DEPTHWISE
        if channels == 24 or "half" not in name
    ),
    ConvCase("large_kernel", (1, 19, 20), (1, 9, 11), c=2, k=3),
    ConvCase("one_dimension", (1, 1, 300), (1, 1, 7), c=4, k=6, residual=True),
    ConvCase("three_dimensions", (5, 6, 7), (3, 2, 3), stride=(1, 2, 1), **SAME),
    ConvCase(
        "reflect", (1, 7, 8), (1, 5, 5), mode=1, before=(0, 2, 3), after=(0, 3, 2)
    ),
    ConvCase(
        "replicate", (1, 5, 6), (1, 3, 3), mode=2, before=(0, 6, 1), after=(0, 2, 7)
    ),
    ConvCase(
        "circular", (1, 5, 6), (1, 3, 3), mode=3, before=(0, 5, 2), after=(0, 1, 6)
    ),
    ConvCase(
        "channels_last",
        (1, 9, 20),
        (1, 3, 3),
        c=10,
        k=12,
        memory="last",
        bias=True,
        residual=True,
        **SAME,
    ),
    ConvCase(
        "negative_pitches", (1, 9, 10), (1, 3, 3), memory="flipped", residual=True
    ),
    ConvCase("float64", (1, 9, 10), (1, 3, 3), dtype="float64", c=9, bias=True),
    *(
        ConvCase(
            f"{dtype}_{memory}",
            (1, 9, 10),
            (1, 3, 3),
            dtype=dtype,
            memory=memory,
            c=6,
            k=10,
            groups=2,
            bias=True,
            residual=True,
            **SAME,
        )
        for dtype in DTYPES
        if dtype not in ("float32", "float64")
        for memory in ("first", "last")
    ),
    *(
        ConvCase(
            f"{one}_and_{other}",
            (1, 6, 7),
            (1, 3, 2),
            dtype=one,
            weight_dtype=other,
            activation=2,
            bias=True,
        )
        for one in ("int8", "uint8")
        for other in ("int8", "uint8")
    ),
    ConvCase("relu_of_uint64", (1, 6, 7), (1, 3, 2), dtype="uint64", activation=1),
    ConvCase("gelu_of_float16", (1, 6, 7), (1, 3, 2), dtype="float16", activation=6),
    *(
        ConvCase(
            f"activation_{a}",
            (1, 4, 5),
            (1, 2, 2),
            activation=a,
            bias=True,
            residual=True,
        )
        for a in range(1, 8)
    ),
)
POOL_SHAPES: dict[str, dict[str, Any]] = {
    "plain": {
        "input": (1, 8, 9),
        "kernel": (1, 2, 2),
        "stride": (1, 2, 2),
        "output": (1, 4, 4),
    },
    "padded": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 5),
        **SAME,
    },
    "ceil_mode": {
        "input": (1, 6, 8),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 5),
        **SAME,
    },
    "dilated": {
        "input": (1, 9, 9),
        "kernel": (1, 3, 3),
        "dilation": (1, 2, 3),
        "output": (1, 7, 5),
        **SAME,
    },
    "only_padding": {
        "input": (1, 1, 1),
        "kernel": (1, 3, 3),
        "dilation": (1, 2, 2),
        "output": (1, 1, 2),
        "before": (0, 1, 2),
        "after": (0, 2, 2),
    },
    "three_dimensions": {
        "input": (4, 5, 6),
        "kernel": (2, 3, 2),
        "stride": (2, 1, 2),
        "output": (2, 3, 3),
    },
    "channels_last": {
        "input": (1, 6, 7),
        "kernel": (1, 3, 2),
        "output": (1, 4, 6),
        "c": 5,
        "memory": "last",
    },
    "negative_pitches": {
        "input": (1, 6, 7),
        "kernel": (1, 3, 2),
        "output": (1, 4, 6),
        "memory": "flipped",
    },
    "float64": {
        "input": (1, 5, 5),
        "kernel": (1, 2, 2),
        "output": (1, 4, 4),
        "dtype": "float64",
    },
    "exclude_padding": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "stride": (1, 2, 2),
        "output": (1, 4, 5),
        "include_pad": False,
        **SAME,
    },
    "divisor": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "output": (1, 7, 9),
        "divisor": 7,
        **SAME,
    },
    "adaptive": {
        "input": (2, 7, 9),
        "kernel": (2, 3, 3),
        "output": (3, 3, 4),
        "adaptive": True,
    },
    "whole_plane": {
        "input": (1, 7, 9),
        "kernel": (1, 9, 9),
        "output": (1, 1, 1),
        "include_pad": False,
        "before": (0, 1, 0),
        "after": (0, 1, 0),
    },
    "norm_of_one": {
        "input": (1, 7, 9),
        "kernel": (1, 3, 3),
        "output": (1, 7, 9),
        "norm": 1.0,
        **SAME,
    },
    "norm_of_three": {
        "input": (1, 5, 5),
        "kernel": (1, 2, 3),
        "output": (1, 4, 3),
        "norm": 3.0,
    },
    "infinities": {
        "input": (1, 5, 5),
        "kernel": (1, 2, 2),
        "output": (1, 4, 4),
        "values": {
            (0, 0, 0, 0, 0): -np.inf,
            (0, 0, 0, 0, 1): -np.inf,
            (0, 0, 0, 1, 0): -np.inf,
            (0, 0, 0, 1, 1): -np.inf,
        },
    },
    "nan": {
        "input": (1, 5, 5),
        "kernel": (1, 3, 3),
        "output": (1, 3, 3),
        "values": {(0, 0, 0, 2, 2): np.nan, (0, 0, 0, 2, 3): np.nan},
    },
}
# More elements than a block of `claims` keeps sums of.
LARGE_PLANE: dict[str, Any] = {
    "input": (1, 70, 130),
    "kernel": (1, 2, 2),
    "stride": (1, 2, 2),
    "output": (1, 35, 65),
    "n": 1,
    "c": 2,
}
POOL_CASES = (
    PoolCase("large_plane", 0, **LARGE_PLANE),
    PoolCase("large_plane_last", 0, **LARGE_PLANE, dtype="float16", memory="last"),
    *(
        PoolCase(name, kind, **shape)
        for name, shape in POOL_SHAPES.items()
        for kind in (0, 1, 2)
    ),
    *(
        PoolCase(f"{dtype}_{name}", kind, **{**POOL_SHAPES[name], "dtype": dtype})
        for dtype in ("float16", "bfloat16")
        for name in ("padded", "channels_last", "norm_of_three", "nan")
        for kind in (0, 1, 2)
    ),
    *(
        PoolCase(f"{dtype}_{name}", 0, **{**POOL_SHAPES[name], "dtype": dtype})
        for dtype in DTYPES
        if "int" in dtype
        for name in ("padded", "channels_last", "only_padding")
    ),
)
