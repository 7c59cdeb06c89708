"""Memory sources: the initial memory of a forward pass; one private file per source.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.memory.sources.base import MemoryConfig, MemorySource

__all__ = ["MemoryConfig", "MemorySource"]
