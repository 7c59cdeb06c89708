"""Only the first layer of every stage reads the memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimlib.memory.structure import Layer
from aimlib.placements.base import Placement
from aimlib.registry import placements


@placements.register("stage_only")
class StageOnly(Placement):
    """The first layer on the main path of every stage's first block reads the memory."""

    source = "ablation of the post's every layer: one read per spatial resolution"

    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return the first layer of every stage."""
        return [layer.name for layer in layers if layer.first_in_stage]
