"""Which counters say how many bytes crossed into a cache, and how many operations ran.

A level's bytes are the lines that were filled into it from beyond it, by loads, stores
and prefetches alike: written lines leave again, and no core's counter sees that.

Sources: AMD, Processor Programming Reference of families 19h and 1Ah (PMCx003, PMCx044,
PMCx071, PMCx072); Intel, event files of the perfmon project; Arm, Architecture Reference
Manual, common events. Codes are umask << 8 | event.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LEVELS", "QUANTITIES", "Event", "Quantity", "events_of", "processor"]

HARDWARE, RAW = 0, 4  # enum perf_type_id of the kernel
CACHE_MISSES = 3  # enum perf_hw_id

LEVELS = ("l1", "l2", "dram")
QUANTITIES = ("flops", *LEVELS)


@dataclass(frozen=True, slots=True)
class Event:
    """One counter as perf_event_open names it, and what one count of it stands for.

    Parameters
    ----------
    type, config : int
        perf_event_attr's.
    worth : int
        Bytes, or floating-point operations.
    """

    type: int
    config: int
    worth: int


Quantity = tuple[Event, ...]
"""What is added up for one figure."""


def _lines(*codes: int, line_bytes: int = 64) -> Quantity:
    """Count filled lines."""
    return tuple(Event(RAW, code, line_bytes) for code in codes)


# AMD from Zen 3 on. Fills of L1 by where they came from: 0x01 L2; 0x02, 0x04 and 0x10
# caches beyond it; 0x08 and 0x40 memory. Besides them L2's own prefetchers (umask 0x1F;
# 0xE0 are L1's, whose fills PMCx044 has): PMCx071 found its line in L3, PMCx072 in memory.
_AMD: Mapping[str, Quantity] = {
    "flops": (Event(RAW, 0x0F03, 1),),  # a fused multiply-add counts two
    "l1": _lines(0x5F44),
    "l2": _lines(0x5E44, 0x1F71, 0x1F72),
    "dram": _lines(0x4844, 0x1F72),
}

# Intel: FP_ARITH_INST_RETIRED by width, of which a fused multiply-add counts two;
# L1D.REPLACEMENT, L2_LINES_IN.ALL (moved with Sapphire Rapids), LONGEST_LAT_CACHE.MISS.
_INTEL_FLOPS = tuple(
    Event(RAW, umask << 8 | 0xC7, lanes)
    for umask, lanes in (
        (0x01, 1),
        (0x02, 1),
        (0x04, 2),
        (0x08, 4),
        (0x10, 4),
        (0x20, 8),
        (0x40, 8),
        (0x80, 16),
    )
)


def _intel(lines_in: int) -> Mapping[str, Quantity]:
    """Give Intel's counters, of which one has another code on later cores."""
    return {
        "flops": _INTEL_FLOPS,
        "l1": _lines(0x0151),
        "l2": _lines(lines_in),
        "dram": _lines(0x412E),
    }


# Skylake, Cascade Lake and Ice Lake; Sapphire, Emerald and Granite Rapids.
_INTEL_MODELS = {
    **dict.fromkeys((0x4E, 0x5E, 0x55, 0x8E, 0x9E, 0x6A, 0x6C, 0x7D, 0x7E), 0x1FF1),
    **dict.fromkeys((0x8F, 0xCF, 0xAD, 0xAE), 0x1F25),
}

# Arm's common events: L1D_CACHE_REFILL, L2D_CACHE_REFILL, LL_CACHE_MISS_RD.
_ARM: Mapping[str, Quantity] = {
    "flops": (),
    "l1": _lines(0x03),
    "l2": _lines(0x17),
    "dram": _lines(0x37),
}

_GENERIC: Mapping[str, Quantity] = {
    "flops": (),
    "l1": (),
    "l2": (),
    "dram": (Event(HARDWARE, CACHE_MISSES, 64),),
}

AMD_FAMILIES = (0x19, 0x1A)


def processor() -> tuple[str, int, int]:
    """Name this processor's vendor ("AMD", "Intel", "Arm" or ""), family and model."""
    if platform.machine() in ("aarch64", "arm64"):
        return "Arm", 0, 0
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "", 0, 0
    facts = {}
    for line in text.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    vendors = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}
    vendor = vendors.get(facts.get("vendor_id", ""), "")
    return vendor, int(facts.get("cpu family", "0")), int(facts.get("model", "0"))


def events_of(vendor: str, family: int, model: int) -> Mapping[str, Quantity]:
    """Look up a processor's counters of every quantity; () where none is known."""
    if vendor == "AMD" and family in AMD_FAMILIES:
        return _AMD
    if vendor == "Intel" and family == 6 and model in _INTEL_MODELS:
        return _intel(_INTEL_MODELS[model])
    if vendor == "Arm":
        return _ARM
    return _GENERIC
