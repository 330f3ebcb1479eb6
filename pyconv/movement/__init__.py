"""How data moves: what was counted, what this machine can do at most, and profile()."""

from __future__ import annotations

from pyconv.movement.ceilings import Ceilings, ceilings
from pyconv.movement.profile import LevelBytes, Profile, profile

__all__ = ["Ceilings", "LevelBytes", "Profile", "ceilings", "profile"]
