"""How data moves: what was counted, what this machine can do at most, and profile()."""

from __future__ import annotations

from pyconv.movement.ceilings import Ceilings, ceilings
from pyconv.movement.ladder import Ladder, Rung, ladder
from pyconv.movement.profile import LevelBytes, Profile, profile

__all__ = [
    "Ceilings",
    "Ladder",
    "LevelBytes",
    "Profile",
    "Rung",
    "ceilings",
    "ladder",
    "profile",
]
