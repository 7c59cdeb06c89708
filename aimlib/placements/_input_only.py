"""Only the layer whose input is the image reads the memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimlib.memory.structure import Layer
from aimlib.placements.base import Placement
from aimlib.registry import placements


@placements.register("input_only")
class InputOnly(Placement):
    """The first layer in the forward pass reads the memory."""

    source = "ablation of the post's every layer: memory as an extra input of the network"

    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return the first layer."""
        return [layers[0].name] if layers else []
