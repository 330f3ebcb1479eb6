"""One run on a GPU: ceilings, launch cost, correctness, convolutions and pooling.

Question: how far are the CUDA kernels from this card's own ceilings, and from PyTorch
(cuDNN) on the same arrays in the same run? Each section's JSON is written before the
next starts, so a run that is cut short keeps what it has.

    python -m benchmarks.gpu --out results-folder [--sections ceilings conv]

Buffers rotate through more memory than the L2 holds; a spin kernel keeps the queue
full, so the card's time is what the events see; contenders take turns, and medians with
quartiles are reported. An answer is checked before it is
timed.
"""

# ruff: noqa: PLC0415 - CuPy and PyTorch are imported only where a GPU is used

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_ceilings import ceilings, conformance, launch
from benchmarks.gpu_contenders import (
    ROOT,
    SAMPLES,
    Queue,
    conv_arrays,
    conv_problem,
    cuda_backend,
    exact_conv,
    ours,
    pool_arrays,
    pool_problem,
    relative_error,
    torch_conv,
    torch_or_none,
)
from benchmarks.gpu_counters import counters
from benchmarks.gpu_gradients import gradients
from benchmarks.gpu_layers import COUNTED, LAYERS, POOLS
from benchmarks.gpu_warmup import warmup
from benchmarks.ladders import GPU_PROBLEMS, every
from benchmarks.ladders import show as show_ladder
from pyconv.movement.layers import Layer

PACKAGES = ("cupy-cuda13x", "torch", "numpy", "nvidia-cuda-nvrtc", "nvidia-cudnn-cu13")

TOLERANCE = 1e-5  # a relative error of float32 sums

# ---- sections -----------------------------------------------------------------------


def correctness(_: Queue) -> dict[str, Any]:
    """Run every kernel on the awkward shapes of the tests, against float64.

    The oracle takes most of the time: processes share the cases.
    """
    workers = min(12, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_check_every, range(workers), [workers] * workers))
    return {
        "runs": sum(runs for runs, _ in parts),
        "failures": [failure for _, failures in parts for failure in failures],
    }


def _check_every(first: int, step: int) -> tuple[int, list[str]]:
    """Run each `step`th case from the first on; how many, and what failed."""
    from tests.emulation.on_device import every_run

    failures: list[str] = []
    mine = list(every_run())[first::step]
    for operation, kernel, case, check in mine:
        try:
            check(kernel, case)
        except Exception as error:  # noqa: BLE001 - a kernel that fails is a finding
            told = f"{type(error).__name__}: {str(error).strip()[:200]}"
            failures.append(f"{operation} {kernel.name} {case.name}: {told}")
    return len(mine), failures


def conv(queue: Queue) -> dict[str, Any]:
    """Ours and PyTorch's on published layers: both memory orders, bias, TF32, bf16."""
    types = ("float32",) if torch_or_none() is None else ("float32", "bfloat16")
    table: dict[str, Any] = {}
    for layer in LAYERS:
        row: dict[str, Any] = {
            "flops": layer.flops,
            "compulsory_bytes": layer.compulsory_bytes(),
            "times": {},
        }
        for dtype, memory, bias in _settings(types):
            row["times"].update(_conv_times(queue, layer, memory, dtype, bias=bias))
        for time in row["times"].values():
            if "median_us" in time:
                time["tflops"] = layer.flops / time["median_us"] * 1e-6
        table[layer.id] = row
        show(layer.id, row["times"])
    return table


def _settings(types: tuple[str, ...]) -> Iterator[tuple[str, str, bool]]:
    """Combine types, orders and bias: a bias with float32 alone."""
    yield from product(types, ("first", "last"), (False,))
    yield from product(("float32",), ("first", "last"), (True,))


def _conv_times(
    queue: Queue, layer: Layer, memory: str, dtype: str, *, bias: bool
) -> dict[str, Any]:
    """Check and time every contender on one layer, order, type and bias."""
    cuda, torch = cuda_backend(), torch_or_none()
    arrays = conv_arrays(queue, layer, memory, bias=bias, dtype=dtype)
    is_float32 = dtype == "float32"
    problem = conv_problem(layer, arrays[0])
    order = "nchw" if memory == "first" else "nhwc"
    suffix = f"{order}{'_bias' if bias else ''}{'' if is_float32 else '_bf16'}"
    runs: dict[str, Callable[[int], object]] = {}
    notes: dict[str, Any] = {}
    exact = exact_conv(torch, layer, arrays[0]) if torch is not None else None
    for candidate in cuda.candidates(problem):
        name = f"pyconv_{candidate['name']}_{suffix}"
        if candidate["reason"]:
            notes[name] = {"refused": candidate["reason"]}
            continue
        run = ours(cuda, layer, candidate["name"], arrays)
        arrays[0]["y"].fill(np.nan if is_float32 else -1)  # -1 is a NaN of bfloat16
        run(0)
        error = relative_error(torch, arrays[0]["y"], exact)
        notes[name] = {"relative_error": error, "predicted_us": candidate["cost_us"]}
        if error is None or error < (TOLERANCE if is_float32 else 1e-2):
            runs[name] = run
        else:
            notes[name]["wrong"] = "not timed"
    if torch is not None:
        for tf32 in (False, True) if is_float32 else (False,):
            name = f"torch_{'tf32' if tf32 else 'fp32'}_{suffix}"
            runs[name] = torch_conv(torch, layer, arrays, tf32=tf32)
    for name, time in queue.turns(runs).items():
        notes.setdefault(name, {}).update(time)
    return notes


