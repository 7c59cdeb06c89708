"""An update with which the memory slowly follows the features."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from aimlib.component import ComponentConfig, Dimension, Real
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, as_map, channels_of, pool_to


@updates.register("smoothing")
class Smoothing(MemoryUpdate):
    """m' = (1 - rate) m + rate W x: exponential smoothing of the features, pooled to the memory's size.

    Cost: (F + 1) C weights for F feature channels and C memory channels.
    """

    source = "example: Brown, 1956: exponential smoothing"
    search_space: ClassVar[dict[str, Dimension]] = {"rate": Real(0.01, 1.0, log=True)}

    class Config(ComponentConfig):
        """The rate at which the memory follows the features."""

        rate: Annotated[float, Field(gt=0, le=1)] = 0.1

    config: Config

    def __init__(self, config: Config, features: tuple[int, ...], memory: MemoryConfig, where: str) -> None:
        super().__init__(config, features, memory, where)
        self.project = nn.Conv2d(channels_of(features, config.name, where), memory.channels, 1)

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return the new memory [batch, channels, rows, columns]."""
        seen: Tensor = self.project(pool_to(as_map(features), self.memory_size.rows, self.memory_size.columns))
        return memory_NCHW.lerp(seen.to(memory_NCHW.dtype), self.config.rate)
