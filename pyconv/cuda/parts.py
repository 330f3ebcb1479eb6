"""The addition of parts that an earlier launch left in the workspace, as the host sees it."""

from __future__ import annotations

from pyconv.cuda.kernel import Ceilings, ceil_div

__all__ = ["ADD_THREADS", "IN_FLIGHT", "STEP_US", "add_rows", "adding_us"]

ADD_THREADS = 256
MOST_ROWS = 32
LEAST_PARTS = 4  # of a thread
IN_FLIGHT = 4  # loads of a thread: loops are unrolled as often
# A load of device memory, of which a thread has a few in flight: a placeholder, no GPU
# has been asked.
STEP_US = 0.15


def add_rows(parts: int) -> int:
    """Choose how many threads take turns at an element's parts."""
    rows = ceil_div(parts, LEAST_PARTS)
    return min(1 << (rows.bit_length() - 1), MOST_ROWS)


def adding_us(parts: int, rows: int, ceilings: Ceilings) -> float:
    """Estimate microseconds of the launch, bound by a thread's chain of loads."""
    return ceilings.launch_us + ceil_div(parts, rows * IN_FLIGHT) * STEP_US
