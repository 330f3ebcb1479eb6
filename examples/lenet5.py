"""LeNet-5, trained on handwritten digits with NumPy and pyconv alone.

    python examples/lenet5.py [--epochs 12] [--seed 0]

The layers of LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to
document recognition", 1998: six 5x5 filters, averages over 2x2, sixteen 5x5 filters that
see the maps of their table I, averages, 120 5x5 filters, then 84 units and ten. tanh
throughout; the last layer is a softmax instead of their radial basis functions. The
digits are scikit-learn's 8x8 ones, enlarged to 32x32. Plain SGD with momentum.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import pyconv as pc

Array = np.ndarray[Any, Any]

# Table I: the maps of layer S2 that each map of C3 is connected to.
CONNECTED = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)


def digits(seed: int) -> tuple[Array, Array, Array, Array]:
    """Training images and labels, then test images and labels (a fifth of them)."""
    images, labels = load_digits(return_X_y=True)
    x = images.reshape(-1, 1, 8, 8).astype(np.float32)
    x = np.kron((x - x.mean()) / x.std(), np.ones((1, 1, 4, 4), np.float32))
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = order[: len(x) // 5], order[len(x) // 5 :]
    return x[train], labels[train], x[test], labels[test]


@dataclass
class Parameter:
    """A weight, its gradient's running mean, and which of it may move."""

    value: Array
    mask: Array | None = None
    velocity: Array = field(init=False)

    def __post_init__(self) -> None:
        if self.mask is not None:
            self.value *= self.mask
        self.velocity = np.zeros_like(self.value)

    def step(self, gradient: Array, rate: float) -> None:
        """One step of SGD with momentum 0.9."""
        if self.mask is not None:
            gradient = gradient * self.mask
        self.velocity *= 0.9
        self.velocity -= rate * gradient
        self.value += self.velocity


class Convolution:
    """A convolution and the tanh after it."""

    def __init__(
        self, rng: Any, k: int, c: int, size: int, mask: Array | None = None
    ) -> None:
        inputs = c * size * size if mask is None else size * size * mask.sum() / k
        scale = np.float32(1 / np.sqrt(inputs))
        w = scale * rng.standard_normal((k, c, size, size), dtype=np.float32)
        self.weight = Parameter(w, mask)
        self.bias = Parameter(np.zeros(k, np.float32))

    def forward(self, x: Array) -> Array:
        """tanh(conv2d(x) + bias)."""
        self.x = x
        self.y: Array = pc.conv2d(
            x, self.weight.value, self.bias.value, activation="tanh"
        )
        return self.y

    def backward(self, grad: Array, rate: float) -> Array:
        """The gradient with respect to x; the parameters take a step."""
        grad = grad * (1 - self.y * self.y)
        weight = self.weight.value
        dx: Array = pc.grad.conv2d_input(self.x.shape, weight, grad)
        self.weight.step(pc.grad.conv2d_weight(self.x, weight.shape, grad), rate)
        self.bias.step(pc.grad.conv2d_bias(grad), rate)
        return dx


class Average:
    """The mean of 2x2 pixels."""

    def forward(self, x: Array) -> Array:
        """Halve both extents."""
        self.shape = x.shape
        y: Array = pc.avg_pool2d(x, 2)
        return y

    def backward(self, grad: Array, rate: float) -> Array:
        """Hand each mean's gradient to its four pixels."""
        del rate
        dx: Array = pc.grad.avg_pool2d(grad, self.shape, 2)
        return dx


class Dense:
    """A layer of units; all but the last have a tanh."""

    def __init__(self, rng: Any, units: int, inputs: int, squash: bool) -> None:
        scale = np.float32(1 / np.sqrt(inputs))
        self.weight = Parameter(
            scale * rng.standard_normal((inputs, units), dtype=np.float32)
        )
        self.bias = Parameter(np.zeros(units, np.float32))
        self.squash = squash

    def forward(self, x: Array) -> Array:
        """x W + b, flattened."""
        self.shape = x.shape
        self.x = x.reshape(len(x), -1)
        self.y = self.x @ self.weight.value + self.bias.value
        if self.squash:
            self.y = np.tanh(self.y)
        return self.y

    def backward(self, grad: Array, rate: float) -> Array:
        """The gradient with respect to x; the parameters take a step."""
        if self.squash:
            grad = grad * (1 - self.y * self.y)
        dx = (grad @ self.weight.value.T).reshape(self.shape)
        self.weight.step(self.x.T @ grad, rate)
        self.bias.step(grad.sum(0), rate)
        return dx


class LeNet5:
    """The seven layers."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        mask = np.zeros((16, 6, 1, 1), np.float32)
        for k, maps in enumerate(CONNECTED):
            mask[k, list(maps)] = 1
        self.layers: list[Any] = [
            Convolution(rng, 6, 1, 5),
            Average(),
            Convolution(rng, 16, 6, 5, mask),
            Average(),
            Convolution(rng, 120, 16, 5),
            Dense(rng, 84, 120, squash=True),
            Dense(rng, 10, 84, squash=False),
        ]

    def forward(self, x: Array) -> Array:
        """Ten scores an image."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def train(self, x: Array, labels: Array, rate: float) -> float:
        """One step on one batch; returns the mean cross-entropy."""
        scores = self.forward(x)
        scores = scores - scores.max(1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(1, keepdims=True)
        rows = np.arange(len(x))
        loss = -np.log(chances[rows, labels]).mean()
        grad = chances
        grad[rows, labels] -= 1
        grad /= len(x)
        for layer in reversed(self.layers):
            grad = layer.backward(grad, rate)
        return float(loss)

    def accuracy(self, x: Array, labels: Array) -> float:
        """The share of images that are named rightly."""
        return float((self.forward(x).argmax(1) == labels).mean())


def main(arguments: list[str] | None = None) -> float:
    """Train, report every epoch, return the test accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    x, labels, test, truth = digits(options.seed)
    network = LeNet5(options.seed)
    rng = np.random.default_rng(options.seed + 1)
    start = time.perf_counter()
    reached = 0.0
    for epoch in range(options.epochs):
        order = rng.permutation(len(x))
        batches = np.array_split(order, len(x) // 32)
        rate = 0.05 * 0.85**epoch
        losses = [network.train(x[batch], labels[batch], rate) for batch in batches]
        reached = network.accuracy(test, truth)
        print(
            f"epoch {epoch + 1:2}: loss {np.mean(losses):.4f}, "
            f"test accuracy {100 * reached:.2f} %, {time.perf_counter() - start:.1f} s"
        )
    return reached


if __name__ == "__main__":
    main()
