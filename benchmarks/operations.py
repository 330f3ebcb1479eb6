"""Pooling, gradients, transposed convolution, patches: beside PyTorch and ONNX Runtime.

    python -m benchmarks.operations [--threads 2] [--rounds 3] [--group NAME] [--table]

Every output is checked against PyTorch in float64, then the contenders take turns, and
with them, where bandwidth is what bounds a case, a copy of as many bytes as must move. A
ratio is a peer's time over pyconv's best memory order: above 1 pyconv is faster. Outputs
are fresh. JSON: operations-threads<N>.json among this machine's results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.groups import read_options, run
from benchmarks.measuring import Budget, family
from benchmarks.operation_cases import Array, Case, convolutions, patches, pools
from benchmarks.operation_groups import (
    GROUPS,
    HEADINGS,
    cells,
    percent_of_copy,
    row,
)
from benchmarks.timing import alternate
from pyconv import _core

Call = Callable[[], Any]

AGREEMENT = 1e-4  # of the largest value
MEMORY = ("nchw", "nhwc")


def arranged(a: Array, memory: str) -> Array:
    """Channels first or last in memory; the logical axes stay."""
    if memory == "nhwc" and a.ndim == 4:
        last: Array = np.ascontiguousarray(a.transpose(0, 2, 3, 1))
        back: Array = last.transpose(0, 3, 1, 2)
        return back
    first: Array = np.ascontiguousarray(a)
    return first


def drawn(case: Case) -> tuple[Array, ...]:
    """The case's arrays, normal deviates."""
    rng = np.random.default_rng(0)
    own = tuple(rng.standard_normal(s, dtype=np.float32) for s in case.shapes)
    return (*own, *case.given)


def as_tensor(a: Array, memory: str) -> Any:
    """A tensor in a memory order."""
    order = torch.channels_last if memory == "nhwc" else torch.contiguous_format
    tensor = torch.from_numpy(np.ascontiguousarray(a))
    return tensor.to(memory_format=order) if a.ndim == 4 else tensor


def onnx_call(case: Case, x: Array, y: Array, threads: int) -> Call:
    """A one-node graph with bound buffers."""
    import onnx  # noqa: PLC0415 - a peer that may be missing
    import onnxruntime  # noqa: PLC0415

    assert case.onnx is not None
    kind, attributes = case.onnx
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], **attributes)],
        "case",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, y.shape)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    out = np.empty(y.shape, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, out.ctypes.data)

    def call() -> Array:
        session.run_with_iobinding(binding)
        return out

    return call


def contenders(case: Case, arrays: tuple[Array, ...], threads: int) -> dict[str, Call]:
    """Name to call."""
    found: dict[str, Call] = {}
    for memory in MEMORY:
        tensors = [as_tensor(a, memory) for a in arrays]
        found[f"torch-{memory}"] = partial(case.theirs, *tensors)
    if case.onnx is not None:
        y = np.asarray(found["torch-nchw"]())
        found["onnxruntime"] = onnx_call(case, arrays[0], y, threads)
    for memory in MEMORY:
        own = [arranged(a, memory) for a in arrays]
        found[f"pyconv-{memory}"] = partial(case.ours, *own)
    return found


def error_of(result: Any, truth: Array) -> float:
    """The largest error over the largest value."""
    first = result[0] if isinstance(result, tuple) else result
    y = np.asarray(first)
    scale = max(float(np.abs(truth).max()), 1e-30)
    return float(np.abs(y - truth).max()) / scale


def moved_bytes(case: Case, arrays: tuple[Array, ...], result: Any) -> int:
    """Of what must be read and what is written, once each."""
    read = [a for place, a in enumerate(arrays) if place not in case.unread]
    written = result if isinstance(result, tuple) else (result,)
    return sum(a.nbytes for a in (*read, *map(np.asarray, written)))


def copies(moved: int) -> dict[str, Call]:
    """Copies that read half of so many bytes and write half, by every thread and one."""
    source = torch.zeros(max(moved // 8, 1))
    target = torch.zeros_like(source)
    own, there = source.numpy(), target.numpy()
    return {
        "torch-copy": lambda: target.copy_(source),
        "numpy-copy": lambda: np.copyto(there, own),
    }


def past_l2(moved: int, threads: int) -> bool:
    """Whether so many bytes do not stay in the second-level caches."""
    return moved > threads * int(_core.machine()["l2_bytes"])


def measure(case: Case, threads: int, budget: Budget) -> dict[str, Any]:
    """Check and time one case."""
    arrays = drawn(case)
    wide = [
        torch.from_numpy(a.astype(np.float64) if a.dtype == np.float32 else a)
        for a in arrays
    ]
    exact = case.theirs(*wide)
    truth = np.asarray(exact[0] if isinstance(exact, tuple) else exact)
    record: dict[str, Any] = {"case": case.name, "contenders": {}}
    calls = {}
    for name, call in contenders(case, arrays, threads).items():
        error = error_of(call(), truth)
        record["contenders"][name] = {"error": error}
        if error <= AGREEMENT:
            calls[name] = call
        else:
            record["contenders"][name]["not_timed"] = "wrong"
    copying: dict[str, Call] = {}
    if GROUPS[case.group].moves:
        moved = moved_bytes(case, arrays, case.ours(*arrays))
        record.update(moved_bytes=moved, past_l2=past_l2(moved, threads))
        copying = copies(moved)
    calls.update(copying)
    samples = alternate(
        calls,
        rounds=budget.rounds,
        turn_seconds=budget.turn_seconds,
        rest_seconds=budget.rest_seconds,
        families={name: family(name) for name in calls},
    )
    for name, sample in samples.items():
        if name not in copying:
            record["contenders"][name].update(sample.as_dict())
    if copying:
        quickest = min(copying, key=lambda name: samples[name].round)
        record["copy"] = {"by": quickest, **samples[quickest].as_dict()}
        record["percent_of_copy"] = percent_of_copy(record)
    return record


def show(report: dict[str, Any], console: Console) -> None:
    """A summary, then every case."""
    table = Table(title="a peer's time / pyconv's best: above 1 pyconv is faster")
    for name in HEADINGS:
        table.add_column(name, justify="left" if name == "operation" else "right")
    for key in report["groups"]:
        table.add_row(*cells(row(report, key)))
    console.print(table)
    table = Table(title="us a call; bytes that must move, and % of a copy of as many")
    names = ("pyconv-nchw", "pyconv-nhwc", "torch-nchw", "torch-nhwc", "onnxruntime")
    for name in ("operation", "case", *names, "MB", "% of copy"):
        table.add_column(name)
    for key, records in report["groups"].items():
        for record in records:
            times = record["contenders"]
            line = [
                f"{1e6 * times[name]['round']:.0f}"
                if "round" in times.get(name, {})
                else times.get(name, {}).get("not_timed", "-")
                for name in names
            ]
            percent = percent_of_copy(record)
            if percent is None:
                line += ["-", "-"]
            else:
                line += [f"{record['moved_bytes'] / 1e6:.3g}", f"{percent:.0f}"]
            table.add_row(key, record["case"], *line)
    console.print(table)


def main(arguments: list[str]) -> int:
    """Measure the groups asked for, or print what is there."""
    options = read_options(__doc__, GROUPS, arguments)
    cases: dict[str, dict[str, Case]] = {key: {} for key in options.group or GROUPS}
    for case in (*pools(), *convolutions(), *patches()):
        if case.group in cases:
            cases[case.group][case.name] = case
    return run("operations", options, cases, lambda _, *given: measure(*given), show)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
