"""Memory: the shape rule, the layers that read the memory, and the structure of a network as placements see it.

`aimlib.memory.attach.attach_memory` attaches a memory to a network.
"""

from aimlib.memory.current import CurrentMemory
from aimlib.memory.readers import ConvReader, LinearReader
from aimlib.memory.shape_rule import channels_added, lay_out, read_map
from aimlib.memory.structure import Block, Layer, Layout

__all__ = [
    "Block",
    "ConvReader",
    "CurrentMemory",
    "Layer",
    "Layout",
    "LinearReader",
    "channels_added",
    "lay_out",
    "read_map",
]
