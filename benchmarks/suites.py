"""The suites that `make bench` runs, as data: layers, peers and goals.

A layer stands in one suite; each is timed at batch 1 and batch 8 (image filters at
batch 1: the image libraries know no batch). A suite may have several goals: each is a
ratio of times, the best of some peers over the best of some of pyconv's contenders,
with the geometric mean to reach and the value no case may fall under. Shapes come from
published networks; where one is no network's, its docstring says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyconv.movement.layers import NETWORKS as PUBLISHED
from pyconv.movement.layers import Ints, Layer, distinct

BATCHES = (1, 8)

ORDERS = ("nchw", "nhwc")
LAYER = tuple(f"pyconv-layer-{memory}" for memory in ORDERS)
REUSED = tuple(f"{name}-out" for name in LAYER)
FUNCTION = ("pyconv-function-nchw",)
TORCH = ("torch-nchw", "torch-nhwc")
SCIPY = ("scipy-correlate", "scipy-fft")
PEERS = (*TORCH, "onnxruntime", "ncnn")


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: the peers' best time over ours."""

    against: str
    peers: tuple[str, ...]
    mean: float | None = None
    least: float | None = None
    ours: tuple[str, ...] = LAYER


@dataclass(frozen=True)
class Suite:
    """Layers held against some peers, in pyconv's memory orders."""

    name: str
    title: str
    layers: tuple[Layer, ...]
    peers: tuple[str, ...]
    goals: tuple[Goal, ...]

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names of all that take part, a library's own beside each other."""
        return (*LAYER, *REUSED, *FUNCTION, *self.peers)


def conv(
    network: str,
    name: str,
    c: int,
    k: int,
    spatial: Ints,
    kernel: Ints,
    *,
    stride: int = 1,
    pad: Ints | int = 0,
    dilation: int = 1,
    groups: int = 1,
    extra: Ints = (),
    n: int = 1,
) -> Layer:
    """A layer of the rank that `spatial` has."""
    rank = len(spatial)
    return Layer(
        network=network,
        name=name,
        rank=rank,
        n=n,
        c=c,
        k=k,
        spatial=spatial,
        kernel=kernel,
        stride=(stride,) * rank,
        padding=(pad,) * rank if isinstance(pad, int) else pad,
        dilation=(dilation,) * rank,
        groups=groups,
        extra=extra,
    )


def batches(layers: Iterator[Layer]) -> tuple[Layer, ...]:
    """Each shape once, at each batch size."""
    return tuple(layer.with_batch(n) for layer in distinct(layers) for n in BATCHES)


def _three() -> Iterator[Layer]:
    """3x3, stride 1, at least 64 channels in and out."""
    for network in ("vgg16", "resnet50", "unet", "alphago"):
        for layer in PUBLISHED[network]:
            if (
                layer.kernel == (3, 3)
                and layer.stride == (1, 1)
                and min(layer.c, layer.k) >= 64
            ):
                yield layer


def _other() -> Iterator[Layer]:
    """1x1, strided, dilated, 5x5 to 11x11, 1x7, rank 3 and rank 1."""
    for layer in PUBLISHED["resnet50"]:
        if layer.c > 3 and (layer.kernel == (1, 1) or layer.stride == (2, 2)):
            yield layer
    for layer in PUBLISHED["mobilenet_v2"]:
        if layer.kernel == (1, 1):
            yield layer
    for network in ("googlenet", "alphago"):
        for layer in PUBLISHED[network]:
            if layer.kernel == (5, 5):
                yield layer
    yield from _dilated()
    yield from _wide_kernels()
    yield from _inception_v3()
    yield from _c3d()
    for layer in PUBLISHED["wavenet"]:
        if not layer.name.startswith("dilated") or layer.dilation[0] in (1, 16, 512):
            yield layer


def _dilated() -> Iterator[Layer]:
    """Chen et al., arXiv:1412.7062 (LargeFOV, 321x321) and arXiv:1706.05587 (ASPP)."""
    yield conv("deeplab", "conv5", 512, 512, (41, 41), (3, 3), pad=2, dilation=2)
    yield conv("deeplab", "fc6", 512, 1024, (41, 41), (3, 3), pad=12, dilation=12)
    for rate in (6, 18):
        yield conv(
            "deeplab_v3",
            f"aspp{rate}",
            2048,
            256,
            (33, 33),
            (3, 3),
            pad=rate,
            dilation=rate,
        )


