"""Bytes and operations that Nsight Compute counts, beside those the model predicts.

Question: does the model of data movement hold on the card? Each kernel runs once on a
few layers, alone, with empty caches.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_contenders import (
    ROOT,
    Queue,
    conv_arrays,
    conv_problem,
    cuda_backend,
)
from benchmarks.gpu_layers import LAYERS
from pyconv.movement import ncu
from pyconv.movement.layers import Layer

__all__ = ["counters", "paired"]

MOST_US = 3000  # by the model: what takes longer is no kernel to choose


def counters(_: Queue, layers: tuple[Layer, ...]) -> dict[str, Any]:
    """Run this module under ncu; say so where ncu is not there."""
    if ncu.missing():
        return {"left_out": ncu.missing()}
    with tempfile.TemporaryDirectory() as folder:
        predicted = Path(folder) / "predicted.json"
        names = [layer.id for layer in layers]
        program = [
            sys.executable,
            "-m",
            "benchmarks.gpu_counters",
            str(predicted),
            *names,
        ]
        (counted,) = ncu.count(program, str(ROOT))
        return paired(json.loads(predicted.read_text()), counted)


def paired(
    predicted: list[dict[str, Any]], counted: list[ncu.Launch]
) -> dict[str, Any]:
    """Give each run its launches, in order; by layer, memory order and kernel."""
    wanted = sum(run["launches"] for run in predicted)
    if wanted != len(counted):
        raise ValueError(f"{wanted} launches were made, and ncu counted {len(counted)}")
    left = iter(counted)
    table: dict[str, Any] = {}
    for run in predicted:
        mine = [next(left) for _ in range(run["launches"])]
        table.setdefault(f"{run['layer']}-{run['memory']}", {})[run["name"]] = {
            "us": sum(one.us for one in mine),
            "predicted_us": run["cost_us"],
            "flops": sum(one.flops for one in mine),
            "predicted_flops": run["flops"],
            "l1_bytes": sum(one.l1_bytes for one in mine),
            "predicted_l1_bytes": run["bytes"]["l1"],
            "l2_bytes": sum(one.l2_bytes for one in mine),
            "predicted_l2_bytes": run["bytes"]["l2"],
            "dram_bytes": sum(one.dram_bytes for one in mine),
            "predicted_dram_bytes": run["bytes"]["dram"],
        }
    return table


def _runs(layers: list[Layer]) -> Iterator[dict[str, Any]]:
    """Run every kernel of a convolution and of its weight gradient once on each."""
    cuda, queue = cuda_backend(), Queue()
    for layer in layers:
        for memory in ("first", "last"):
            (arrays,) = conv_arrays(queue, layer, memory, bias=False, sets=1)
            x, weight, y = (arrays[name] for name in ("x", "weight", "y"))
            for kind, operands in (
                ("ConvProblem", (x, weight, None, None, y)),
                ("WeightProblem", (x, y, weight)),
            ):
                problem = conv_problem(layer, arrays, kind)
                for candidate in cuda.candidates(problem):
                    if candidate["reason"] or candidate["cost_us"] > MOST_US:
                        continue
                    plan = cuda.plan(problem, candidate["name"])
                    cuda.run(plan, *operands)
                    yield {
                        "layer": layer.id,
                        "memory": memory,
                        "name": f"{problem.operation} {candidate['name']}",
                        "cost_us": candidate["cost_us"],
                        "bytes": candidate["bytes"],
                        "flops": candidate["flops"],
                        "launches": len(plan.launches),
                    }
    queue.cupy.cuda.Device().synchronize()


def main(path: str, *names: str) -> None:
    """Run what ncu is to count, and write what was predicted."""
    layers = [layer for layer in LAYERS if layer.id in names]
    Path(path).write_text(json.dumps(list(_runs(layers))))


if __name__ == "__main__":
    main(*sys.argv[1:])
