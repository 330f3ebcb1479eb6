"""The pooling layers of the networks in shapes.py, from the same papers.

FLOPs count one comparison or addition per tap. GoogLeNet and AlexNet as published;
GoogLeNet's reductions round the output up (ceil_mode), which its figure needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from pyconv.movement.layers import Ints, output_extents


@dataclass(frozen=True)
class PoolLayer:
    """One pooling layer; kind is "max" or "avg"."""

    network: str
    name: str
    kind: str
    n: int
    c: int
    spatial: Ints
    kernel: Ints
    stride: Ints
    padding: Ints
    ceil_mode: bool = False

    @property
    def id(self) -> str:
        """A readable name."""
        return (
            f"{self.network}-{self.name}-{self.kind}-n{self.n}c{self.c}-"
            f"{'x'.join(map(str, self.spatial))}-"
            f"{'x'.join(map(str, self.kernel))}s{self.stride[0]}"
        )

    @property
    def x_shape(self) -> Ints:
        """(N, C, H, W)."""
        return (self.n, self.c, *self.spatial)

    @property
    def output(self) -> Ints:
        """Spatial extents of the output (torch's rule for ceil_mode)."""
        if not self.ceil_mode:
            ones = (1,) * len(self.kernel)
            return output_extents(
                self.spatial, self.kernel, self.stride, self.padding, ones
            )
        extents = []
        for n, k, s, p in zip(
            self.spatial, self.kernel, self.stride, self.padding, strict=True
        ):
            out = -(-(n + 2 * p - k) // s) + 1
            # The last window must start inside the input or the padding before it.
            extents.append(out - 1 if (out - 1) * s >= n + p else out)
        return tuple(extents)

    @property
    def y_shape(self) -> Ints:
        """(N, C, P, Q)."""
        return (self.n, self.c, *self.output)

    @property
    def flops(self) -> int:
        """One comparison or addition per tap."""
        return prod(self.y_shape) * prod(self.kernel)

    def compulsory_bytes(self, itemsize: int = 4) -> int:
        """Bytes of input and output, each touched once."""
        return itemsize * (prod(self.x_shape) + prod(self.y_shape))

    def with_batch(self, n: int) -> PoolLayer:
        """The same layer for a batch of n."""
        return replace(self, n=n)


def _pool(
    network: str,
    name: str,
    kind: str,
    c: int,
    size: int,
    kernel: int,
    stride: int,
    *,
    pad: int = 0,
    ceil_mode: bool = False,
) -> PoolLayer:
    """A pooling layer of batch 1 whose axes are alike."""
    return PoolLayer(
        network=network,
        name=name,
        kind=kind,
        n=1,
        c=c,
        spatial=(size, size),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(pad, pad),
        ceil_mode=ceil_mode,
    )


def _googlenet() -> Iterator[PoolLayer]:
    """Szegedy et al., arXiv:1409.4842, table 1."""
    for name, c, size in (
        ("pool1", 64, 112),
        ("pool2", 192, 56),
        ("pool3", 480, 28),
        ("pool4", 832, 14),
    ):
        yield _pool("googlenet", name, "max", c, size, 3, 2, ceil_mode=True)
    for c, size in ((192, 28), (256, 28), (480, 14), (512, 14), (528, 14), (832, 7)):
        yield _pool("googlenet", f"inception{c}", "max", c, size, 3, 1, pad=1)
    yield _pool("googlenet", "pool5", "avg", 1024, 7, 7, 1)


POOLS: dict[str, tuple[PoolLayer, ...]] = {
    "lenet5": (
        _pool("lenet5", "s2", "avg", 6, 28, 2, 2),
        _pool("lenet5", "s4", "avg", 16, 10, 2, 2),
    ),
    "alexnet": tuple(
        _pool("alexnet", name, "max", c, size, 3, 2)
        for name, c, size in (("pool1", 96, 55), ("pool2", 256, 27), ("pool5", 256, 13))
    ),
    "vgg16": tuple(
        _pool("vgg16", f"pool{stage}", "max", c, size, 2, 2)
        for stage, (c, size) in enumerate(
            ((64, 224), (128, 112), (256, 56), (512, 28), (512, 14)), start=1
        )
    ),
    "googlenet": tuple(_googlenet()),
    "resnet50": (
        _pool("resnet50", "pool1", "max", 64, 112, 3, 2, pad=1),
        _pool("resnet50", "pool5", "avg", 2048, 7, 7, 1),
    ),
    "mobilenet_v2": (_pool("mobilenet_v2", "pool", "avg", 1280, 7, 7, 1),),
    "unet": tuple(
        _pool("unet", f"pool{level}", "max", c, size, 2, 2)
        for level, (c, size) in enumerate(
            ((64, 568), (128, 280), (256, 136), (512, 64)), start=1
        )
    ),
}
