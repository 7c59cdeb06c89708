"""The first convolution of every block reads the memory, as in the author's code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimlib.memory.structure import Layer
from aimlib.placements.base import Placement
from aimlib.registry import placements


@placements.register("block_entry")
class BlockEntry(Placement):
    """The first layer on the main path of every block reads; the shortcuts, the stem and the head do not."""

    source = "github.com/Joy-Lunkad/AiM, commit 3d79d31: the first convolution of each residual block"

    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return the first layer of every block."""
        return [layer.name for layer in layers if layer.first_in_block]
