"""A memory that contains only noise."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from aimlib.component import Categorical, Dimension, Integer, Real
from aimlib.memory.sources.base import MemoryConfig, MemorySource
from aimlib.registry import memories


@memories.register("noise")
class Noise(MemorySource):
    """Normal numbers with standard deviation `initial_scale`, redrawn for every training batch (or image).

    This source is a control for the effect of additional input as such. Nothing in it is learned, so it has no degrees
    of freedom. Training draws from torch's generator, which the training loop seeds for every epoch. Evaluation uses a
    single fixed draw for all images, batches and runs, so that an image's result does not depend on other images.
    """

    source = "control for: is it the memory's content, or that there is more input?"
    search_space: ClassVar[dict[str, Dimension]] = {
        "channels": Integer(16, 1024, log=True),
        "per": Categorical(("batch", "image")),
        "initial_scale": Real(0.01, 2.0, log=True),
    }

    class Config(MemoryConfig):
        """Size of the memory, and whether noise is drawn per batch or per image."""

        per: Literal["batch", "image"] = "batch"
        """How often the noise is redrawn in training: for every batch, or for every image."""

    config: Config
    fixed_1CHW: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        fixed = torch.empty(1, config.channels, config.rows, config.columns)
        if not fixed.is_meta:  # drawn on the CPU, so that the noise is the same on every device
            drawn = torch.randn(fixed.shape, generator=torch.Generator().manual_seed(0), device="cpu")
            fixed.copy_(drawn * config.initial_scale)
        self.register_buffer("fixed_1CHW", fixed, persistent=False)

    def forward(self, batch: int) -> Tensor:
        """Return the memory [1 or batch, channels, rows, columns]."""
        if not self.training:
            return self.fixed_1CHW
        images = batch if self.config.per == "image" else 1
        like = self.fixed_1CHW.expand(images, -1, -1, -1)
        return torch.randn_like(like, memory_format=torch.contiguous_format) * self.config.initial_scale

    @property
    def degrees_of_freedom(self) -> int:
        """None, because nothing is learned."""
        return 0
