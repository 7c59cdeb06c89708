"""The named layers read the memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from aimlib.component import ComponentConfig, Names
from aimlib.memory.structure import Layer, matching
from aimlib.placements.base import Placement
from aimlib.registry import placements


@placements.register("layers")
class Layers(Placement):
    """The layers whose names match a pattern read the memory: ``names: ["layer3.*.conv2", fc]``."""

    source = "ablation of the post's every layer: any set of layers"

    class Config(ComponentConfig):
        """Names or patterns of layers; ``*``, ``?`` and ``[...]`` as in file names."""

        names: Annotated[Names, Field(min_length=1)]
        """Names or patterns (``layer3.*.conv2``) of the layers that read the memory."""

    config: Config

    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return the layers that match any pattern.

        Raises
        ------
        UsageError: a pattern does not match any layer.
        """
        if not layers:
            return []
        return matching(self.config.names, [layer.name for layer in layers], "layers of this network")
