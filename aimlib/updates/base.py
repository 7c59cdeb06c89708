"""The base of all updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from aimlib.component import ComponentConfig
from aimlib.errors import UsageError
from aimlib.memory.sources.base import MemoryConfig


class MemoryUpdate(nn.Module, ABC):
    """Base of the family `aimlib.updates`: features and memory in, new memory out.

    One instance stands after one module of the network.

    Parameters
    ----------
    config : the update's options.
    features : shape of the module's output without the batch, e.g. (channels, height, width).
    memory : size of the memory.
    where : the module's name, for messages.
    """

    Config = ComponentConfig

    def __init__(self, config: ComponentConfig, features: tuple[int, ...], memory: MemoryConfig, where: str) -> None:
        super().__init__()
        self.config = config
        self.memory_size = memory
        self.where = where

    @abstractmethod
    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return the new memory.

        Parameters
        ----------
        features : [batch, *features], the module's output.
        memory_NCHW : [1 or batch, channels, rows, columns], the memory up to here.

        Returns
        -------
        [batch, channels, rows, columns]; [1, ...] only where it does not depend on the features.
        """


UpdateFactory = Callable[[tuple[int, ...], MemoryConfig, str], MemoryUpdate]
"""Makes the update for features of a shape, a memory of a size, at a module of a name."""


def feature_map(features: tuple[int, ...], update: str, where: str) -> tuple[int, int, int]:
    """Return channels, height and width of features that are maps.

    Raises
    ------
    UsageError: the features are not maps.
    """
    if len(features) != 3:
        raise UsageError(
            f"update {update!r} works on feature maps, but {where!r} gives features of shape {list(features)}; "
            f"choose update: none for this backbone"
        )
    return features[0], features[1], features[2]
