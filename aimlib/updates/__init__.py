"""Updates, which compute a new memory from features and memory; one private file per update.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.updates.base import MemoryUpdate, UpdateFactory

__all__ = ["MemoryUpdate", "UpdateFactory"]
