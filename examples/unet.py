"""U-Net, run forward on a photograph with NumPy and pyconv alone.

    python examples/unet.py [--size 572] [--base 64] [--check]

Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
segmentation", 2015, figure 1: four times two 3x3 convolutions and a 2x2 maximum, then as
often a transposed convolution beside the cropped features of the way down, and a 1x1 head
for two classes. Convolutions have no padding: 572x572 pixels in, 388x388 out, the image
mirrored beyond its border. Weights are random (He et al., 2015), so the classes mean
nothing; shapes, time and bytes are those of the real network. --check compares with
PyTorch in float64.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.datasets import load_sample_image

import pyconv as pc

Array = np.ndarray[Any, Any]

LEVELS = 4


def photograph(size: int) -> Array:
    """Grey china.jpg, mirrored beyond its border: (1, 1, size, size), mean 0."""
    grey = load_sample_image("china.jpg").mean(-1)[:size, :size]
    spare = [size - n for n in grey.shape]
    grey = np.pad(grey, [(n // 2, n - n // 2) for n in spare], mode="symmetric")
    image: Array = ((grey - grey.mean()) / grey.std()).astype(np.float32)
    return image[None, None]


class Reported:
    """Runs stages one by one and prints what each took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.bytes = 0
        print(f"{'stage':<18}{'result':<22}{'ms':>9}{'GFLOP':>9}{'MB':>9}  algorithms")

    def run(self, name: str, stage: Callable[[], Array]) -> Array:
        """Run one stage; GFLOP are what ran, MB what had to be moved at least."""
        with pc.trace() as calls:
            start = time.perf_counter()
            y = stage()
            seconds = time.perf_counter() - start
        moved = sum(call.compulsory_bytes for call in calls)
        flops = sum(call.flops for call in calls)
        used = ", ".join(dict.fromkeys(call.algorithm for call in calls))
        print(
            f"{name:<18}{y.shape!s:<22}{1e3 * seconds:>9.1f}{flops / 1e9:>9.2f}"
            f"{moved / 1e6:>9.1f}  {used}"
        )
        self.seconds += seconds
        self.bytes += moved
        return y


class UNet:
    """Random filters of the published shape."""

    def __init__(self, base: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)

        def he(*shape: int, inputs: int) -> Array:
            weight = rng.standard_normal(shape, dtype=np.float32)
            weight *= np.float32(np.sqrt(2 / inputs))
            return weight

        def pair(c: int, k: int) -> tuple[Array, Array]:
            return he(k, c, 3, 3, inputs=9 * c), he(k, k, 3, 3, inputs=9 * k)

        widths = [base << level for level in range(LEVELS + 1)]
        self.down = [pair(c, k) for c, k in zip([1, *widths], widths, strict=False)]
        # Each pixel of a transposed 2x2 convolution with stride 2 sums over channels.
        self.up = [he(2 * k, k, 2, 2, inputs=2 * k) for k in reversed(widths[:-1])]
        self.merge = [pair(2 * k, k) for k in reversed(widths[:-1])]
        self.head = he(2, base, 1, 1, inputs=base)

    def forward(self, x: Array, report: Reported) -> Array:
        """Score both classes of every pixel."""
        skips: list[Array] = []
        for level, weights in enumerate(self.down):
            if level:
                x = report.run(f"max {level}", partial(pc.max_pool2d, x, 2))
            x = report.run(f"down {level}", partial(twice, x, weights))
            skips.append(x)
        skips.pop()
        for level, (up, weights) in enumerate(zip(self.up, self.merge, strict=True)):
            x = report.run(
                f"transposed {level}",
                partial(pc.conv_transpose2d, x, up, stride=2),
            )
            x = np.concatenate((cropped(skips.pop(), x.shape[-1]), x), axis=1)
            x = report.run(f"up {level}", partial(twice, x, weights))
        return report.run("head", partial(pc.conv2d, x, self.head))


def twice(x: Array, weights: tuple[Array, Array]) -> Array:
    """Two 3x3 convolutions, each with its relu."""
    for weight in weights:
        x = pc.conv2d(x, weight, activation="relu")
    return x


def cropped(x: Array, size: int) -> Array:
    """The middle of a feature map."""
    first = (x.shape[-1] - size) // 2
    return x[..., first : first + size, first : first + size]


def in_torch(network: UNet, x: Array) -> Array:
    """The same network by PyTorch in float64."""
    torch: Any = import_module("torch")
    functional = torch.nn.functional

    def wide(a: Array) -> Any:
        return torch.from_numpy(a.astype(np.float64))

    def pair(x: Any, weights: tuple[Array, Array]) -> Any:
        for weight in weights:
            x = functional.relu(functional.conv2d(x, wide(weight)))
        return x

    found, skips = wide(x), []
    for level, weights in enumerate(network.down):
        found = pair(functional.max_pool2d(found, 2) if level else found, weights)
        skips.append(found)
    skips.pop()
    for up, weights in zip(network.up, network.merge, strict=True):
        found = functional.conv_transpose2d(found, wide(up), stride=2)
        skip = cropped(skips.pop(), found.shape[-1])
        found = pair(torch.cat((skip, found), 1), weights)
    y: Array = functional.conv2d(found, wide(network.head)).numpy()
    return y


def main(arguments: list[str] | None = None) -> tuple[Array, float | None]:
    """Run, report; returns the scores and their error relative to PyTorch's, if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--size", type=int, default=572, help="16 n + 60 pixels, n >= 8"
    )
    parser.add_argument(
        "--base", type=int, default=64, help="filters of the first level"
    )
    parser.add_argument("--check", action="store_true", help="compare with PyTorch")
    options = parser.parse_args(arguments)
    if options.size % 16 != 12 or options.size < 188:
        parser.error(f"--size must be 188, 204, 220 or so on, got {options.size}")
    network, x = UNet(options.base), photograph(options.size)
    report = Reported()
    y = network.forward(x, report)
    print(f"in all {report.seconds:.2f} s, {report.bytes / 1e6:.0f} MB")
    if not options.check:
        return y, None
    exact = in_torch(network, x)
    error = float(np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)))
    print(f"root mean square error relative to PyTorch in float64: {error:.2g}")
    return y, error


if __name__ == "__main__":
    main()
