"""A placement in which every n-th layer reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import ComponentConfig, Dimension, Integer
from aimlib.memory import Layer
from aimlib.placements import Placement
from aimlib.registry import placements


@placements.register("every_nth")
class EveryNth(Placement):
    """In the order of the forward pass, every n-th layer reads the memory, starting with the first."""

    source = "example: how many reads does it take?"
    search_space: ClassVar[dict[str, Dimension]] = {"n": Integer(1, 8)}

    class Config(ComponentConfig):
        """The distance between readers."""

        n: Annotated[int, Field(ge=1)] = 2

    config: Config

    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return the names of the layers that read the memory."""
        return [layer.name for layer in layers[:: self.config.n]]
