"""The base class of all updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from aimlib.component import ComponentConfig
from aimlib.errors import UsageError
from aimlib.memory.sources.base import MemoryConfig


class MemoryUpdate(nn.Module, ABC):
    """Base class of the family `aimlib.updates`: computes a new memory from features and memory.

    Each instance belongs to one module of the network.

    Parameters
    ----------
    config : the update's options.
    features : shape of the module's output without the batch dimension, e.g. (channels, height, width).
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
        features : the module's output, [batch, *features].
        memory_NCHW : the memory before the update, [1 or batch, channels, rows, columns].

        Returns
        -------
        [batch, channels, rows, columns]; the first dimension may be 1 only if the memory does not depend on the
        features.
        """


UpdateFactory = Callable[[tuple[int, ...], MemoryConfig, str], MemoryUpdate]
"""A function that creates the update for a given feature shape, memory size and module name."""


def feature_map(features: tuple[int, ...], update: str, where: str) -> tuple[int, int, int]:
    """Return the channels, height and width of features that are maps.

    Raises
    ------
    UsageError: the features are not maps.
    """
    if len(features) != 3:
        raise UsageError(
            f"update {update!r} works on feature maps, but {where!r} returns features of shape {list(features)}; "
            f"choose update: none for this backbone"
        )
    return features[0], features[1], features[2]


def channels_of(features: tuple[int, ...], update: str, where: str) -> int:
    """Return the number of channels of features that are maps, or the number of dense features (as for one position).

    Raises
    ------
    UsageError: the features are neither maps nor dense features.
    """
    return features[0] if len(features) == 1 else feature_map(features, update, where)[0]


def as_map(features: Tensor) -> Tensor:
    """Return features [batch, channels, height, width]; dense features become maps with one position."""
    return features[:, :, None, None] if features.ndim == 2 else features


def pool_to(x_BCHW: Tensor, rows: int, columns: int) -> Tensor:
    """Return maps averaged down to rows x columns; the values of a smaller map are repeated."""
    # Adaptive pooling would cover all cases, but has no deterministic backward pass on CUDA.
    for dim, side in ((2, rows), (3, columns)):
        if x_BCHW.shape[dim] < side and side % x_BCHW.shape[dim] == 0:
            x_BCHW = x_BCHW.repeat_interleave(side // x_BCHW.shape[dim], dim)
    height, width = x_BCHW.shape[2:]
    if height % rows == 0 and width % columns == 0:
        return functional.avg_pool2d(x_BCHW, (height // rows, width // columns))
    return functional.adaptive_avg_pool2d(x_BCHW, (rows, columns))
