"""The tiles of the ladder's rungs with a halo in shared memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ONE_OUTPUT", "TILES", "HaloTile"]


@dataclass(frozen=True, slots=True)
class HaloTile:
    """Tile constants; channels come from the shared memory there is."""

    name: str
    block_p: int
    block_q: int
    block_k: int
    thread_outputs: int
    thread_k: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        positions = self.block_p * self.block_q // self.thread_outputs
        return positions * (self.block_k // self.thread_k)


# 4 x 8 sums a thread: 32 accumulators + 12 operands stay well under the 168 registers
# that let three 128-thread blocks share a multiprocessor.
TILES = (
    HaloTile("wide", 8, 32, 32, 4, 8),
    HaloTile("square", 16, 16, 32, 4, 8),
    HaloTile("small", 8, 8, 64, 4, 8),
    HaloTile("flat", 1, 256, 32, 4, 8),
    HaloTile("few_filters", 8, 32, 4, 4, 4),
    HaloTile("one_filter", 8, 32, 1, 2, 1),
    HaloTile("one_filter_small", 8, 8, 1, 1, 1),
)
ONE_OUTPUT = (
    HaloTile("wide", 8, 32, 1, 1, 1),
    HaloTile("flat", 1, 256, 1, 1, 1),
    HaloTile("small", 8, 8, 1, 1, 1),
)
