"""Whole networks, convolutions and pools, run layer after layer.

A network is a list of steps on named values; the same list runs through pyconv (packed
layers, activation and residual fused into the convolution) and through PyTorch (eager,
inference mode, activation and addition in place). Weights are random with He's scale,
so that values neither fade nor blow up. U-Net's up-convolutions are transposed
convolutions and stand in no table here: each level of its ascent starts from a given
array, as do the layers in the other suites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyconv as pc
from benchmarks.contenders import arrange, window
from benchmarks.oracle import Array, make_input
from benchmarks.pool_shapes import POOLS, PoolLayer
from pyconv.movement.layers import SEQUENCES, Layer


@dataclass(frozen=True)
class Step:
    """One layer: value `x` in, value `y` out, a convolution's residual added."""

    layer: Layer | PoolLayer
    x: str = "x"
    y: str = "x"
    activation: str | None = None
    residual: str | None = None


@dataclass(frozen=True)
class Network:
    """Steps in order; what is not given starts at the first use, from random values."""

    name: str
    n: int
    steps: tuple[Step, ...]

    @property
    def id(self) -> str:
        """Name and batch."""
        return f"{self.name}-n{self.n}"

    @property
    def flops(self) -> int:
        """Of the convolutions and pools."""
        return sum(step.layer.flops for step in self.steps)

    def inputs(self) -> dict[str, Array]:
        """Values that are used before a step makes them."""
        made: set[str] = set()
        found: dict[str, Array] = {}
        for step in self.steps:
            if step.x not in made and step.x not in found:
                found[step.x] = make_input(step.layer.x_shape, 1)
            made.add(step.y)
        return found

    def outputs(self) -> tuple[str, ...]:
        """Values made and never used."""
        last: dict[str, bool] = {}
        for step in self.steps:
            for name in (step.x, step.residual):
                if name in last:
                    last[name] = False
            last[step.y] = True
        return tuple(name for name, unused in last.items() if unused)

    def weights(self) -> list[tuple[Array, Array] | None]:
        """Filters and bias of each step, None for a pool."""
        made: list[tuple[Array, Array] | None] = []
        for index, step in enumerate(self.steps):
            if isinstance(step.layer, PoolLayer):
                made.append(None)
                continue
            scale = np.float32(math.sqrt(2 / step.layer.terms))
            w = make_input(step.layer.w_shape, 2 * index) * scale
            made.append((w, make_input((step.layer.k,), 2 * index + 1) * scale))
        return made


def _lenet5() -> Iterator[Step]:
    """C1, S2, C3, S4, C5, with relu for the paper's tanh."""
    pools = list(POOLS["lenet5"])
    for layer in SEQUENCES["lenet5"]:
        yield Step(layer, activation="relu")
        if pools:
            yield Step(pools.pop(0))


def _vgg16() -> Iterator[Step]:
    """Thirteen convolutions, a pool after each stage."""
    layers = SEQUENCES["vgg16"]
    pools = {pool.name.removeprefix("pool"): pool for pool in POOLS["vgg16"]}
    for index, layer in enumerate(layers):
        yield Step(layer, activation="relu")
        stage = layer.name[4]
        if index + 1 == len(layers) or layers[index + 1].name[4] != stage:
            yield Step(pools[stage])


def _resnet50() -> Iterator[Step]:
    """Bottlenecks: the last 1x1 adds the block's input, or its shortcut's."""
    first_pool, last_pool = POOLS["resnet50"]
    by_name = {layer.name: layer for layer in SEQUENCES["resnet50"]}
    yield Step(by_name.pop("conv1"), activation="relu")
    yield Step(first_pool)
    for name, layer in by_name.items():
        block, part = name[:-1], name[-1]
        if part != "a" or name.endswith("shortcut"):
            continue
        shortcut = by_name.get(f"{block}_shortcut")
        if shortcut is not None:
            yield Step(shortcut, y="skip")
        yield Step(layer, y="t", activation="relu")
        yield Step(by_name[f"{block}b"], x="t", y="t", activation="relu")
        yield Step(
            by_name[f"{block}c"],
            x="t",
            activation="relu",
            residual="x" if shortcut is None else "skip",
        )
    yield Step(last_pool)


def _mobilenet_v2() -> Iterator[Step]:
    """Inverted residuals: the projection adds the block's input where shapes agree."""
    begun: Layer | None = None
    for layer in SEQUENCES["mobilenet_v2"]:
        if layer.name.endswith(("expand", "depthwise")):
            starts = begun is None
            begun = layer if begun is None else begun
            yield Step(layer, x="x" if starts else "t", y="t", activation="relu6")
        elif layer.name.endswith("project") and begun is not None:
            same = (begun.c, *begun.spatial) == (layer.k, *layer.output)
            yield Step(layer, x="t", residual="x" if same else None)
            begun = None
        else:
            yield Step(layer, activation="relu6")
    yield Step(POOLS["mobilenet_v2"][0])


