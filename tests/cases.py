"""Named problems: each small, each there for one way a kernel can be wrong.

Shapes are logical: x is (N, C, *spatial), the weight (K, C/G, *kernel). The tests walk
these against pyconv's registries; a new algorithm is tested by being registered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import UnsupportedAlgorithm, _core, conv2d

Array = NDArray[Any]

ACTIVATIONS = ("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")


@dataclass(frozen=True)
class ConvCase:
    """One convolution problem."""

    name: str
    x: tuple[int, ...]
    k: int
    kernel: tuple[int, ...]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    padding_mode: str = "zeros"

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def w(self) -> tuple[int, ...]:
        return (self.k, self.x[1] // self.groups, *self.kernel)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
        }


@dataclass(frozen=True)
class PoolCase:
    """One pooling problem."""

    name: str
    x: tuple[int, ...]
    kernel: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False

    @property
    def rank(self) -> int:
        return len(self.x) - 2

    @property
    def options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }


_C, _P = ConvCase, PoolCase

CONV_CASES: tuple[ConvCase, ...] = (
    _C("one_by_one", (2, 8, 5, 6), 9, (1, 1)),
    _C("one_by_one_strided", (1, 6, 9, 7), 5, (1, 1), stride=2),
    _C("three_by_three", (2, 5, 9, 10), 7, (3, 3)),
    _C("same_pad", (1, 4, 8, 9), 6, (3, 3), padding="same"),
    _C("same_pad_even_kernel", (1, 3, 7, 8), 4, (2, 4), padding="same"),
    _C("same_lower_even_kernel", (1, 3, 7, 8), 4, (2, 4), padding="same_lower"),
    _C("same_pad_strided", (1, 3, 10, 11), 4, (3, 2), 3, "same"),
    _C("full_pad", (1, 3, 5, 4), 4, (3, 2), padding="full"),
    _C("valid_pad", (1, 3, 6, 7), 4, (3, 2), padding="valid"),
    _C("asymmetric_padding", (1, 3, 6, 7), 4, (3, 3), 1, ((0, 2), (3, 1))),
    _C("padding_over_kernel", (1, 2, 4, 5), 3, (3, 3), padding=5),
    _C("dilated", (1, 4, 13, 12), 5, (3, 3), 1, 2, (2, 3)),
    _C("dilation_over_half", (1, 3, 9, 8), 4, (2, 2), dilation=(7, 5)),
    _C("dilated_into_padding", (1, 2, 4, 4), 3, (3, 3), 1, 6, 6),
    _C("strided", (2, 5, 11, 12), 6, (3, 3), 2, 1),
    _C("strided_unevenly", (1, 4, 11, 9), 6, (3, 2), (3, 1), (1, 0)),
    _C("stride_over_kernel", (1, 3, 13, 14), 5, (2, 3), (4, 5)),
    _C("strided_dilated_padded", (2, 6, 12, 13), 5, (3, 3), 2, (2, 1), (2, 3)),
    _C("depthwise", (2, 13, 8, 9), 13, (3, 3), 1, 1, 1, 13),
    _C("depthwise_multiplier", (1, 5, 7, 8), 15, (3, 3), 2, 1, 1, 5),
    _C("grouped", (2, 12, 7, 6), 8, (3, 3), 1, 1, 1, 4),
    _C("grouped_uneven_tail", (1, 15, 6, 7), 21, (2, 3), groups=3),
    *(_C(f"depthwise_{q}", (1, 3, 5, q), 3, (3, 3), 1, 1, 1, 3) for q in (1, 16, 65)),
    _C("depthwise_wide", (1, 2, 9, 131), 2, (3, 5), 1, (1, 2), 1, 2),
    _C("depthwise_strided_wide", (1, 3, 12, 135), 3, (3, 3), 2, 1, 1, 3),
    _C("depthwise_strided_3", (2, 4, 14, 53), 4, (5, 7), 3, 3, (1, 2), 4),
    _C("depthwise_lanes", (2, 37, 6, 9), 37, (3, 3), 1, 1, 1, 37),
    _C("depthwise_lanes_strided", (1, 70, 9, 11), 70, (5, 3), 2, 2, (2, 1), 70),
    _C("depthwise_reflect", (1, 19, 9, 8), 19, (3, 3), 2, 2, 1, 19, "reflect"),
    _C("depthwise_dilated", (1, 2, 21, 40), 2, (3, 3), 1, 4, 4, 2),
    _C("depthwise_7x7", (1, 18, 13, 15), 18, (7, 7), 1, 3, 1, 18),
    _C("depthwise_multiplier_8", (1, 3, 6, 18), 24, (3, 3), 1, 1, 1, 3),
    _C("depthwise_1d", (2, 3, 200), 3, (31,), 1, 15, 1, 3),
    _C("depthwise_3d", (1, 3, 4, 6, 17), 3, (3, 3, 3), 1, 1, 1, 3),
    *(
        _C(f"grouped_by_{c}", (2, 3 * c, 7, 17), 3 * c, (3, 3), 1, 1, 1, 3)
        for c in (2, 3, 4, 8, 16)
    ),
    _C("grouped_strided", (1, 16, 13, 34), 32, (3, 3), 2, 1, 1, 4),
    _C("grouped_circular", (1, 8, 7, 9), 8, (3, 3), 1, 2, 1, 2, "circular"),
    _C("grouped_lanes", (2, 64, 9, 11), 64, (3, 3), 1, 1, 1, 16),
    _C("grouped_lanes_wider", (1, 32, 9, 8), 64, (3, 3), 2, 2, 2, 8),
    _C("grouped_lanes_reflect", (1, 48, 7, 10), 48, (3, 5), (2, 1), 2, 1, 3, "reflect"),
    _C("grouped_lanes_3d", (1, 32, 3, 5, 6), 32, (2, 3, 3), 1, 1, 1, 16),
    _C("grouped_1d", (1, 8, 66), 12, (3,), 1, 1, 1, 4),
    _C("image_filter", (1, 1, 40, 63), 1, (5, 5), padding=2),
    _C("image_filter_even", (2, 1, 33, 65), 1, (4, 6), padding="same"),
    _C("image_filter_large", (1, 1, 37, 70), 1, (21, 17), padding=(10, 8)),
    # Planes that begin anywhere in a line, and panels of them with a part of one left.
    _C("planes_in_panels", (2, 19, 23, 23), 21, (1, 1)),
    _C("planes_in_panels_grouped", (1, 10, 12, 12), 32, (1, 1), groups=2),
    _C("image_filters_1x1", (1, 4, 9, 67), 11, (1, 1)),
    _C("signal_long_kernel", (1, 1, 900), 1, (257,)),
    _C("signal_channels", (1, 2, 700), 3, (200,), 1, ((199, 0),)),
    _C("signal_strided", (1, 1, 1500), 2, (400,), 4),
    _C("signal_dilated", (1, 1, 1400), 1, (150,), 1, 40, 4),
    _C("signal_stride_3_dilation_2", (1, 1, 1100), 1, (200,), 3, 0, 2),
    _C("first_layer_wide", (1, 3, 16, 131), 20, (3, 3), 1, 1),
    _C("single_pixel_output", (3, 7, 4, 3), 9, (4, 3)),
    _C("single_pixel_input", (2, 5, 1, 1), 6, (3, 3), padding=1),
    _C("single_channel", (2, 1, 9, 8), 1, (3, 3), padding=1),
    _C("single_filter", (1, 17, 6, 6), 1, (3, 3)),
    *(_C(f"tail_lanes_{c}", (1, c, 5, 6), c, (2, 2)) for c in (3, 5, 17, 33)),
    _C("tail_filters_31", (1, 4, 6, 7), 31, (3, 3), padding=1),
    _C("tail_filters_65", (1, 3, 5, 5), 65, (1, 1)),
    *(_C(f"tail_pixels_{q}", (1, 3, 3, q), 8, (1, 1)) for q in (1, 2, 15, 29, 67)),
    _C("wide_kernel", (1, 2, 6, 21), 3, (1, 15), padding=((0, 0), (7, 7))),
    _C("tall_kernel", (1, 2, 21, 6), 3, (11, 1), padding=((5, 5), (0, 0))),
    _C("large_kernel", (1, 3, 9, 9), 4, (7, 7), padding=3),
    _C("image_7x7", (1, 64, 7, 7), 40, (3, 3), padding=1),
    _C("many_channels", (1, 130, 4, 5), 20, (3, 3), padding=1),
    _C("batch_3", (3, 6, 6, 5), 10, (3, 3), padding=1),
    _C("first_layer", (1, 3, 19, 20), 16, (7, 7), 2, 3),
    *(
        _C(f"pad_{mode}", (2, 3, 6, 7), 5, (3, 3), 1, ((2, 1), (3, 4)), 1, 1, mode)
        for mode in ("reflect", "replicate", "circular")
    ),
    *(
        _C(f"pad_{mode}_strided", (1, 4, 7, 5), 6, (3, 2), 2, (4, 3), 2, 2, mode)
        for mode in ("reflect", "replicate", "circular")
    ),
    _C("replicate_far", (1, 2, 3, 2), 3, (3, 3), 1, 6, 1, 1, "replicate"),
    _C("circular_whole", (1, 2, 3, 4), 3, (3, 3), 1, (3, 4), 1, 1, "circular"),
    _C("conv1d", (2, 5, 30), 7, (5,), 2, 2, 3),
    _C("conv1d_causal", (1, 4, 16), 6, (2,), 1, ((8, 0),), 8),
    _C("conv1d_long", (1, 1, 211), 1, (32,), padding="full"),
    _C("conv1d_circular", (1, 3, 12), 4, (5,), 1, 2, 1, 1, "circular"),
    _C("conv3d", (2, 3, 5, 6, 7), 6, (3, 2, 3), (2, 1, 1), 1, (1, 2, 1)),
    _C("conv3d_grouped", (1, 6, 4, 5, 5), 4, (2, 3, 3), 1, 1, 1, 2),
    _C("conv3d_reflect", (1, 2, 4, 5, 6), 3, (3, 3, 3), 1, 2, 1, 1, "reflect"),
)

POOL_CASES: tuple[PoolCase, ...] = (
    _P("two_by_two", (2, 5, 8, 6), 2),
    _P("three_by_three_strided", (1, 7, 11, 12), 3, 2, 1),
    _P("overlapping", (1, 4, 9, 8), 3, 1, 1),
    _P("ceil_mode", (1, 5, 8, 9), 3, 2, 0, 1, True),
    _P("ceil_mode_padded", (2, 3, 7, 10), (3, 2), (2, 3), (1, 1), 1, True),
    _P("ceil_mode_window_outside", (1, 2, 5, 6), 2, 4, 1, 1, True),
    _P("dilated", (1, 6, 11, 10), 3, 1, 1, (2, 3)),
    _P("dilated_ceil", (1, 3, 12, 11), (2, 3), 3, 1, 2, True),
    _P("stride_over_kernel", (1, 3, 13, 12), 2, 5),
    _P("asymmetric_padding", (1, 4, 6, 7), 3, 2, ((0, 2), (2, 1))),
    _P("same", (1, 3, 7, 8), (3, 2), 2, "same"),
    _P("global", (3, 9, 7, 5), (7, 5)),
    _P("one_by_one", (1, 3, 4, 5), 1),
    _P("single_channel", (1, 1, 9, 9), 3),
    _P("window_of_padding", (1, 3, 1, 2), (1, 2), 1, (0, 1), (1, 3)),
    *(_P(f"tail_lanes_{c}", (1, c, 4, 5), 2, 1) for c in (3, 5, 17, 33)),
    *(_P(f"tail_pixels_{q}", (1, 2, 3, q + 2), 3, 1) for q in (1, 15, 29, 67)),
    _P("pool1d", (2, 5, 17), 3, 2, 1, 1, True),
    _P("pool3d", (1, 4, 5, 6, 7), (2, 3, 2), 2, 1, 1, True),
)


# What takes no floats, and the instruction sets that differ in what floats run through.
OF_OTHER_TYPES = ("dot_product", "widened", "real_channels")
FLOAT_ALGORITHMS = tuple(
    name for name, _ in _core.conv_algorithms() if name not in OF_OTHER_TYPES
)
FLOAT_ISAS = tuple(name for name in _core.isa_names() if not name.startswith("avx512_"))


def nearest(
    algorithm: str, x: Array, w: Array, **options: Any
) -> tuple[Array, Array, int]:
    """X, w and groups: this problem, or a part of it that the algorithm takes."""
    least = min(x.shape[1], w.shape[0])
    for x_part, w_part, groups in (
        (x, w, 1),
        (x[:, :3], w[:, :3], 1),
        (x[:, :least], w[:least, :1], least),
        (x[:, :4], w[: len(w) // 2 * 2, :2], 2),
    ):
        try:
            conv2d(x_part, w_part, groups=groups, algorithm=algorithm, **options)
        except UnsupportedAlgorithm:
            continue
        return x_part, w_part, groups
    raise AssertionError(f"{algorithm} takes no part of this problem")


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    """Normal deviates, C-contiguous."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def integers(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    """Whole numbers so small that every sum of the cases is exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def in_order(x: Array, order: str) -> Array:
    """The same logical (N, C, *spatial) values, "first" or "last" in memory."""
    if order == "first":
        return np.ascontiguousarray(x)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def conv_tensors(case: ConvCase, dtype: Any, make: Any = normal) -> tuple[Array, Array]:
    """X and weight of a case."""
    return make(case.x, dtype, 1), make(case.w, dtype, 2)


def ids(cases: tuple[Any, ...]) -> list[str]:
    """Names for pytest."""
    return [case.name for case in cases]