def pool(queue: Queue) -> dict[str, Any]:
    """Ours and PyTorch's pooling, both memory orders; device memory is the ceiling."""
    cuda, torch = cuda_backend(), torch_or_none()
    table: dict[str, Any] = {}
    for kind, shape, kernel, stride, padding in POOLS:
        for memory in ("first", "last"):
            out = tuple((n + 2 * padding - kernel) // stride + 1 for n in shape[2:])
            made = pool_arrays(queue, shape, (*shape[:2], *out), memory)
            problem = pool_problem(kind, made[0], kernel, stride, padding)
            entry: dict[str, Any] = {"relative_error": {}}
            runs: dict[str, Callable[[int], object]] = {}
            exact = None
            if torch is not None:
                theirs = getattr(torch.nn.functional, f"{kind}_pool2d")
                tensors = [torch.from_dlpack(one["x"]) for one in made]
                options = (kernel, stride, padding)
                runs["torch"] = partial(_their_pool, theirs, tensors, options)
                exact = theirs(tensors[0].double(), *options)
            for candidate in cuda.candidates(problem):
                if candidate["reason"]:
                    continue
                plan = cuda.plan(problem, candidate["name"])
                run = partial(_our_pool, cuda, plan, made)
                made[0]["y"].fill(np.nan)
                run(0)
                name = f"pyconv_{plan.algorithm}"
                error = relative_error(torch, made[0]["y"], exact)
                entry["relative_error"][name] = error
                if error is None or error < TOLERANCE:
                    runs[name] = run
            entry["times"] = queue.turns(runs)
            moved = made[0]["x"].nbytes + made[0]["y"].nbytes
            for time in entry["times"].values():
                time["gbytes_per_s"] = moved / time["median_us"] * 1e-3
            size = "x".join(map(str, shape))
            name = f"{kind}-{size}-{kernel}s{stride}-{memory}"
            table[name] = entry
            show(name, entry["times"])
    return table


def _our_pool(cuda: Any, plan: Any, made: list[dict[str, Any]], call: int) -> None:
    """Pool one of the sets of arrays."""
    one = made[call % len(made)]
    cuda.run(plan, one["x"], one["y"], None)


def _their_pool(
    pool2d: Callable[..., object],
    tensors: list[Any],
    options: tuple[int, int, int],
    call: int,
) -> object:
    """Pool one of the sets of arrays with PyTorch."""
    return pool2d(tensors[call % len(tensors)], *options)


def ladders(_: Queue) -> dict[str, Any]:
    """Every kernel on a few layers, timed by events, counted by ncu where it may."""
    found: dict[str, Any] = {}
    for title, told in every(GPU_PROBLEMS, ["--ncu"]):
        found[title] = told
        show_ladder(title, told)
    return found


# ---- the run ------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[Queue], dict[str, Any]]] = {
    "warmup": partial(warmup, layers=LAYERS),
    "ceilings": ceilings,
    "launch": launch,
    "conformance": conformance,
    "correctness": correctness,
    "conv": conv,
    "gradients": partial(gradients, layers=LAYERS),
    "pool": pool,
    "counters": partial(counters, layers=COUNTED),
    "ladders": ladders,
}


def show(title: str, times: dict[str, Any]) -> None:
    """Print one row's medians."""
    print(title)
    for name, time in times.items():
        if "median_us" in time:
            print(f"    {name:36} {time['median_us']:10.1f} us")


def describe(commit: str = "") -> dict[str, Any]:
    """The machine, its driver, the versions and the commit, as JSON values."""
    query = "name,driver_version,clocks.sm,clocks.mem,power.limit,memory.total"
    return {
        "gpu": _line("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": dict(_versions()),
        "cudnn_search": True,  # torch_or_none asks for it
        "commit": commit or _line("git", "rev-parse", "HEAD"),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _line(*command: str) -> str:
    """First line a command prints; empty if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen sections; 1 if there is no GPU or an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=[*SECTIONS])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("gpu-results"),
        help="folder for one JSON file a section (default: gpu-results)",
    )
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each time")
    parser.add_argument("--commit", default="", help="where the files are no checkout")
    chosen = parser.parse_args(arguments)
    reason = cuda_backend().availability()
    if reason:
        print(f"There is no GPU to measure: {reason}.")
        return 1
    chosen.out.mkdir(parents=True, exist_ok=True)
    machine, queue, wrong = describe(chosen.commit), Queue(chosen.samples), False
    print(json.dumps(machine, indent=1))
    for name in chosen.sections:
        print(f"== {name}", flush=True)
        result = SECTIONS[name](queue)
        wrong |= bool(result.get("failures"))
        path = chosen.out / f"{name}.json"
        path.write_text(json.dumps({"machine": machine, name: result}, indent=1))
        if name not in {"conv", "pool", "counters", "ladders"}:
            print(json.dumps(result, indent=1), flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
