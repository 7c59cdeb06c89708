"""An update in which the memory's slots attend to the features."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from aimlib.component import Categorical, ComponentConfig, Dimension
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, as_map, channels_of, pool_to


@updates.register("attention")
class Attention(MemoryUpdate):
    """m' = m + the features that each slot gathers from all positions by scaled dot-product attention.

    A slot is a position in the memory with its C channels; there are rows x columns slots. Queries come from the memory
    and a learned vector per slot; without this vector, a memory that is the same at every position would stay the same
    at every position. Keys and values come from the features. Maps with a side longer than `most_side` are first
    averaged down to this size. Dense features count as a single position, from which every slot gathers the same
    values. Queries, keys and values are layer-normalized over their d channels, so that large features or a large
    memory do not make the change explode. Weights are initially Glorot uniform.

    Cost: 2 C d + S d + C + (2 F + 1) d weights for F feature channels, C memory channels, S slots, d hidden channels;
    per image 2 S C d + 2 P F d + 2 S P d multiply-adds for P positions (at most `most_side` squared).
    """

    source = "Vaswani et al., 2017: attention; Jaegle et al., 2021: a latent array that attends to the input"
    search_space: ClassVar[dict[str, Dimension]] = {
        "hidden": Categorical((16, 32, 64, 128, 256)),
        "heads": Categorical((1, 2, 4)),
    }

    class Config(ComponentConfig):
        """Channels of queries, keys and values, summed over all heads, and the maximum side of a map."""

        hidden: Annotated[int, Field(ge=2)] = 64
        """Number of channels in queries, keys and values, summed over all heads."""
        heads: Annotated[int, Field(ge=1)] = 1
        """Number of heads; must divide `hidden`."""
        most_side: Annotated[int, Field(ge=1)] = 14
        """Maximum side of an attended map, in positions; larger maps are averaged down to this size."""

        @model_validator(mode="after")
        def _heads_divide_hidden(self) -> Self:
            if self.hidden % self.heads:
                raise ValueError(f"hidden: {self.hidden} channels cannot be split into {self.heads} heads")
            return self

    config: Config

    def __init__(self, config: Config, features: tuple[int, ...], memory: MemoryConfig, where: str) -> None:
        super().__init__(config, features, memory, where)
        channels = channels_of(features, config.name, where)
        self.query = nn.Linear(memory.channels, config.hidden, bias=False)
        self.slots_SD = nn.Parameter(torch.zeros(memory.rows * memory.columns, config.hidden))
        declare(self, slots_SD=Rule("normal", 1.0))
        self.key = nn.Conv2d(channels, config.hidden, 1, bias=False)
        self.value = nn.Conv2d(channels, config.hidden, 1)
        for part in (self.key, self.value):
            declare(part, weight=Rule("glorot_uniform"))
        self.write = nn.Linear(config.hidden, memory.channels)

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return the new memory [batch, channels, rows, columns]."""
        x_BFHW = as_map(features)
        height, width = x_BFHW.shape[2:]
        most = self.config.most_side
        if max(height, width) > most:
            x_BFHW = pool_to(x_BFHW, min(height, most), min(width, most))
        slots_NSC = memory_NCHW.to(x_BFHW.dtype).flatten(2).transpose(1, 2)
        query = self._heads(self.query(slots_NSC) + self.slots_SD)
        key, value = (self._heads(part(x_BFHW).flatten(2).transpose(1, 2)) for part in (self.key, self.value))
        weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(dim=3)
        gathered_BSD = (weights @ value).transpose(1, 2).flatten(2)
        change_BCS: Tensor = self.write(gathered_BSD).transpose(1, 2)
        return memory_NCHW + change_BCS.reshape(-1, *memory_NCHW.shape[1:])

    def _heads(self, x_NPD: Tensor) -> Tensor:
        """Return [batch, heads, positions, channels per head], normalized over all channels of a position."""
        images, positions, channels = x_NPD.shape
        normal = functional.layer_norm(x_NPD, (channels,))
        return normal.reshape(images, positions, self.config.heads, -1).transpose(1, 2)
