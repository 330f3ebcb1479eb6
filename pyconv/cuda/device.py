"""Is there a GPU, and what can it do at most.

Nothing here runs at import. `availability` asks the driver for its device count once
and remembers the answer as a sentence; everything else needs a device to be there.
"""

# ruff: noqa: PLC0415 - CuPy is imported only where a GPU is used

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pyconv.cuda.kernel import Ceilings

__all__ = [
    "NOMINAL",
    "architecture",
    "availability",
    "ceilings",
    "current_device",
    "shared_bytes",
]

# An H200's datasheet rates (fp32, shared memory, L2 as commonly measured, HBM3e) and
# what a launch in a queue takes: what plans assume where no device can be asked.
NOMINAL = Ceilings(
    flops=67e12, l1_bytes=33e12, l2_bytes=6e12, dram_bytes=4.3e12, launch_us=4.0
)
LANES = 128  # fp32 multiply-adds a clock of one multiprocessor, and bytes of its L1
# L2 gives each multiprocessor about 32 bytes a clock (5.5 ... 7 TB/s on H100 and H200).
L2_BYTES_A_CLOCK = 24


@lru_cache(maxsize=1)
def availability() -> str:
    """Say why the CUDA backend cannot run; "" if it can. Never raises.

    The only CUDA call is the device count, made once per process.
    """
    try:
        import cupy
    except Exception as error:  # noqa: BLE001 - a broken CuPy raises anything
        return f"CuPy cannot be imported: {error}"
    try:
        devices = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # noqa: BLE001 - the answer is the sentence
        return _driver_trouble(cupy, error)
    if devices == 0:
        return "the CUDA driver reports no device"
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # noqa: BLE001 - the answer is the sentence
        return (
            "NVRTC, which compiles the kernels, is missing (install "
            f"nvidia-cuda-nvrtc): {_first_line(error)}"
        )
    return ""


def _driver_trouble(cupy: Any, error: Exception) -> str:
    """Say what is wrong with the driver; which is needed, if it is too old."""
    try:
        driver = int(cupy.cuda.runtime.driverGetVersion())
        needed = int(cupy.cuda.runtime.runtimeGetVersion())
    except Exception:  # noqa: BLE001 - then the first error is all there is
        driver = needed = 0
    if 0 < driver < needed:
        return (
            f"the CUDA driver supports CUDA {_version(driver)} at most, and CuPy needs "
            f"a driver for CUDA {_version(needed)}: install a newer driver, or a CuPy "
            f"for CUDA {driver // 1000}"
        )
    return f"the CUDA driver is missing or unusable: {_first_line(error)}"


def _version(number: int) -> str:
    """Write CUDA's 13020 as 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: Exception) -> str:
    """Shorten an error to the line that names it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def current_device() -> int:
    """Give the number of the current device."""
    import cupy

    return int(cupy.cuda.runtime.getDevice())


@lru_cache(maxsize=64)
def architecture(device: int) -> str:
    """Give a device's architecture as NVRTC names it, for example "sm_90"."""
    import cupy

    return f"sm_{cupy.cuda.Device(device).compute_capability}"


# A block's on every device that is not older than sm_80; what plans assume where no
# device can be asked.
USUAL_SHARED_BYTES = 99 * 1024


@lru_cache(maxsize=64)
def _device_shared_bytes(device: int) -> int:
    """Ask the driver for a block's shared memory, opted into."""
    import cupy

    attributes: dict[str, Any] = cupy.cuda.Device(device).attributes
    return int(attributes["MaxSharedMemoryPerBlockOptin"])


def shared_bytes() -> int:
    """Give the shared memory a block of the current device can have at most, in bytes."""
    if availability():
        return USUAL_SHARED_BYTES
    return _device_shared_bytes(current_device())


@lru_cache(maxsize=64)
def _device_ceilings(device: int) -> Ceilings:
    """Compute a device's ceilings from its clocks and counts."""
    import cupy

    attributes: dict[str, Any] = cupy.cuda.Device(device).attributes
    processors = int(attributes.get("MultiProcessorCount", 0))
    clock_hz = 1e3 * int(attributes.get("ClockRate", 0))
    memory_hz = 1e3 * int(attributes.get("MemoryClockRate", 0))
    bus_bytes = int(attributes.get("GlobalMemoryBusWidth", 0)) / 8
    if not (processors and clock_hz and memory_hz and bus_bytes):
        return NOMINAL  # some drivers hide the clocks
    return Ceilings(
        flops=2 * LANES * processors * clock_hz,
        l1_bytes=LANES * processors * clock_hz,
        l2_bytes=L2_BYTES_A_CLOCK * processors * clock_hz,
        dram_bytes=0.9 * 2 * memory_hz * bus_bytes,  # double data rate; 90 % is reached
        launch_us=NOMINAL.launch_us,
    )


def ceilings() -> Ceilings:
    """Give the current device's ceilings; nominal ones where there is no device."""
    if availability():
        return NOMINAL
    return _device_ceilings(current_device())
