"""Operations and cache fills of the CPU algorithms, counted by simulation.

    python -m benchmarks.simulated [--networks resnet50 vgg16] [--jobs 2] [--layout NCHW]

Question: does the model of data movement hold where no hardware counter can be read?
Valgrind's callgrind runs every algorithm on every distinct layer once, on one thread with
AVX2, caches emptied before: it counts each instruction, and simulates an L1 and an L2 of
this machine's sizes (least recently used goes, nothing is fetched ahead). Floating-point
instructions are weighted by their lanes as hardware counters do. JSON goes to
benchmarks/results/<machine>/simulated.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import pyconv as pc
from benchmarks import machine
from pyconv import _core, compiled
from pyconv.movement.layers import NETWORKS, Layer
from pyconv.protocols import Candidate

__all__ = ["compared", "flops_of", "predicted", "read_dump"]

ISA = "avx2"
LINE_BYTES = 64
EVICTED_BYTES = 16 << 20
MOST_FLOPS = {"reference": 3e8, "reordered": 1e9, "cache_tiled": 1e9}  # else too slow
# The function through which every algorithm is run, as callgrind names it.
_OBJECT = "pybind11::object const&"
ENTRY = (
    f"pyconv::bindings::(anonymous namespace)::run(pyconv::ConvPlan const&, {_OBJECT}, "
    f"{_OBJECT}, {_OBJECT}, {_OBJECT}, {_OBJECT}, "
    "std::shared_ptr<pyconv::bindings::(anonymous namespace)::PackedWeight> const&)"
)
_LANES = {
    "ymm": {"ps": 8, "pd": 4},
    "xmm": {"ps": 4, "pd": 2},
    "zmm": {"ps": 16, "pd": 8},
}
_ARITHMETIC = re.compile(
    r"^v?(fn?m(?:add|sub|addsub|subadd)(?:132|213|231)|add|sub|mul|div|sqrt)(ps|pd|ss|sd)$"
)


def flops_of(mnemonic: str, operands: str) -> int:
    """Count the operations of one x86 instruction; 0 for what is no arithmetic.

    Parameters
    ----------
    mnemonic, operands : str
        As objdump writes them, such as ``vfmadd231ps`` and ``%ymm1,%ymm2,%ymm3``.
    """
    found = _ARITHMETIC.match(mnemonic)
    if found is None:
        return 0
    operation, kind = found.groups()
    width = next((w for w in ("zmm", "ymm", "xmm") if w in operands), "xmm")
    lanes = _LANES[width].get(kind, 1)
    return lanes * (2 if operation.startswith("f") else 1)


@lru_cache(maxsize=1)
def _arithmetic(library: str) -> dict[int, int]:
    """Disassemble the library: operations by the address of each instruction."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {}
    for line in text.splitlines():
        address, colon, rest = line.partition(":\t")
        if colon:
            mnemonic, _, operands = rest.partition(" ")
            flops = flops_of(mnemonic.strip(), operands)
            if flops:
                found[int(address, 16)] = flops
    return found


def read_dump(text: str, library: str, arithmetic: dict[int, int]) -> dict[str, float]:
    """Read one of callgrind's dumps: operations, and bytes filled into each level.

    Parameters
    ----------
    text : str
        The dump, names and positions uncompressed, with instructions.
    library : str
        The object whose instructions are counted.
    arithmetic : dict of int to int
        Operations by address.
    """
    (events,) = re.findall(r"^events: (.*)$", text, re.MULTILINE)
    (summary,) = re.findall(r"^totals: (.*)$", text, re.MULTILINE)
    totals = dict(zip(events.split(), map(int, summary.split()), strict=False))
    flops = 0
    ours = skip = False
    for line in text.splitlines():
        if line.startswith("ob="):
            ours = line[3:] == library
        elif line.startswith("calls="):
            skip = True  # the next line is what the callee took
        elif ours and line.startswith("0x"):
            if not skip:
                address, _, times = line.split()[:3]
                flops += int(times) * arithmetic.get(int(address, 16), 0)
            skip = False
        elif line.startswith("0x"):
            skip = False
    return {
        "flops": float(flops),
        "l1": float(LINE_BYTES * (totals["D1mr"] + totals["D1mw"])),
        "l2": float(LINE_BYTES * (totals["DLmr"] + totals["DLmw"])),
    }


