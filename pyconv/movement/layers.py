"""The layers of published networks, each as its paper gives it; none left out.

A layer is plain integers; FLOPs and compulsory bytes follow from them. FLOPs count
the direct sum (one multiply and one add per tap) whatever the algorithm, so GFLOP/s of
a faster algorithm may pass the machine's peak. Compulsory bytes are what must move even
with a perfect cache: each input, weight and bias read once, each output written once.

`repeat` is how often the same shape occurs in the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

Ints = tuple[int, ...]


def output_extents(
    spatial: Ints,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    extra: Ints = (),
) -> Ints:
    """Output extents: floor((n + 2 pad + extra - dilation (k - 1) - 1) / stride) + 1."""
    return tuple(
        (n + 2 * p + e - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d, e in zip(
            spatial,
            kernel,
            stride,
            padding,
            dilation,
            extra or (0,) * len(spatial),
            strict=True,
        )
    )


@dataclass(frozen=True)
class Layer:
    """One convolution: extents per spatial axis.

    Padding is the same on both sides, but for `extra` at the end of each axis.
    """

    network: str
    name: str
    rank: int
    n: int
    c: int
    k: int
    spatial: Ints
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    groups: int
    repeat: int = 1
    extra: Ints = ()

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Padding before and after each axis."""
        extra = self.extra or (0,) * self.rank
        return tuple((p, p + e) for p, e in zip(self.padding, extra, strict=True))

    @property
    def id(self) -> str:
        """A readable name: network, layer and what tells it from its neighbours."""
        kernel = "x".join(map(str, self.kernel))
        spatial = "x".join(map(str, self.spatial))
        sizes = f"n{self.n}c{self.c}k{self.k}-{spatial}-{kernel}"
        text = f"{self.network}-{self.name}-{sizes}"
        for letter, values in (("s", self.stride), ("d", self.dilation)):
            if set(values) != {1}:
                text += f"{letter}{values[0]}"
        return text if self.groups == 1 else f"{text}g{self.groups}"

    @property
    def output(self) -> Ints:
        """Spatial extents of the output."""
        return output_extents(
            self.spatial,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.extra,
        )

    @property
    def x_shape(self) -> Ints:
        """(N, C, *spatial)."""
        return (self.n, self.c, *self.spatial)

    @property
    def w_shape(self) -> Ints:
        """(K, C / G, *kernel)."""
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def y_shape(self) -> Ints:
        """(N, K, *output)."""
        return (self.n, self.k, *self.output)

    @property
    def terms(self) -> int:
        """Products in one output: C / G times the kernel's taps."""
        return prod(self.w_shape[1:])

    @property
    def flops(self) -> int:
        """Multiplies and adds of the direct sum."""
        return 2 * prod(self.y_shape) * self.terms

    def compulsory_bytes(self, itemsize: int = 4) -> int:
        """Bytes of input, weight, bias and output, each touched once."""
        elements = prod(self.x_shape) + prod(self.w_shape) + prod(self.y_shape)
        return itemsize * (elements + self.k)

    def with_batch(self, n: int) -> Layer:
        """Give the same layer for a batch of n."""
        return replace(self, n=n)


def square(
    network: str,
    name: str,
    c: int,
    k: int,
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
    repeat: int = 1,
) -> Layer:
    """Make a 2-d layer of batch 1 whose axes are alike."""
    return Layer(
        network=network,
        name=name,
        rank=2,
        n=1,
        c=c,
        k=k,
        spatial=(size, size),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(pad, pad),
        dilation=(1, 1),
        groups=groups,
        repeat=repeat,
    )


