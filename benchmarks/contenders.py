"""pyconv's algorithms as contenders, taken from its registries, and the run's roster.

Every registered algorithm enters in both memory orders; a layer it refuses is reported
with its own reason. What an algorithm predicts (microseconds, workspace and bytes per
memory level) comes from `pc.explain`, which runs nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import pyconv as pc
from benchmarks.peers import Contender, Prepared, channels_last, checkable, installed
from benchmarks.pool_shapes import PoolLayer
from pyconv.movement.layers import Layer

Array = NDArray[Any]

MEMORY_ORDERS = ("nchw", "nhwc")


def arrange(x: Array, memory: str) -> Array:
    """The array in the named memory order, logical axes unchanged."""
    return channels_last(x) if memory == "nhwc" else x


def unread(shape: tuple[int, ...], memory: str) -> Array:
    """An array of that shape and memory order whose contents do not matter."""
    if memory == "nchw":
        return np.empty(shape, np.float32)
    n, c, *spatial = shape
    return np.moveaxis(np.empty((n, *spatial, c), np.float32), -1, 1)


def candidate(explanation: Any, algorithm: str) -> dict[str, Any]:
    """One candidate of an explanation as JSON values."""
    if algorithm == "auto":
        algorithm = explanation.chosen
    for entry in explanation.candidates:
        if entry.name == algorithm:
            return {
                "algorithm": entry.name,
                "rounding": entry.rounding,
                "reason": entry.reason,
                "cost_us": entry.cost_us,
                "workspace_bytes": entry.workspace_bytes,
                "bytes": dict(entry.bytes),
            }
    raise LookupError(f"{algorithm} is no candidate of {explanation}")


def window(layer: Layer) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups as a user would give them."""
    padding = layer.pads if any(layer.extra) else layer.padding
    return (layer.stride, padding, layer.dilation, layer.groups)


class Pyconv:
    """One pyconv convolution algorithm in one memory order."""

    def __init__(self, algorithm: str, memory: str) -> None:
        self.algorithm = algorithm
        self.memory = memory
        self.name = f"pyconv-{algorithm}-{memory}"
        self.version = str(pc.__version__)

    def arguments(
        self, layer: Layer, x: Array, w: Array, b: Array
    ) -> tuple[Any, tuple[Any, ...]]:
        """The public function and its positional arguments."""
        function = getattr(pc, f"conv{layer.rank}d")
        return function, (arrange(x, self.memory), w, b, *window(layer))

    def prediction(self, layer: Layer) -> dict[str, Any]:
        """This algorithm's entry in explain(); the arrays' contents are not read."""
        shapes = (layer.x_shape, layer.w_shape, (layer.k,))
        arrays = [np.empty(shape, np.float32) for shape in shapes]
        function, arguments = self.arguments(layer, *arrays)
        return candidate(pc.explain(function, *arguments), self.algorithm)

    def supports(self, layer: Layer) -> str:
        """The planner's own reason."""
        return str(self.prediction(layer)["reason"])

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """The memory order is set beforehand; weights are given anew at each call."""
        function, arguments = self.arguments(layer, x, w, b)
        algorithm = self.algorithm

        def call() -> Any:
            return function(*arguments, algorithm=algorithm)

        return Prepared(run=call, output=call)


class PyconvLayer:
    """pc.Conv1d, Conv2d, Conv3d with their packed weights, in one memory order.

    With `reuse` the output array is given (`out=`), else each call returns a fresh one
    from the output pool.
    """

    def __init__(
        self, memory: str, *, algorithm: str = "auto", reuse: bool = False
    ) -> None:
        self.algorithm = algorithm
        self.memory = memory
        self.reuse = reuse
        self.name = f"pyconv-layer-{memory}{'-out' if reuse else ''}"
        self.version = str(pc.__version__)

    def make(self, layer: Layer, w: Array, b: Array) -> Any:
        """The public object; nothing is planned before its first call."""
        kind = getattr(pc, f"Conv{layer.rank}d")
        return kind(w, b, *window(layer), algorithm=self.algorithm)

    def explained(self, layer: Layer) -> Any:
        """explain() of one call; the arrays' contents are not read."""
        w, b = np.empty(layer.w_shape, np.float32), np.empty(layer.k, np.float32)
        return pc.explain(self.make(layer, w, b), unread(layer.x_shape, self.memory))

    def prediction(self, layer: Layer) -> dict[str, Any]:
        """This algorithm's entry in explain()."""
        return candidate(self.explained(layer), self.algorithm)

    def supports(self, layer: Layer) -> str:
        """The planner's own reason."""
        return str(self.prediction(layer)["reason"])

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """The memory order is set beforehand, the weights are packed by the first call."""
        convolve = self.make(layer, w, b)
        given = arrange(x, self.memory)
        if self.reuse:
            y = convolve(given)
            return checkable(lambda: convolve(given, out=y), lambda result: result)
        return checkable(lambda: convolve(given), lambda result: result)


