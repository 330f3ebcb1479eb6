"""Convolution of bfloat16, float16 and bytes: beside PyTorch, ONNX Runtime and float32.

    python -m benchmarks.element_types [--threads 2] [--rounds 3] [--group NAME] [--table]

Layers keep packed weights, outputs are fresh, and every output is checked against exact
sums before anything is timed. `bfloat16`: PyTorch channels first, last, and in the
blocked layout of to_mkldnn with its weights packed. `halves`: pyconv's own float32 on
AVX2, where halves have no arithmetic. `bytes`: uint8 by int8; ConvInteger gives int32 as
pyconv does, QLinearConv rounds to uint8 as well. JSON: types-threads<N>.json.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import pyconv as pc
from benchmarks.groups import read_options, run
from benchmarks.measuring import Budget, family
from benchmarks.oracle import over_bound
from benchmarks.peers import channels_last
from benchmarks.standing import geometric_mean
from benchmarks.timing import alternate
from pyconv import _core
from pyconv.movement.layers import NETWORKS, Layer, square

Array = np.ndarray[Any, Any]
Calls = dict[str, Callable[[], Any]]

BATCHES = (1, 8)
MEMORY: dict[str, Callable[[Array], Array]] = {
    "nchw": np.ascontiguousarray,
    "nhwc": channels_last,
}


class Sums(NamedTuple):
    """What a layer's outputs are in float64, and the sums of their terms' sizes."""

    exact: Array
    sizes: Array
    terms: int


class Group(NamedTuple):
    """What is compared: the denominators' and numerators' names begin so."""

    title: str
    own: str
    peers: dict[str, float]  # prefix to goal
    isa: str = ""


GROUPS = {
    "bfloat16": Group(
        "bfloat16 layers",
        "pyconv-bfloat16",
        {"torch-nchw": 1.1, "torch": 1.0},
    ),
    "float16-avx2": Group(
        "float16 on AVX2, to float32",
        "pyconv-float16",
        {"pyconv-float32": 0.8},
        isa="avx2",
    ),
    "bfloat16-avx2": Group(
        "bfloat16 on AVX2, to float32",
        "pyconv-bfloat16",
        {"pyconv-float32": 0.8},
        isa="avx2",
    ),
    "bytes": Group(
        "uint8 by int8",
        "pyconv",
        {"onnxruntime-integer": 1.0, "onnxruntime": 1.0},
    ),
}


def layers() -> list[Layer]:
    """ResNet-50's and VGG-16's dense layers with stride 1, and odd ones."""
    found = [
        layer
        for name in ("resnet50", "vgg16")
        for layer in NETWORKS[name]
        if set(layer.stride) == {1} and layer.c > 3
    ]
    odd = (
        square("odd", "a", 48, 100, 35, 3, pad=1),
        square("odd", "b", 33, 65, 29, 3, pad=1),
        square("odd", "c", 100, 30, 31, 1),
        square("odd", "d", 64, 96, 27, 5, stride=2, pad=2),
    )
    return [replace(one, n=n) for one in (*found, *odd) for n in BATCHES]


def sums(x: Array, w: Array, layer: Layer) -> Sums:
    """The sums in float64, by PyTorch."""
    wide = [torch.from_numpy(a.astype(np.float64)) for a in (x, w)]
    function: Any = torch.nn.functional.conv2d
    window = (None, layer.stride, layer.padding)
    exact = function(*wide, *window).numpy()
    sizes = function(*(one.abs() for one in wide), *window).numpy()
    return Sums(exact, sizes, layer.terms)


def own(x: Array, w: Array, layer: Layer) -> Calls:
    """Layers of pyconv in both memory orders."""
    name = f"pyconv-{x.dtype.name}"
    made = pc.Conv2d(w, stride=layer.stride, padding=layer.padding)
    return {f"{name}-{key}": partial(made, order(x)) for key, order in MEMORY.items()}


def torch_calls(x: Array, w: Array, layer: Layer) -> Calls:
    """PyTorch on bfloat16: functional in both orders, and packed for oneDNN."""
    tensors = [torch.from_numpy(a).bfloat16() for a in (x, w)]
    function: Any = torch.nn.functional.conv2d
    orders = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    found: Calls = {}
    for name, order in orders.items():
        given = [one.to(memory_format=order) for one in tensors]

        def call(given: Any = given) -> Any:
            with torch.inference_mode():
                return function(*given, None, layer.stride, layer.padding)

        found[f"torch-{name}"] = call
    sizes: Any = (layer.c, layer.k, layer.kernel, layer.stride, layer.padding)
    module = torch.nn.Conv2d(*sizes).eval()
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(w))
        assert module.bias is not None
        module.bias.zero_()
    packed: Any = import_module("torch.utils.mkldnn").to_mkldnn(module, torch.bfloat16)
    blocked = torch.from_numpy(x).to_mkldnn(torch.bfloat16)

    def call_packed() -> Any:
        with torch.no_grad():
            return packed(blocked)

    found["torch-mkldnn"] = call_packed
    return found


def onnx_call(kind: str, x: Array, w: Array, layer: Layer, threads: int) -> Any:
    """A one-node graph of bytes; scales of 1, so that QLinearConv only rounds."""
    import onnx  # noqa: PLC0415 - a peer that may be missing
    import onnxruntime  # noqa: PLC0415

    helper, types = onnx.helper, onnx.TensorProto
    pads = [p for side in zip(*layer.pads, strict=True) for p in side]
    how: dict[str, Any] = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": pads,
    }
    constants = [helper.make_tensor("w", types.INT8, w.shape, w.tobytes(), raw=True)]
    if kind == "ConvInteger":
        names, result = ["x", "w"], types.INT32
    else:
        names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
        result = types.UINT8
        constants += [
            helper.make_tensor(name, types.FLOAT, [], [value])
            for name, value in (("xs", 1.0), ("ws", 1.0), ("ys", 2.0**10))
        ]
        constants += [
            helper.make_tensor(name, of, [], [0])
            for name, of in (
                ("xz", types.UINT8),
                ("wz", types.INT8),
                ("yz", types.UINT8),
            )
        ]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], **how)],
        "layer",
        [helper.make_tensor_value_info("x", types.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", result, layer.y_shape)],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x})[0]


def contenders(key: str, layer: Layer, threads: int) -> tuple[Calls, Sums]:
    """Name to call, and the sums."""
    rng = np.random.default_rng(0)
    if key == "bytes":
        x = rng.integers(0, 256, layer.x_shape, np.uint8)
        w = rng.integers(-128, 128, layer.w_shape, np.int8)
        found = {
            "onnxruntime-integer": onnx_call("ConvInteger", x, w, layer, threads),
            "onnxruntime-qlinear": onnx_call("QLinearConv", x, w, layer, threads),
        }
        return {**found, **own(x, w, layer)}, sums(x, w, layer)
    # Numbers that all types hold, so that they compute the same.
    x, w = (
        rng.standard_normal(shape, np.float32)
        .astype(ml_dtypes.bfloat16)
        .astype(np.float16)
        .astype(ml_dtypes.bfloat16)
        for shape in (layer.x_shape, layer.w_shape)
    )
    single = (x.astype(np.float32), w.astype(np.float32))
    half = np.float16 if key.startswith("float16") else ml_dtypes.bfloat16
    found = torch_calls(*single, layer) if key == "bfloat16" else own(*single, layer)
    return {**found, **own(x.astype(half), w.astype(half), layer)}, sums(*single, layer)


def as_array(result: Any) -> Array:
    """Any contender's result in float64."""
    if isinstance(result, torch.Tensor):
        dense = result.to_dense() if result.is_mkldnn else result
        return np.asarray(dense.double().numpy())
    y: Array = np.asarray(result).astype(np.float64)
    return y


