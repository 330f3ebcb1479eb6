"""The other libraries, each at its best setting, behind one small Protocol.

A contender prepares a layer once (weights packed, buffers bound, memory order set) and
hands back a call without arguments: only that call is timed. `output` calls once and
shows the result as an array of shape (N, K, *output), so that it is checked first. A
library that is not installed is reported by `installed`, never an error; imports happen
inside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyconv.movement.layers import Layer

Array = NDArray[Any]


@dataclass(frozen=True)
class Prepared:
    """A timed call, and another that shows what it computes."""

    run: Callable[[], object]
    output: Callable[[], Array]


class Contender(Protocol):
    """Something that can compute a convolution layer."""

    @property
    def name(self) -> str:
        """Row name in tables and JSON."""

    @property
    def version(self) -> str:
        """Version of the library."""

    def supports(self, layer: Layer) -> str:
        """Why it cannot do the layer; empty if it can."""

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """Everything that happens once: x, w, b are C-contiguous float32."""


def checkable(call: Callable[[], Any], view: Callable[[Any], Array]) -> Prepared:
    """A call whose result, seen through `view`, can be checked."""
    return Prepared(run=call, output=lambda: view(call()))


def channels_last(x: Array) -> Array:
    """The same values, shape (N, C, *spatial) still, with the channels innermost."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


class Torch:
    """PyTorch's functional convolution under inference_mode, in one memory order."""

    def __init__(self, threads: int, memory: str) -> None:
        self.torch: Any = import_module("torch")
        self.torch.set_num_threads(threads)
        self.memory = memory
        self.name = f"torch-{memory}"
        self.version = str(self.torch.__version__)

    def supports(self, layer: Layer) -> str:
        """Rank 1 has no channels-last memory format."""
        if self.memory == "nhwc" and layer.rank == 1:
            return "torch has no channels-last format of rank 1"
        return ""

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """Input and weight are put in the memory order beforehand."""
        torch = self.torch
        function = getattr(torch.nn.functional, f"conv{layer.rank}d")
        tx, tw, tb = (torch.from_numpy(a) for a in (x, w, b))
        if self.memory == "nhwc":
            order = torch.channels_last if layer.rank == 2 else torch.channels_last_3d
            tx, tw = tx.to(memory_format=order), tw.to(memory_format=order)
        padding: Any = layer.padding
        uneven: list[int] = []
        if any(layer.extra):
            # Its convolution pads both sides alike: the rest is a call of its own.
            padding = 0
            uneven = [p for pair in reversed(layer.pads) for p in pair]
        rest = (tb, layer.stride, padding, layer.dilation, layer.groups)

        def call() -> Any:
            with torch.inference_mode():
                given = torch.nn.functional.pad(tx, uneven) if uneven else tx
                return function(given, tw, *rest)

        return checkable(call, lambda y: np.asarray(y.numpy()))


class OnnxRuntime:
    """A one-node ONNX graph, input and output bound once (no copies in the call)."""

    def __init__(self, threads: int) -> None:
        self.ort: Any = import_module("onnxruntime")
        self.onnx: Any = import_module("onnx")
        self.threads = threads
        self.name = "onnxruntime"
        self.version = str(self.ort.__version__)

    def supports(self, layer: Layer) -> str:
        """Every rank and group count."""
        del layer
        return ""

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """Weights are initialisers, so that the session packs them."""
        helper = self.onnx.helper
        kind = self.onnx.TensorProto.FLOAT
        node = helper.make_node(
            "Conv",
            ["x", "w", "b"],
            ["y"],
            kernel_shape=list(layer.kernel),
            strides=list(layer.stride),
            pads=[p for side in zip(*layer.pads, strict=True) for p in side],
            dilations=list(layer.dilation),
            group=layer.groups,
        )
        graph = helper.make_graph(
            [node],
            "layer",
            [helper.make_tensor_value_info("x", kind, layer.x_shape)],
            [helper.make_tensor_value_info("y", kind, layer.y_shape)],
            [self.onnx.numpy_helper.from_array(a, n) for a, n in ((w, "w"), (b, "b"))],
        )
        # Opset 17 and IR 9: old enough for every onnxruntime that runs here.
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
        )
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        session = self.ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        y = np.empty(layer.y_shape, np.float32)
        binding = session.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_output("y", "cpu", 0, np.float32, layer.y_shape, y.ctypes.data)

        def call() -> Array:
            session.run_with_iobinding(binding)
            return y

        return checkable(call, lambda result: result)