def _call(layer: Layer, layout: str) -> tuple[Any, Any, dict[str, Any]]:
    """Make a layer's arrays and arguments."""
    shape = layer.x_shape
    if layout == "NHWC":
        shape = (shape[0], *shape[2:], shape[1])
    given: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.pads,
        "groups": layer.groups,
        "layout": layout,
    }
    return np.ones(shape, np.float32), np.ones(layer.w_shape, np.float32), given


def _figures(one: Candidate) -> dict[str, int]:
    """What is predicted of an algorithm."""
    return {"flops": one.flops, "l1": one.bytes["l1"], "l2": one.bytes["l2"]}


def _runs(layer: Layer, layout: str) -> Iterator[tuple[str, Any, dict[str, int]]]:
    """Give the algorithms that are run on a layer, and what is predicted of them."""
    x, w, given = _call(layer, layout)
    for one in pc.explain(pc.conv2d, x, w, **given).candidates:
        if one.reason or one.rounding == "fft":
            continue
        if layer.flops <= MOST_FLOPS.get(one.name, float("inf")):
            run = partial(pc.conv2d, x, w, algorithm=one.name, **given)
            yield one.name, run, _figures(one)


def child(network: str, names: list[str], layout: str, only: list[str] | None) -> None:
    """Run every algorithm once on some layers, and say what is predicted."""
    pc.set_num_threads(1)
    other = np.ones(EVICTED_BYTES // 4, np.float32)
    for layer in NETWORKS[network]:
        if layer.name not in names:
            continue
        for algorithm, call, figures in _runs(layer, layout):
            if only and algorithm not in only:
                continue
            other.sum()  # empties the simulated caches
            call()
            told = {"case": f"{layer.id}-{layout.lower()}", "algorithm": algorithm}
            print(json.dumps({**told, "predicted": figures}), flush=True)


def _caches() -> list[str]:
    """Describe this machine's L1 and L2 to callgrind."""
    host = _core.machine()
    # Ways that give a power of two of sets, as callgrind wants them.
    options = []
    for level, size in (("D1", host["l1_bytes"]), ("LL", host["l2_bytes"])):
        ways = next(w for w in (8, 12, 16, 10, 20) if _is_power(size // LINE_BYTES / w))
        options.append(f"--{level}={size},{ways},{LINE_BYTES}")
    return options


def _is_power(value: float) -> bool:
    return value == int(value) and int(value) & (int(value) - 1) == 0


def compared(
    network: str, names: list[str], layout: str, only: list[str] | None = None
) -> list[dict[str, Any]]:
    """Run some layers of a network under callgrind; predicted beside counted."""
    library = str(Path(_core.__file__).resolve())
    environment = {**os.environ, "PYCONV_FORCE_ISA": ISA, "PYCONV_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--dump-instr=yes"),
                *("--compress-strings=no", "--compress-pos=no", "--cache-sim=yes"),
                *_caches(),
                f"--dump-before={ENTRY}",
                f"--dump-after={ENTRY}",
                f"--callgrind-out-file={folder}/dump",
                *(sys.executable, "-m", "benchmarks.simulated", "--layout", layout),
                *("--networks", network, "--child", *names),
                *(("--only", *only) if only else ()),
            ],
            capture_output=True,
            text=True,
            cwd=machine.ROOT,
            env=environment,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise RuntimeError(f"valgrind failed: {said[-1] if said else 'no word'}")
        told = [json.loads(line) for line in done.stdout.splitlines()]
        dumps = sorted(
            (path for path in Path(folder).glob("dump.*")),
            key=lambda path: int(path.suffix[1:]),
        )
        texts = [path.read_text() for path in dumps]
        after = [text for text in texts if "Trigger: --dump-after" in text]
        if len(after) != len(told):
            raise RuntimeError(f"{len(told)} calls were made, and {len(after)} counted")
        arithmetic = _arithmetic(library)
        return [
            {**one, "measured": read_dump(text, library, arithmetic)}
            for one, text in zip(told, after, strict=True)
        ]


def main(arguments: list[str]) -> int:
    """Simulate the layers; 1 where valgrind or objdump is not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--networks", nargs="+", default=["resnet50", "vgg16"])
    parser.add_argument("--layout", choices=("NCHW", "NHWC"), default="NCHW")
    parser.add_argument("--jobs", type=int, default=machine.available_cores())
    parser.add_argument("--out", type=Path, help="the JSON's path")
    parser.add_argument(
        "--only", nargs="+", help="algorithms; the others' counts in the JSON are kept"
    )
    parser.add_argument(
        "--again",
        type=Path,
        help="a JSON whose counts are kept: what is predicted is asked anew",
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.networks[0], options.child, options.layout, options.only)
        return 0
    if options.again:
        return again(options.again)
    absent = [name for name in ("valgrind", "objdump") if shutil.which(name) is None]
    if absent:
        print(f"simulated: {' and '.join(absent)} not installed", file=sys.stderr)
        return 1
    name = f"simulated-{options.layout.lower()}.json"
    path = options.out or machine.results_folder() / name
    report: dict[str, Any] = {"machine": machine.describe(), "simulated": {}}
    if options.only and path.exists():
        report["simulated"] = json.loads(path.read_text())["simulated"]
    report["machine"] |= {"isa": ISA, "threads": 1, "simulator": _version()}
    jobs = [
        (network, [layer.name])
        for network in options.networks
        for layer in NETWORKS[network]
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(
            lambda job: compared(job[0], job[1], options.layout, options.only), jobs
        ):
            for one in found:
                runs = report["simulated"].setdefault(one["case"], {})
                runs[one["algorithm"]] = {
                    key: one[key] for key in ("predicted", "measured")
                }
                print(_line(one), flush=True)
            path.write_text(json.dumps(report, indent=1))
    print(f"written: {path}")
    return 0


def predicted(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ask the model, for the caches of a report's machine, about all that was counted.

    Returns
    -------
    dict
        As the report's "simulated": by case, then algorithm: "predicted", "measured".
    """
    caches = report["machine"]["caches"]
    host = (
        report["machine"]["cores"],
        *(caches[f"{level}_bytes"] for level in ("l1", "l2", "l3")),
    )
    by_case = {
        f"{layer.id}-{layout.lower()}": (layer, layout)
        for layers in NETWORKS.values()
        for layer in layers
        for layout in ("NCHW", "NHWC")
    }
    found: dict[str, dict[str, Any]] = {}
    before = _core.active_isa()
    _core.set_isa(report["machine"]["isa"])
    try:
        for case, runs in report["simulated"].items():
            x, w, given = _call(*by_case[case])
            problem = pc.explain(pc.conv2d, x, w, **given).problem
            found[case] = {
                one.name: {**runs[one.name], "predicted": _figures(one)}
                for one in compiled.candidates(problem, host)
                if one.name in runs
            }
    finally:
        _core.set_isa(before)
    return found


def again(path: Path) -> int:
    """Ask the model anew, and keep what was counted."""
    report = json.loads(path.read_text())
    report["simulated"] = predicted(report)
    path.write_text(json.dumps(report, indent=1))
    for case, runs in report["simulated"].items():
        for name, run in runs.items():
            print(_line({"case": case, "algorithm": name, **run}))
    return 0


def _version() -> str:
    return machine.first_line("valgrind", "--version")


def _line(one: dict[str, Any]) -> str:
    """Write the ratios of predicted to counted."""
    ratios = " ".join(
        f"{key} {one['predicted'][key] / max(value, 1.0):.3f}"
        for key, value in one["measured"].items()
    )
    return f"{one['case']:<48}{one['algorithm']:<18}{ratios}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
