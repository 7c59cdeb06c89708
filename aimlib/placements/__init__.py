"""Placements: which layers read the memory; one private file per policy.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.placements.base import Placement

__all__ = ["Placement"]
