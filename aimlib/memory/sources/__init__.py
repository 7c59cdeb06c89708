"""Where the memory's first value comes from; one private file per source."""

from aimlib.memory.sources._conv_ones import ConvOnes
from aimlib.memory.sources._parameter import PlainParameter
from aimlib.memory.sources.base import MemoryConfig, MemorySource

__all__ = ["ConvOnes", "MemoryConfig", "MemorySource", "PlainParameter"]
