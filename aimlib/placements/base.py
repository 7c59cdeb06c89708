"""The base class of all placements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from aimlib.component import ComponentConfig
from aimlib.memory.structure import Layer


class Placement(ABC):
    """Base class of the family `aimlib.placements`: a rule that chooses the layers that read the memory."""

    Config = ComponentConfig

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def reads(self, layers: Sequence[Layer]) -> Iterable[str]:
        """Return the names of the layers that read the memory, chosen from `layers` (in forward-pass order).

        A layer with an `obstacle` may be returned; such a layer is skipped and reported.
        """