class Ncnn:
    """A one-layer ncnn net, loaded through its own file formats."""

    def __init__(self, threads: int) -> None:
        self.ncnn: Any = import_module("ncnn")
        self.threads = threads
        self.name = "ncnn"
        self.version = str(self.ncnn.__version__)

    def supports(self, layer: Layer) -> str:
        """The net holds one image of rank 2."""
        if layer.rank != 2:
            return "compared at rank 2 only"
        return "" if layer.n == 1 else "ncnn has no batch axis"

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """Writes the net to a temporary folder and reads it back."""
        ncnn = self.ncnn
        kind = "Convolution" if layer.groups == 1 else "ConvolutionDepthWise"
        fields = {
            0: layer.k,
            1: layer.kernel[1],
            11: layer.kernel[0],
            2: layer.dilation[1],
            12: layer.dilation[0],
            3: layer.stride[1],
            13: layer.stride[0],
            4: layer.padding[1],
            14: layer.padding[0],
            15: layer.pads[1][1],
            16: layer.pads[0][1],
            5: 1,
            6: w.size,
            7: layer.groups,
        }
        if layer.groups == 1:
            del fields[7]
        text = " ".join(f"{key}={value}" for key, value in fields.items())
        net = ncnn.Net()
        net.opt.num_threads = self.threads
        with tempfile.TemporaryDirectory() as folder:
            param, weights = Path(folder, "net.param"), Path(folder, "net.bin")
            param.write_text(
                f"7767517\n2 2\nInput x 0 1 x\n{kind} conv 1 1 x y {text}\n"
            )
            # A tag of four zero bytes says: float32 weights follow.
            weights.write_bytes(bytes(4) + w.tobytes() + b.tobytes())
            net.load_param(str(param))
            net.load_model(str(weights))
        image = ncnn.Mat(x[0]).clone()

        def call() -> Any:
            extractor = net.create_extractor()
            extractor.input("x", image)
            return extractor.extract("y")[1]

        return checkable(call, lambda y: np.array(y)[None].reshape(layer.y_shape))


class OpenCV:
    """filter2D on one channel."""

    def __init__(self, threads: int) -> None:
        self.cv2: Any = import_module("cv2")
        self.cv2.setNumThreads(threads)
        self.name = "opencv"
        self.version = str(self.cv2.__version__)

    def supports(self, layer: Layer) -> str:
        """One channel, stride 1, the output as large as the input."""
        return one_channel(layer) or ("" if layer.rank == 2 else "images only")

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """The bias is filter2D's delta; the border is zeros, as in the layer."""
        del layer
        cv2 = self.cv2
        image, kernel, delta = x[0, 0], w[0, 0], float(b[0])

        def call() -> Any:
            return cv2.filter2D(
                image, -1, kernel, delta=delta, borderType=cv2.BORDER_CONSTANT
            )

        return checkable(call, lambda y: np.asarray(y)[None, None])


class SciPy:
    """One-channel filtering in SciPy; one thread is all it has.

    ndimage.correlate adds tap by tap in float64; signal.fftconvolve goes through the
    transform, and wins where the kernel is large.
    """

    def __init__(self, threads: int, method: str) -> None:
        del threads
        self.method = method
        self.ndimage: Any = import_module("scipy.ndimage")
        self.signal: Any = import_module("scipy.signal")
        self.name = f"scipy-{method}"
        self.version = str(import_module("scipy").__version__)

    def supports(self, layer: Layer) -> str:
        """One channel, stride 1, the output as large as the input."""
        return one_channel(layer)

    def prepare(self, layer: Layer, x: Array, w: Array, b: Array) -> Prepared:
        """Adds the bias in the call: the others do too."""
        del layer
        image, kernel, bias = x[0, 0], w[0, 0], b[0]
        flipped = np.ascontiguousarray(np.flip(kernel))

        def correlate() -> Any:
            y = self.ndimage.correlate(image, kernel, mode="constant")
            y += bias
            return y

        def fft() -> Any:
            y = self.signal.fftconvolve(image, flipped, mode="same")
            y += bias
            return y

        call = fft if self.method == "fft" else correlate
        return checkable(call, lambda y: np.asarray(y)[None, None])


def one_channel(layer: Layer) -> str:
    """Why an image filter cannot do the layer; empty if it can."""
    if (layer.n, layer.c, layer.k) != (1, 1, 1):
        return "an image filter has one channel"
    if set(layer.stride) != {1} or set(layer.dilation) != {1}:
        return "an image filter has stride and dilation 1"
    if layer.output != layer.spatial or any(n % 2 == 0 for n in layer.kernel):
        return "an image filter keeps the extents and has an odd kernel"
    return ""


MAKERS: dict[str, Callable[[int], Contender]] = {
    "torch-nchw": lambda threads: Torch(threads, "nchw"),
    "torch-nhwc": lambda threads: Torch(threads, "nhwc"),
    "onnxruntime": OnnxRuntime,
    "ncnn": Ncnn,
    "opencv": OpenCV,
    "scipy-correlate": lambda threads: SciPy(threads, "correlate"),
    "scipy-fft": lambda threads: SciPy(threads, "fft"),
}


def installed(threads: int) -> tuple[dict[str, Contender], dict[str, str]]:
    """Peers that import here, set to `threads` threads, and why the others do not."""
    found: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    for name, make in MAKERS.items():
        try:
            found[name] = make(threads)
        except ImportError as error:
            missing[name] = str(error)
    return found, missing