def _wide_kernels() -> Iterator[Layer]:
    """Cao et al., arXiv:1611.08050 (7x7); Wei et al., arXiv:1602.00134 (11x11)."""
    yield conv("openpose", "stage2_1", 185, 128, (46, 46), (7, 7), pad=3)
    yield conv("openpose", "stage2_2", 128, 128, (46, 46), (7, 7), pad=3)
    yield conv("pose_machine", "stage2_1", 48, 128, (46, 46), (11, 11), pad=5)
    yield conv("pose_machine", "stage2_2", 128, 128, (46, 46), (11, 11), pad=5)


def _inception_v3() -> Iterator[Layer]:
    """Szegedy et al., arXiv:1512.00567: 17x17 with 1x7 and 7x1, 8x8 with 1x3, 3x1."""
    for c, k in ((128, 128), (192, 192)):
        yield conv("inception_v3", "row7", c, k, (17, 17), (1, 7), pad=(0, 3))
        yield conv("inception_v3", "column7", c, k, (17, 17), (7, 1), pad=(3, 0))
    yield conv("inception_v3", "row3", 384, 384, (8, 8), (1, 3), pad=(0, 1))
    yield conv("inception_v3", "column3", 384, 384, (8, 8), (3, 1), pad=(1, 0))


def _c3d() -> Iterator[Layer]:
    """Tran et al., arXiv:1412.0767: 3x3x3 on 16 frames of 112x112, after the first."""
    for name, c, k, spatial in (
        ("conv2a", 64, 128, (16, 56, 56)),
        ("conv3a", 128, 256, (8, 28, 28)),
        ("conv3b", 256, 256, (8, 28, 28)),
        ("conv4a", 256, 512, (4, 14, 14)),
        ("conv4b", 512, 512, (4, 14, 14)),
        ("conv5a", 512, 512, (2, 7, 7)),
    ):
        yield conv("c3d", name, c, k, spatial, (3, 3, 3), pad=1)


def _thin() -> Iterator[Layer]:
    """First layers (1 and 3 channels), depthwise and grouped layers."""
    for network, name in (
        ("alexnet", "conv1"),
        ("vgg16", "conv1_1"),
        ("resnet50", "conv1"),
        ("mobilenet_v2", "conv1"),
        ("unet", "level1a"),
    ):
        yield next(layer for layer in PUBLISHED[network] if layer.name == name)
    yield conv("c3d", "conv1a", 3, 64, (16, 112, 112), (3, 3, 3), pad=1)
    # Dai et al., arXiv:1610.00087, the waveform network M5.
    yield conv("m5", "conv1", 1, 128, (32000,), (80,), stride=4)
    for layer in PUBLISHED["mobilenet_v2"]:
        if layer.groups > 1:
            yield layer
    yield from _depthwise()
    yield from _grouped()


def _depthwise() -> Iterator[Layer]:
    """Tan and Le, arXiv:1905.11946 (5x5); Liu et al., arXiv:2201.03545 (7x7)."""
    for name, c, size, stride in (
        ("block3_1", 144, 56, 2),
        ("block3_2", 240, 28, 1),
        ("block5_2", 672, 14, 1),
    ):
        yield conv(
            "efficientnet_b0",
            name,
            c,
            c,
            (size, size),
            (5, 5),
            stride=stride,
            pad=2,
            groups=c,
        )
    for stage, (c, size) in enumerate(((96, 56), (192, 28), (384, 14), (768, 7)), 1):
        name = f"stage{stage}"
        yield conv("convnext_t", name, c, c, (size, size), (7, 7), pad=3, groups=c)


def _grouped() -> Iterator[Layer]:
    """AlexNet's, and Xie et al., arXiv:1611.05431: ResNeXt-50 32x4d, 4 to 32 a group."""
    for layer in PUBLISHED["alexnet"]:
        if layer.groups > 1:
            yield layer
    for stage, (c, size) in enumerate(((128, 56), (256, 28), (512, 14), (1024, 7)), 2):
        name = f"conv{stage}"
        yield conv("resnext50", name, c, c, (size, size), (3, 3), pad=1, groups=32)
        if stage < 5:
            wide = 2 * c
            yield conv(
                "resnext50",
                f"{name}_down",
                wide,
                wide,
                (size, size),
                (3, 3),
                stride=2,
                pad=1,
                groups=32,
            )


