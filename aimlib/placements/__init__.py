"""Placements, which choose the layers that read the memory; one private file per placement.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.placements.base import Placement

__all__ = ["Placement"]
