"""How features rewrite the memory; one private file per update."""

from aimlib.updates._conv_sigmoid import ConvSigmoid
from aimlib.updates.base import MemoryUpdate, UpdateFactory

__all__ = ["ConvSigmoid", "MemoryUpdate", "UpdateFactory"]
