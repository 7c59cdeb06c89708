"""The base of all memory sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from aimlib.component import ComponentConfig

Size = Annotated[int, Field(ge=1)]


class MemoryConfig(ComponentConfig):
    """Size of a memory: channels x rows x columns values. The defaults are the post's 50,176."""

    channels: Size = 1024
    rows: Size = 7
    columns: Size = 7

    @property
    def values(self) -> int:
        """Number of values in the memory."""
        return self.channels * self.rows * self.columns


class MemorySource(nn.Module, ABC):
    """Base of the family `aimlib.memories`: a module without input whose output is the memory.

    A subclass declares its initial values with `aimlib.initialization.declare`.
    """

    Config = MemoryConfig

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, batch: int) -> Tensor:
        """Return the memory before any update.

        Parameters
        ----------
        batch : number of images in the batch; only a source that differs between images needs it.

        Returns
        -------
        [1 or batch, channels, rows, columns]; 1 where the memory is the same for every image.
        """

    @property
    @abstractmethod
    def degrees_of_freedom(self) -> int:
        """Number of values that can differ from one another independently."""