class PyconvFunction(Pyconv):
    """The functional call on NCHW input, its weights given anew at each call."""

    def __init__(self) -> None:
        super().__init__("auto", "nchw")
        self.name = "pyconv-function-nchw"


class PoolContender(Protocol):
    """Something that can compute a pooling layer."""

    name: str
    version: str

    def prediction(self, layer: PoolLayer) -> dict[str, Any]:
        """What it says of itself; empty for a peer."""

    def prepare(self, layer: PoolLayer, x: Array) -> Prepared:
        """Everything that happens once."""


class PyconvPool:
    """One pyconv pooling algorithm in one memory order."""

    def __init__(self, algorithm: str, memory: str) -> None:
        self.algorithm = algorithm
        self.memory = memory
        self.name = f"pyconv-{algorithm}-{memory}"
        self.version = str(pc.__version__)

    def arguments(
        self, layer: PoolLayer, x: Array
    ) -> tuple[Any, tuple[Any, ...], dict[str, bool]]:
        """The public function, its positional and its keyword arguments."""
        function = pc.max_pool2d if layer.kind == "max" else pc.avg_pool2d
        sizes = (layer.kernel, layer.stride, layer.padding)
        arguments = (arrange(x, self.memory), *sizes)
        return function, arguments, {"ceil_mode": layer.ceil_mode}

    def prediction(self, layer: PoolLayer) -> dict[str, Any]:
        """This algorithm's entry in explain()."""
        x = np.empty(layer.x_shape, np.float32)
        function, arguments, options = self.arguments(layer, x)
        return candidate(pc.explain(function, *arguments, **options), self.algorithm)

    def prepare(self, layer: PoolLayer, x: Array) -> Prepared:
        """The memory order is set beforehand."""
        function, arguments, options = self.arguments(layer, x)
        algorithm = self.algorithm

        def call() -> Any:
            return function(*arguments, **options, algorithm=algorithm)

        return Prepared(run=call, output=call)


class TorchPool:
    """PyTorch's pooling in one memory order."""

    def __init__(self, torch: Any, memory: str) -> None:
        self.torch = torch
        self.memory = memory
        self.name = f"torch-{memory}"
        self.version = str(torch.__version__)

    def prediction(self, layer: PoolLayer) -> dict[str, Any]:
        """A peer predicts nothing."""
        del layer
        return {}

    def prepare(self, layer: PoolLayer, x: Array) -> Prepared:
        """The memory order is set beforehand."""
        torch = self.torch
        function = getattr(torch.nn.functional, f"{layer.kind}_pool2d")
        tx = torch.from_numpy(x)
        if self.memory == "nhwc":
            tx = tx.to(memory_format=torch.channels_last)
        sizes = (layer.kernel, layer.stride, layer.padding)

        def call() -> Any:
            with torch.inference_mode():
                return function(tx, *sizes, ceil_mode=layer.ceil_mode)

        return Prepared(run=call, output=lambda: np.asarray(call().numpy()))


AUTO = Pyconv("auto", "nchw")


def pyconv_contenders() -> list[Pyconv]:
    """Each registered convolution algorithm in each memory order."""
    return [
        Pyconv(name, memory)
        for name in pc.algorithms("conv")
        for memory in MEMORY_ORDERS
    ]


@lru_cache(maxsize=1)
def peers(threads: int) -> tuple[Contender, ...]:
    """The installed peers."""
    return tuple(installed(threads)[0].values())


def contenders(threads: int) -> list[Contender]:
    """Everyone who can take part in a convolution."""
    return [*pyconv_contenders(), *peers(threads)]


def pool_contenders(threads: int) -> list[PoolContender]:
    """Everyone who can take part in a pooling."""
    own: list[PoolContender] = [
        PyconvPool(name, memory)
        for name in pc.algorithms("pool")
        for memory in MEMORY_ORDERS
    ]
    torch = next((p for p in peers(threads) if p.name.startswith("torch")), None)
    if torch is None:
        return own
    module = torch.torch  # type: ignore[attr-defined]
    return [*own, *(TorchPool(module, memory) for memory in MEMORY_ORDERS)]
