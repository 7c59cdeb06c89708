"""Updates, by which features rewrite the memory; one private file per update.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.updates.base import MemoryUpdate, UpdateFactory

__all__ = ["MemoryUpdate", "UpdateFactory"]