def fault(name: str, y: Array, truth: Sums) -> str:
    """Why a contender is not timed; empty if its result is right.

    Bytes must be exact, other sums within each element's own bound, whoever takes them:
    on layers of so many terms Winograd stays far below the direct sum's.
    """
    if y.shape != truth.exact.shape:
        return f"wrong: shape {y.shape}, expected {truth.exact.shape}"
    if name == "onnxruntime-qlinear":
        scaled = np.clip(np.rint(truth.exact / 2**10), 0, 255)
        return "" if np.abs(y - scaled).max() <= 1 else "wrong"
    if name.startswith(("onnxruntime", "pyconv-uint8")):
        return "wrong" if (y != truth.exact).any() else ""
    dtype = name.split("-")[1] if "pyconv" in name else "bfloat16"
    off = over_bound(y, *truth, dtype)
    return f"wrong: {off:.3g} times the bound" if off > 1 else ""


def measure(key: str, layer: Layer, threads: int, budget: Budget) -> dict[str, Any]:
    """Check and time one layer."""
    before = _core.active_isa()
    if GROUPS[key].isa:
        _core.set_isa(GROUPS[key].isa)
    try:
        calls, truth = contenders(key, layer, threads)
        record: dict[str, Any] = {"case": layer.id, "contenders": {}}
        for name in list(calls):
            y = as_array(calls[name]())
            reason = fault(name, y, truth)
            record["contenders"][name] = {"not_timed": reason} if reason else {}
            if reason:
                del calls[name]
        samples = alternate(
            calls,
            rounds=budget.rounds,
            turn_seconds=budget.turn_seconds,
            rest_seconds=budget.rest_seconds,
            families={name: family(name) for name in calls},
        )
        for name, sample in samples.items():
            record["contenders"][name].update(sample.as_dict())
    finally:
        _core.set_isa(before)
    return record


def ratio(record: dict[str, Any], mine: str, theirs: str) -> float:
    """The best of theirs over the best of mine."""

    def best(prefix: str) -> float:
        times = [
            one["round"]
            for name, one in record["contenders"].items()
            if name.startswith(prefix) and "round" in one
        ]
        return float(min(times, default=math.nan))

    return best(theirs) / best(mine)


def show(report: dict[str, Any], console: Console) -> None:
    """A summary, then every layer."""
    table = Table(title="a peer's time / pyconv's best: above 1 pyconv is faster")
    for name in ("layers", "cases", "peer", "mean", "goal", "lowest", "its case"):
        table.add_column(name)
    for key, records in report["groups"].items():
        group = GROUPS[key]
        for peer, goal in group.peers.items():
            rows = [(ratio(one, group.own, peer), one["case"]) for one in records]
            mean = geometric_mean([value for value, _ in rows])
            low, case = min(rows)
            cells = (f"{mean:.2f}", f"{goal:g}", f"{low:.2f}", case)
            table.add_row(group.title, str(len(rows)), peer, *cells)
    console.print(table)
    for key, records in report["groups"].items():
        names = list(records[0]["contenders"])
        cases = Table(title=f"{GROUPS[key].title}: us a call")
        for name in ("layer", *names):
            cases.add_column(name)
        for record in records:
            times = [record["contenders"].get(name, {}) for name in names]
            row = [
                f"{1e6 * one['round']:.0f}" if "round" in one else "-" for one in times
            ]
            cases.add_row(record["case"], *row)
        console.print(cases)


def main(arguments: list[str]) -> int:
    """Measure the groups asked for, or print what is there."""
    options = read_options(__doc__, GROUPS, arguments)
    named = {layer.id: layer for layer in layers()}
    cases = dict.fromkeys(options.group or GROUPS, named)
    return run("types", options, cases, measure, show)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
