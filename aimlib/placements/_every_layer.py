"""Every convolution and every dense layer reads the memory: the claim's "memory in every layer"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimlib.memory.structure import Layer
from aimlib.placements.base import Placement
from aimlib.registry import placements


@placements.register("every_layer")
class EveryLayer(Placement):
    """Every convolution, including those in shortcuts, and every dense layer reads the memory."""

    source = "J. Lunkad, Towards AI, 2021: every layer can access the memory"

    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return all layers."""
        return [layer.name for layer in layers]
