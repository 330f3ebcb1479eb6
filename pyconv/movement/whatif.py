"""What if: the model on a machine that is not here, and where algorithms cross over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyconv import _core, compiled
from pyconv.cuda import KERNELS
from pyconv.cuda.device import NOMINAL
from pyconv.cuda.kernel import Ceilings as Rates
from pyconv.cuda.kernel import Movement
from pyconv.cuda.launch import refusal
from pyconv.movement.ceilings import ceilings
from pyconv.movement.events import LEVELS
from pyconv.problem import DTYPES
from pyconv.protocols import Problem

__all__ = ["Machine", "Outlook", "best", "gpu", "quantity", "this_cpu", "whatif"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_EXAMPLES = {"B": "50MB or 512KiB", "B/s": "4.8TB/s", "FLOP/s": "67TFLOP/s"}
GPU_L2_BYTES = 50 * 10**6  # an H200's
# Of a cache, what a layer's arrays may fill before they push each other out: the CPU
# models' condition (csrc/cpu/conv/model.hpp).
SHARE_OF_CACHE = 0.75


def quantity(text: str, unit: str) -> float:
    """Read ``50MB``, ``512KiB``, ``4.8TB/s`` or ``67TFLOP/s``.

    Parameters
    ----------
    text : str
        A number, its prefix and its unit, which may be left out.
    unit : {"B", "B/s", "FLOP/s"}
        What it must be.

    Raises
    ------
    ValueError
        For anything else, and for nothing or less.

    Examples
    --------
    >>> quantity("4.8TB/s", "B/s"), quantity("32KiB", "B")
    (4800000000000.0, 32768.0)
    """
    pattern = rf"(\d+(?:\.\d*)?|\.\d+)\s*([kmgtp]?i?)(?:{unit.lower()})?"
    match = re.fullmatch(pattern, text.strip().lower())
    units = {**_UNITS, **_BINARY}
    if match is None or match[2] not in units or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is no amount such as {_EXAMPLES[unit]}")
    return float(match[1]) * units[match[2]]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the model needs to know of a machine.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    flops : float
        Floating-point operations a second of float32, all cores.
    rates : mapping of str to float
        Bytes a second into "l1" (on CUDA: out of L1 and shared memory), into "l2" (out
        of L2) and "dram" (from memory), all cores.
    capacities : mapping of str to int
        Bytes of "l1" and "l2" of a core and of the shared "l3"; of "l2" on CUDA.
    cores : int
        Of a CPU.
    launch_us : float
        What a launch takes, on CUDA.
    """

    device: str
    flops: float
    rates: Mapping[str, float]
    capacities: Mapping[str, int]
    cores: int = 1
    launch_us: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.device}: {self.flops / 1e9:.4g} GFLOP/s"]
        if self.device == "cpu":
            parts.append(f"{self.cores} cores")
        parts += [
            f"{level} {rate / 1e9:.4g} GB/s" for level, rate in self.rates.items()
        ]
        parts += [
            f"{level} holds {size / 1e6:.4g} MB"
            for level, size in self.capacities.items()
        ]
        return ", ".join(parts)


def this_cpu() -> Machine:
    """Describe this machine's CPU, by its measured ceilings."""
    limits, host = ceilings(), _core.machine()
    return Machine(
        device="cpu",
        flops=limits.flops["float32"],
        rates={level: limits.bytes_a_second(level) for level in LEVELS},
        capacities={
            "l1": host["l1_bytes"],
            "l2": host["l2_bytes"],
            "l3": host["l3_bytes"],
        },
        cores=limits.threads,
    )


def gpu() -> Machine:
    """Describe the GPU that plans assume where none is asked: an H200's datasheet."""
    return Machine(
        device="cuda",
        flops=NOMINAL.flops,
        rates={
            "l1": NOMINAL.l1_bytes,
            "l2": NOMINAL.l2_bytes,
            "dram": NOMINAL.dram_bytes,
        },
        capacities={"l2": GPU_L2_BYTES},
        launch_us=NOMINAL.launch_us,
    )


