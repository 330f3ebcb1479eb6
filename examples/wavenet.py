"""A WaveNet-style stack of dilated causal convolutions, run forward on a chord.

    python examples/wavenet.py [--seconds 1] [--channels 32] [--stacks 1]

van den Oord et al., "WaveNet: a generative model for raw audio", 2016, sections 2.1 to
2.4: two-tap convolutions dilated by 1, 2, 4 ... 512, each a tanh times a sigmoid, a 1x1
convolution added to its input and another one added to the sum of all layers; relu, 1x1,
relu, 1x1, scores of 256 levels of loudness. Only the past is padded, so no score hears a
sample of its future: that is checked. Weights are random; the chord is synthesised.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import pyconv as pc

Array = np.ndarray[Any, Any]

RATE = 16_000  # samples a second
DILATIONS = tuple(2**i for i in range(10))
LEVELS = 256


def chord(seconds: float) -> Array:
    """A minor, plucked: six overtones for each tone, the higher the shorter; (1, 1, T)."""
    t = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros_like(t)
    for tone in (220.0, 261.63, 329.63):
        for overtone in range(1, 7):
            fading = np.exp(-2 * overtone * t) / overtone
            sound += fading * np.sin(2 * np.pi * overtone * tone * t)
    mu = LEVELS - 1
    loud = sound / abs(sound).max()
    companded = np.sign(loud) * np.log1p(mu * abs(loud)) / np.log1p(mu)
    quantised = np.rint(companded * mu / 2) / (mu / 2)  # 8 bits, as the paper's
    signal: Array = quantised.astype(np.float32)[None, None]
    return signal


class WaveNet:
    """Random filters; `stacks` runs through all dilations."""

    def __init__(self, channels: int, stacks: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)

        def random(k: int, c: int, taps: int) -> Array:
            weight = rng.standard_normal((k, c, taps), dtype=np.float32)
            weight *= np.float32(1 / np.sqrt(c * taps))
            return weight

        self.first = random(channels, 1, 2)
        self.layers = [
            (
                dilation,
                random(channels, channels, 2),
                random(channels, channels, 2),
                random(channels, channels, 1),
                random(2 * channels, channels, 1),
            )
            for dilation in DILATIONS * stacks
        ]
        self.last = random(2 * channels, 2 * channels, 1)
        self.scores = random(LEVELS, 2 * channels, 1)

    @property
    def receptive_field(self) -> int:
        """Samples that one score depends on."""
        return 2 + sum(layer[0] for layer in self.layers)

    def forward(self, signal: Array) -> Array:
        """Score every level for the sample after each one: (1, 256, T)."""
        x = causal(signal, self.first, 1)
        skip: Any = None
        for dilation, content, gate, mixed, skipped in self.layers:
            z = causal(x, content, dilation, "tanh")
            z *= causal(x, gate, dilation, "sigmoid")
            skip = pc.conv1d(z, skipped, residual=skip)
            x = pc.conv1d(z, mixed, residual=x)
        y = pc.conv1d(np.maximum(skip, 0), self.last, activation="relu")
        scores: Array = pc.conv1d(y, self.scores)
        return scores


def causal(
    x: Array, weight: Array, dilation: int, activation: str | None = None
) -> Array:
    """A convolution that sees this sample and those before it."""
    reach = dilation * (weight.shape[-1] - 1)
    y: Array = pc.conv1d(
        x, weight, padding=((reach, 0),), dilation=dilation, activation=activation
    )
    return y


def reach(network: WaveNet, signal: Array, at: int) -> tuple[int, int]:
    """First and last score that the sample `at` changes."""
    other = signal.copy()
    other[..., at] += 0.5
    apart = (network.forward(signal) != network.forward(other)).any(axis=(0, 1))
    return int(apart.argmax()), int(len(apart) - 1 - apart[::-1].argmax())


def main(arguments: list[str] | None = None) -> tuple[Array, int, tuple[int, int]]:
    """Run, report; returns the scores, the receptive field, what one sample reaches."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--stacks", type=int, default=1)
    options = parser.parse_args(arguments)
    network, signal = WaveNet(options.channels, options.stacks), chord(options.seconds)
    network.forward(signal)  # plans are made once
    start = time.perf_counter()
    scores = network.forward(signal)
    seconds = time.perf_counter() - start
    with pc.trace() as calls:
        network.forward(signal)
    samples = signal.shape[-1]
    field = network.receptive_field
    print(f"{len(network.layers)} layers, {options.channels} channels")
    print(f"receptive field: {field} samples, {1e3 * field / RATE:.0f} ms")
    print(
        f"{samples} samples in {1e3 * seconds:.1f} ms: {samples / seconds:.3g} a second"
    )
    moved = sum(call.compulsory_bytes for call in calls)
    print(
        f"{len(calls)} convolutions, {moved / 1e6:.1f} MB, {moved / samples:.0f} bytes a sample"
    )
    used = sorted({call.algorithm for call in calls})
    print(f"algorithms: {', '.join(used)}")
    heard = reach(network, signal, samples // 4)
    print(
        f"sample {samples // 4} changes scores {heard[0]} to {heard[1]}, none before it"
    )
    return scores, field, heard


if __name__ == "__main__":
    main()