def _filters() -> Iterator[Layer]:
    """One-channel filters on a 1080p image, 3x3 to 31x31; no network's."""
    for size in (3, 5, 7, 9, 11, 15, 21, 31):
        yield conv(
            "image", f"filter{size}", 1, 1, (1080, 1920), (size, size), pad=size // 2
        )


def _lenet() -> Iterator[Layer]:
    """LeNet-5's layers, and of their size: a padded c1 on MNIST's 28x28, a 3x3."""
    yield from PUBLISHED["lenet5"]
    yield conv("lenet5", "mnist", 1, 6, (28, 28), (5, 5), pad=2)
    yield conv("lenet5", "small", 8, 16, (8, 8), (3, 3), pad=1)


def _odd() -> Iterator[Layer]:
    """What no network has: odd channels and sizes, batch 3, uneven padding."""
    one, three, five = (1, 1), (3, 3), (5, 5)
    size = (37, 53)
    yield conv("odd", "pointwise", 67, 93, size, one, n=3)
    yield conv("odd", "plain", 67, 93, size, three, pad=1)
    yield conv("odd", "plain", 67, 93, size, three, pad=1, n=3)
    yield conv("odd", "prime", 131, 127, (29, 31), three, pad=1, n=3)
    yield conv("odd", "strided", 67, 93, size, three, stride=2, extra=one, n=3)
    yield conv("odd", "uneven", 67, 93, size, three, pad=(2, 0), extra=(0, 1), n=3)
    yield conv("odd", "full", 33, 65, (19, 23), five, pad=4, n=3)
    yield conv("odd", "grouped", 51, 85, size, three, pad=1, groups=17, n=3)
    yield conv("odd", "depthwise", 67, 67, size, three, pad=1, groups=67, n=3)
    yield conv("odd", "dilated", 45, 71, size, three, pad=3, dilation=3, n=3)
    yield conv("odd", "thin", 2, 3, (251, 509), (7, 3), pad=(3, 1), n=3)
    yield conv("odd", "sequence", 37, 53, (4999,), (7,), pad=3, n=3)
    yield conv("odd", "volume", 13, 21, (7, 19, 23), (2, 3, 4), pad=1, n=3)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name="3x3",
            title="3x3 stride 1, C and K >= 64",
            layers=batches(_three()),
            peers=PEERS,
            goals=(
                Goal("best peer", PEERS, 1.8, 1.2),
                Goal("PyTorch's best layout", TORCH, 2.2, 1.3),
            ),
        ),
        Suite(
            name="other",
            title="1x1, strided, dilated, 5x5 to 11x11, 1x7, conv3d, conv1d",
            layers=batches(_other()),
            peers=PEERS,
            goals=(Goal("best peer", PEERS, 1.1, 0.95),),
        ),
        Suite(
            name="thin",
            title="first layers, depthwise, grouped",
            layers=batches(_thin()),
            peers=PEERS,
            goals=(Goal("best peer", PEERS, 1.5, 1.0),),
        ),
        Suite(
            name="filters",
            title="1-channel image filters 3x3 to 31x31, 1080p",
            layers=tuple(_filters()),
            peers=("torch-nchw", "opencv", *SCIPY),
            goals=(
                Goal("OpenCV", ("opencv",), 1.5, 1.0),
                Goal("SciPy", SCIPY, 30.0, 10.0),
            ),
        ),
        Suite(
            name="lenet",
            title="LeNet-5-sized layers, call overhead included",
            layers=batches(_lenet()),
            peers=("torch-nchw", "onnxruntime"),
            goals=(Goal("ONNX Runtime, bound buffers", ("onnxruntime",), 1.0, 0.7),),
        ),
        Suite(
            name="odd",
            title="odd channels and sizes, uneven padding",
            layers=tuple(_odd()),
            peers=PEERS,
            goals=(Goal("best peer", PEERS),),
        ),
    )
}

# Whole networks are no layers; networks.py lists them.
NETWORKS = Suite(
    name="networks",
    title="whole networks, end to end",
    layers=(),
    peers=TORCH,
    goals=(Goal("PyTorch's best layout", TORCH),),
)
NAMES = (*SUITES, NETWORKS.name)

# Over the layers of every suite that has a goal, from the same records.
FUNCTION_TITLE = "functional call on NCHW, all layers"
FUNCTION_GOAL = Goal("PyTorch NCHW, functional", ("torch-nchw",), 1.8, 1.0, FUNCTION)