def with_cores(machine: Machine, cores: int) -> Machine:
    """Give a CPU other cores: arithmetic and caches grow with them, memory does not.

    L3 is taken to come in slices, one for every few cores: its bytes grow as its rate.
    """
    factor = cores / machine.cores
    rates = {
        level: rate * (1.0 if level == "dram" else factor)
        for level, rate in machine.rates.items()
    }
    l3 = round(machine.capacities["l3"] * factor)
    return replace(
        machine,
        cores=cores,
        flops=machine.flops * factor,
        rates=rates,
        capacities={**machine.capacities, "l3": l3},
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the model expects of one algorithm on a machine.

    Parameters
    ----------
    name : str
        The algorithm.
    reason : str
        Why it refuses; empty when it can.
    us : float
        Expected microseconds.
    bound : str
        What takes them: "flops", or the level whose bytes do.
    flops : int
        Operations it executes.
    bytes : mapping of str to int
        By level.
    """

    name: str
    reason: str
    us: float
    bound: str
    flops: int
    bytes: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def _from_memory(moved: Mapping[str, int], compulsory: int, capacity: int) -> int:
    """Estimate what comes from memory where the last cache holds a part of the arrays.

    What it cannot hold is fetched again each time it is asked for.
    """
    held = min(1.0, SHARE_OF_CACHE * capacity / compulsory)
    again = max(0, moved["l2"] - compulsory) * (1.0 - held)
    return max(moved["dram"], compulsory + round(again))


def _outlook(
    name: str, flops: int, moved: Mapping[str, int], machine: Machine, model_us: float
) -> Outlook:
    """Say what binds, and how long: by the model, but no less than the slowest part."""
    parts = {"flops": flops / machine.flops * 1e6} | {
        level: moved[level] / machine.rates[level] * 1e6 for level in LEVELS
    }
    bound = max(parts, key=lambda part: parts[part])
    return Outlook(name, "", max(parts[bound], model_us), bound, flops, moved)


def _on_cpu(problem: Problem, machine: Machine) -> list[Outlook]:
    """Ask the compiled algorithms, their cycles scaled to the machine's arithmetic."""
    sizes = machine.capacities
    host = (machine.cores, sizes["l1"], sizes["l2"], sizes["l3"])
    here = this_cpu()
    if problem.dtype == DTYPES["float64"]:
        machine = replace(machine, flops=machine.flops / 2)
        here = replace(here, flops=here.flops / 2)
    slower = here.flops / here.cores / (machine.flops / machine.cores)
    found = []
    for one in compiled.candidates(problem, host):
        if one.reason:
            found.append(Outlook(one.name, one.reason, 0.0, "", 0, {}))
            continue
        model_us = (one.cost_us + one.pack_us) * slower
        found.append(_outlook(one.name, one.flops, one.bytes, machine, model_us))
    return found


def _on_gpu(problem: Problem, machine: Machine) -> list[Outlook]:
    """Ask the CUDA kernels."""
    if problem.dtype == DTYPES["float64"]:
        machine = replace(machine, flops=machine.flops / 2)
    rates = Rates(
        flops=machine.flops,
        l1_bytes=machine.rates["l1"],
        l2_bytes=machine.rates["l2"],
        dram_bytes=machine.rates["dram"],
        launch_us=machine.launch_us,
    )
    found = []
    for kernel in KERNELS:
        if kernel.operation != problem.operation:
            continue
        reason = refusal(kernel, problem)
        if reason:
            found.append(Outlook(kernel.name, reason, 0.0, "", 0, {}))
            continue
        movement: Movement = kernel.movement(problem)
        moved = {
            "l1": movement.l1_bytes,
            "l2": movement.l2_bytes,
            "dram": movement.dram_bytes,
        }
        moved["dram"] = _from_memory(
            moved, max(problem.compulsory_bytes, 1), machine.capacities["l2"]
        )
        model_us = kernel.cost_us(problem, rates)
        found.append(_outlook(kernel.name, movement.flops, moved, machine, model_us))
    return found


def whatif(problem: Problem, machine: Machine) -> list[Outlook]:
    """Ask the model what every algorithm would take on a machine.

    Parameters
    ----------
    problem : ConvProblem or PoolProblem
        `explain(...).problem`.
    machine : Machine
        This one, another, or none there is. A CPU runs the instruction set in use here.

    Returns
    -------
    list of Outlook
        Of every compiled algorithm or CUDA kernel, quickest first; those that refuse
        come last.
    """
    if problem.n == 0:
        problem = replace(problem, n=1)  # of nothing there is nothing to tell
    found = (_on_cpu if machine.device == "cpu" else _on_gpu)(problem, machine)
    return sorted(found, key=lambda one: (bool(one.reason), one.us))


def best(
    problems: Iterable[Problem], machine: Machine, skip: Iterable[str] = ("reference",)
) -> list[Outlook | None]:
    """Find the quickest algorithm of each problem; None where nothing can do it."""
    left_out = set(skip)
    found: list[Outlook | None] = []
    for problem in problems:
        able = [
            one
            for one in whatif(problem, machine)
            if not one.reason and one.name not in left_out
        ]
        found.append(able[0] if able else None)
    return found
