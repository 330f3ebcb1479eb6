"""What a device can do at most: arithmetic, and bytes a second of every level."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyconv import _core
from pyconv.backends import cuda_backend

__all__ = ["SWEEPS", "Ceilings", "ceilings", "l3_count"]

SWEEPS = ("load", "store", "copy")
# Where the bytes come from that `Candidate.bytes` has under a level's name: on a CPU they
# are filled into it, on a GPU they leave it.
SOURCES = {
    "cpu": {"l1": "l2", "l2": "l3", "dram": "memory"},
    "cuda": {"l1": "l1", "l2": "l2", "dram": "memory"},
}
# Elements that instructions of their own multiply in groups, where there are any.
DOTS = ("bfloat16", "int8", "int16", "int32", "int64")
SECONDS = 0.03  # of each loop
MOST_BYTES = 256 << 20  # of a thread


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Rates of a whole device, measured.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".
    name : str
        The instruction set, or the GPU's name.
    threads : int
        How many threads took part; of a GPU none is counted.
    flops : dict of str to float
        Operations a second by element type, from registers; a product and its sum count
        two. On the CPU also of the integers and bfloat16 that the instruction set
        multiplies in groups.
    bandwidth : dict of str to dict
        Bytes a second by where the data lies and what is done: "load", "store" or
        "copy", of which half are read and half written. On the CPU "core" (L1), "l2",
        "l3" and "memory": a line that is stored to is read first, which is not counted;
        no "l3" where a thread's half of its share is not twice an L2. On a GPU "l1"
        (shared memory) and "l2", which are loaded alone, and "memory".
    """

    device: str
    name: str
    threads: int
    flops: dict[str, float]
    bandwidth: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @property
    def title(self) -> str:
        """Say what was measured: "avx2, 2 threads", or a GPU's name."""
        return f"{self.name}, {self.threads} threads" if self.threads else self.name

    def bytes_a_second(self, level: str) -> float:
        """Give the rate at which the bytes of a level of `Candidate.bytes` can move.

        Parameters
        ----------
        level : str
            "l1", "l2" or "dram".
        """
        source = SOURCES[self.device][level]
        if source not in self.bandwidth:
            source = "memory"
        return self.bandwidth[source]["load"]

    def __str__(self) -> str:
        lines = [self.title]
        lines += [
            f"{name:<10}{rate / 1e9:>10.4g} G{_kind(name)}/s"
            for name, rate in self.flops.items()
        ]
        lines.append(f"{'GB/s':<10}" + "".join(f"{sweep:>10}" for sweep in SWEEPS))
        for name, rates in self.bandwidth.items():
            shown = (
                f"{rates[sweep] / 1e9:.4g}" if sweep in rates else "-"
                for sweep in SWEEPS
            )
            lines.append(f"{name:<10}" + "".join(f"{one:>10}" for one in shown))
        return "\n".join(lines)


def _kind(element: str) -> str:
    return "OP" if "int" in element else "FLOP"


@lru_cache(maxsize=1)
def l3_count() -> int:
    """Count the L3 caches of the processors that this process may use; 1 if unknown."""
    try:
        processors = sorted(os.sched_getaffinity(0))
        base = "/sys/devices/system/cpu/cpu{}/cache/index3/shared_cpu_list"
        return len({Path(base.format(one)).read_text() for one in processors})
    except (AttributeError, OSError):
        return 1


def _swept_bytes(threads: int) -> dict[str, int]:
    """Choose what each thread sweeps, so that it lies in one level."""
    host = _core.machine()
    sizes = {"core": host["l1_bytes"] // 2, "l2": host["l2_bytes"] // 2}
    of_l3 = host["l3_bytes"] * l3_count() // threads // 2
    if of_l3 >= 2 * host["l2_bytes"]:
        sizes["l3"] = min(of_l3, 4 * host["l2_bytes"])
    beyond = 4 * max(host["l3_bytes"] * l3_count() // threads, host["l2_bytes"])
    sizes["memory"] = min(max(beyond, 32 << 20), MOST_BYTES)
    return sizes


@lru_cache(maxsize=8)
def _measured(isa: str, threads: int, seconds: float) -> Ceilings:
    """Measure; the same question is asked once in a process."""
    dots = {name: _core.peak_dots(name, seconds) for name in DOTS}
    return Ceilings(
        device="cpu",
        name=isa,
        threads=threads,
        flops={
            "float32": _core.peak_flops(4, seconds),
            "float64": _core.peak_flops(8, seconds),
            **{name: rate for name, rate in dots.items() if rate > 0},
        },
        bandwidth={
            name: {sweep: _core.bandwidth(sweep, size, seconds) for sweep in SWEEPS}
            for name, size in _swept_bytes(threads).items()
        },
    )


@lru_cache(maxsize=8)
def _measured_gpu(number: int) -> Ceilings:
    """Measure the current GPU, whose number is the key."""
    del number
    cuda = cuda_backend()
    flops, bandwidth = cuda.measuring.rates()
    return Ceilings("cuda", cuda.measuring.name(), 0, flops, bandwidth)


def ceilings(seconds: float = SECONDS, device: str = "cpu") -> Ceilings:
    """Measure what this machine can do at most.

    Parameters
    ----------
    seconds : float
        About how long each of the 19 loops on the CPU runs; a second in all by default.
    device : {"cpu", "cuda"}
        What is measured: the CPU with the instruction set in use and
        `get_num_threads()` threads, or the current GPU.

    Returns
    -------
    Ceilings
        Asked again, the first answer is given again. Prints as a table.

    Raises
    ------
    ValueError
        Unless 0 < seconds <= 60; for another device.
    BackendUnavailable
        For "cuda" where there is no GPU, with the reason.
    """
    if device == "cuda":
        return _measured_gpu(cuda_backend().current_device())
    if device != "cpu":
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    return _measured(_core.active_isa(), _core.get_num_threads(), seconds)