def distinct(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Equal shapes merged under the first one's name, their repeats added."""
    seen: dict[Layer, Layer] = {}
    for layer in layers:
        key = replace(layer, name="", repeat=1)
        before = seen.get(key)
        seen[key] = (
            layer
            if before is None
            else replace(before, repeat=before.repeat + layer.repeat)
        )
    return tuple(seen.values())


def _lenet5() -> Iterator[Layer]:
    """LeCun et al., Gradient-based learning applied to document recognition, 1998.

    C3 is taken as fully connected over its 6 maps (the paper leaves some out).
    """
    yield square("lenet5", "c1", 1, 6, 32, 5)
    yield square("lenet5", "c3", 6, 16, 14, 5)
    yield square("lenet5", "c5", 16, 120, 5, 5)


def _alexnet() -> Iterator[Layer]:
    """Krizhevsky, Sutskever, Hinton, 2012; groups are the paper's two GPUs.

    The input is 227 wide: the paper prints 224, which does not give its 55.
    """
    yield square("alexnet", "conv1", 3, 96, 227, 11, stride=4)
    yield square("alexnet", "conv2", 96, 256, 27, 5, pad=2, groups=2)
    yield square("alexnet", "conv3", 256, 384, 13, 3, pad=1)
    yield square("alexnet", "conv4", 384, 384, 13, 3, pad=1, groups=2)
    yield square("alexnet", "conv5", 384, 256, 13, 3, pad=1, groups=2)


def _vgg16() -> Iterator[Layer]:
    """Simonyan and Zisserman, arXiv:1409.1556, table 1, configuration D."""
    c = 3
    size = 224
    for stage, (k, depth) in enumerate(
        ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1
    ):
        for index in range(1, depth + 1):
            yield square("vgg16", f"conv{stage}_{index}", c, k, size, 3, pad=1)
            c = k
        size //= 2


def _googlenet() -> Iterator[Layer]:
    """Szegedy et al., arXiv:1409.4842, table 1."""
    yield square("googlenet", "conv1", 3, 64, 224, 7, stride=2, pad=3)
    yield square("googlenet", "conv2_reduce", 64, 64, 56, 1)
    yield square("googlenet", "conv2", 64, 192, 56, 3, pad=1)
    # module, size, input, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool projection
    for module, size, c, one, reduce3, three, reduce5, five, pool in (
        ("3a", 28, 192, 64, 96, 128, 16, 32, 32),
        ("3b", 28, 256, 128, 128, 192, 32, 96, 64),
        ("4a", 14, 480, 192, 96, 208, 16, 48, 64),
        ("4b", 14, 512, 160, 112, 224, 24, 64, 64),
        ("4c", 14, 512, 128, 128, 256, 24, 64, 64),
        ("4d", 14, 512, 112, 144, 288, 32, 64, 64),
        ("4e", 14, 528, 256, 160, 320, 32, 128, 128),
        ("5a", 7, 832, 256, 160, 320, 32, 128, 128),
        ("5b", 7, 832, 384, 192, 384, 48, 128, 128),
    ):
        yield square("googlenet", f"{module}_1x1", c, one, size, 1)
        yield square("googlenet", f"{module}_3x3_reduce", c, reduce3, size, 1)
        yield square("googlenet", f"{module}_3x3", reduce3, three, size, 3, pad=1)
        yield square("googlenet", f"{module}_5x5_reduce", c, reduce5, size, 1)
        yield square("googlenet", f"{module}_5x5", reduce5, five, size, 5, pad=2)
        yield square("googlenet", f"{module}_pool", c, pool, size, 1)


def _resnet50() -> Iterator[Layer]:
    """He et al., arXiv:1512.03385, table 1, 53 convolutions.

    The stride sits in the 3x3 layer, as in fb.resnet.torch and torchvision ("v1.5").
    """
    yield square("resnet50", "conv1", 3, 64, 224, 7, stride=2, pad=3)
    c = 64
    size = 56
    for stage, (width, blocks) in enumerate(
        ((64, 3), (128, 4), (256, 6), (512, 3)), start=2
    ):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 2 else 1
            name = f"conv{stage}_{block + 1}"
            yield square("resnet50", f"{name}a", c, width, size, 1)
            yield square(
                "resnet50", f"{name}b", width, width, size, 3, stride=stride, pad=1
            )
            yield square("resnet50", f"{name}c", width, 4 * width, size // stride, 1)
            if block == 0:
                yield square(
                    "resnet50", f"{name}_shortcut", c, 4 * width, size, 1, stride=stride
                )
            size //= stride
            c = 4 * width


def _mobilenet_v2() -> Iterator[Layer]:
    """Sandler et al., arXiv:1801.04381, table 2."""
    yield square("mobilenet_v2", "conv1", 3, 32, 224, 3, stride=2, pad=1)
    c = 32
    size = 112
    block = 0
    for expand, k, depth, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(depth):
            block += 1
            stride = first_stride if index == 0 else 1
            wide = c * expand
            name = f"block{block}"
            if expand > 1:
                yield square("mobilenet_v2", f"{name}_expand", c, wide, size, 1)
            yield square(
                "mobilenet_v2",
                f"{name}_depthwise",
                wide,
                wide,
                size,
                3,
                stride=stride,
                pad=1,
                groups=wide,
            )
            size //= stride
            yield square("mobilenet_v2", f"{name}_project", wide, k, size, 1)
            c = k
    yield square("mobilenet_v2", "conv_last", 320, 1280, 7, 1)


def _unet() -> Iterator[Layer]:
    """Ronneberger et al., arXiv:1505.04597, figure 1: valid 3x3 layers.

    Its 2x2 up-convolutions are transposed convolutions and stand in no table here.
    """
    levels = ((1, 64, 572), (64, 128, 284), (128, 256, 140), (256, 512, 68))
    ascent = ((1024, 512, 56), (512, 256, 104), (256, 128, 200), (128, 64, 392))
    bottom = ((512, 1024, 32),)
    for index, (c, k, size) in enumerate(levels + bottom + ascent, start=1):
        yield square("unet", f"level{index}a", c, k, size, 3)
        yield square("unet", f"level{index}b", k, k, size - 2, 3)
    yield square("unet", "output", 64, 2, 388, 1)


def _alphago() -> Iterator[Layer]:
    """Silver et al., Nature 529 (2016), Methods, policy network with 192 filters."""
    yield square("alphago", "conv1", 48, 192, 19, 5, pad=2)
    yield square("alphago", "conv2_12", 192, 192, 19, 3, pad=1, repeat=11)
    yield square("alphago", "conv13", 192, 1, 19, 1)


def _sequence(
    name: str, k: int, length: int, kernel: int, dilation: int, repeat: int
) -> Layer:
    """Make a WaveNet layer: rank 1, 64 channels in, no padding."""
    return Layer(
        network="wavenet",
        name=name,
        rank=1,
        n=1,
        c=64,
        k=k,
        spatial=(length,),
        kernel=(kernel,),
        stride=(1,),
        padding=(0,),
        dilation=(dilation,),
        groups=1,
        repeat=repeat,
    )


def _wavenet() -> Iterator[Layer]:
    """Van den Oord et al., arXiv:1609.03499: kernel 2, dilations 1 to 512.

    One second at 16 kHz. The paper names no widths: 64 residual and 256 skip channels
    are Deep Voice's (Arik et al., arXiv:1702.07825). The causal history is part of the
    input, so that the layer has no padding.
    """
    length = 16000
    for exponent in range(10):
        dilation = 2**exponent
        yield _sequence(f"dilated_{dilation}", 128, length + dilation, 2, dilation, 4)
    yield _sequence("residual", 64, length, 1, 1, 40)
    yield _sequence("skip", 256, length, 1, 1, 40)


def _image_filters() -> Iterator[Layer]:
    """One-channel image filters: Sobel's 3x3, Burt and Adelson's 5x5 (1983), and wider.

    Where the image libraries are at home.
    """
    for kernel in (3, 5, 9, 15):
        yield square("image", f"filter{kernel}", 1, 1, 1024, kernel, pad=kernel // 2)


# Every layer in the order it runs, repeats and all.
SEQUENCES: dict[str, tuple[Layer, ...]] = {
    "lenet5": tuple(_lenet5()),
    "alexnet": tuple(_alexnet()),
    "vgg16": tuple(_vgg16()),
    "googlenet": tuple(_googlenet()),
    "resnet50": tuple(_resnet50()),
    "mobilenet_v2": tuple(_mobilenet_v2()),
    "unet": tuple(_unet()),
    "alphago": tuple(_alphago()),
    "wavenet": tuple(_wavenet()),
    "image": tuple(_image_filters()),
}

NETWORKS = {name: distinct(layers) for name, layers in SEQUENCES.items()}
