"""The control that asks: what if the memory is never learned."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from aimlib.config import ModelConfig
from aimlib.controls.base import Control
from aimlib.datasets.base import ImageShape
from aimlib.memory.attach import AimNetwork
from aimlib.registry import controls


@controls.register("frozen_memory")
class FrozenMemory(Control):
    """The same network; memory source and update blocks keep their initial parameters, readers are trained.

    The batch norms of update blocks go on normalizing and tracking their statistics: these are no learned
    parameters, and without them the control would differ from AiM in the scale of its memory as well. A memory that is
    carried across batches goes on, too: it is no parameter either.
    """

    source = "control for: is it what the memory learns, or that there are more inputs to read?"
    role: ClassVar[str] = "frozen"

    def transform(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        """Return the same model with this control in it."""
        return model.model_copy(update={"control": self.config})

    def adjust(self, network: AimNetwork) -> nn.Module:
        """Take the parameters of sources and updates away from the optimizer."""
        for source in network.sources():
            source.requires_grad_(False)
        network.updates.requires_grad_(False)
        return network