def _unet() -> Iterator[Step]:
    """Down with pools in between; each level of the ascent on its own."""
    pools = {pool.name.removeprefix("pool"): pool for pool in POOLS["unet"]}
    for layer in SEQUENCES["unet"]:
        if layer.name == "output":
            yield Step(layer, x="up9", y="up9")
            continue
        level, part = layer.name[5], layer.name[6]
        value = "x" if int(level) <= 5 else f"up{level}"
        yield Step(layer, x=value, y=value, activation="relu")
        if part == "b" and level in pools:
            yield Step(pools[level])


# The paper trains U-Net with one large image a batch.
MAKERS: dict[str, tuple[Callable[[], Iterator[Step]], tuple[int, ...]]] = {
    "vgg16": (_vgg16, (1, 8)),
    "resnet50": (_resnet50, (1, 8)),
    "mobilenet_v2": (_mobilenet_v2, (1, 8)),
    "unet": (_unet, (1,)),
    "lenet5": (_lenet5, (1, 8)),
}


def network(name: str, n: int) -> Network:
    """A network for a batch of n."""
    steps = tuple(
        Step(step.layer.with_batch(n), step.x, step.y, step.activation, step.residual)
        for step in MAKERS[name][0]()
    )
    return Network(name, n, steps)


NETWORKS = tuple(
    network(name, n) for name, (_, batches) in MAKERS.items() for n in batches
)

Function = Callable[..., Any]


def chain(net: Network, functions: list[Function], inputs: dict[str, Any]) -> Function:
    """One call that runs every step; it returns the outputs."""
    rows = [
        (function, step.x, step.residual, step.y)
        for function, step in zip(functions, net.steps, strict=True)
    ]
    outputs = net.outputs()

    def run() -> list[Any]:
        values = dict(inputs)
        for function, x, residual, y in rows:
            if residual is None:
                values[y] = function(values[x])
            else:
                values[y] = function(values[x], values[residual])
        return [values[name] for name in outputs]

    return run


def through_pyconv(net: Network, memory: str) -> Function:
    """pc.Conv2d and pc.max_pool2d, avg_pool2d in one memory order."""
    functions = []
    for step, weights in zip(net.steps, net.weights(), strict=True):
        if isinstance(step.layer, PoolLayer):
            functions.append(pyconv_pool(step.layer))
        else:
            assert weights is not None
            given = (*weights, *window(step.layer))
            functions.append(pc.Conv2d(*given, activation=step.activation))
    return chain(
        net, functions, {k: arrange(v, memory) for k, v in net.inputs().items()}
    )


def pyconv_pool(layer: PoolLayer) -> Function:
    """The pooling as a call on one array."""
    pool = pc.max_pool2d if layer.kind == "max" else pc.avg_pool2d
    sizes = (layer.kernel, layer.stride, layer.padding)
    return lambda x: pool(x, *sizes)


def through_torch(torch: Any, net: Network, memory: str, dtype: Any) -> Function:
    """PyTorch's functions in one memory order and element type."""

    def tensor(array: Array) -> Any:
        made = torch.from_numpy(array).to(dtype)
        if memory == "nhwc" and array.ndim == 4:
            made = made.to(memory_format=torch.channels_last)
        return made

    functions = []
    for step, weights in zip(net.steps, net.weights(), strict=True):
        if isinstance(step.layer, PoolLayer):
            functions.append(torch_pool(torch, step.layer))
        else:
            assert weights is not None
            functions.append(torch_conv(torch, step, *map(tensor, weights)))
    run = chain(net, functions, {k: tensor(v) for k, v in net.inputs().items()})

    def call() -> Any:
        with torch.inference_mode():
            return run()

    return call


def torch_pool(torch: Any, layer: PoolLayer) -> Function:
    """The pooling as a call on one tensor."""
    pool = getattr(torch.nn.functional, f"{layer.kind}_pool2d")
    sizes = (layer.kernel, layer.stride, layer.padding)
    return lambda x: pool(x, *sizes)


def torch_conv(torch: Any, step: Step, w: Any, b: Any) -> Function:
    """The convolution, the addition and the activation, the last two in place."""
    assert isinstance(step.layer, Layer)
    convolve = torch.nn.functional.conv2d
    activate = {
        None: lambda y: y,
        "relu": torch.relu_,
        "relu6": lambda y: torch.clamp_(y, 0, 6),
    }[step.activation]
    rest = window(step.layer)

    def call(x: Any, residual: Any = None) -> Any:
        y = convolve(x, w, b, *rest)
        if residual is not None:
            y.add_(residual)
        return activate(y)

    return call


def exact(torch: Any, net: Network) -> list[Array]:
    """The outputs, computed by PyTorch in float64."""
    run = through_torch(torch, net, "nchw", torch.float64)
    return [np.asarray(y.numpy()) for y in run()]


def error(outputs: list[Any], right: list[Array]) -> float:
    """Largest difference from the exact outputs, over their largest value."""
    worst = 0.0
    for y, expected in zip(outputs, right, strict=True):
        difference = np.max(np.abs(np.asarray(y) - expected)) / np.max(np.abs(expected))
        worst = max(worst, float(difference)) if np.isfinite(difference) else math.inf
    return worst
