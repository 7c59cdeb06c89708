"""A control in which the memory is not learned."""

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
    """The same network, but the memory source and the updates keep their initial parameters; the readers are trained.

    The batch norms in updates still normalize and track statistics. The statistics are not learned parameters; without
    normalization, the control would also differ from AiM in the scale of its memory. A memory that is carried across
    batches also keeps changing, because it is not a parameter.
    """

    source = "control for: is it what the memory learns, or that there are more inputs to read?"
    role: ClassVar[str] = "frozen"

    def transform(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        """Return the same model, with this control set."""
        return model.model_copy(update={"control": self.config})

    def adjust(self, network: AimNetwork) -> nn.Module:
        """Exclude the parameters of memory sources and updates from training."""
        for source in network.sources():
            source.requires_grad_(False)
        network.updates.requires_grad_(False)
        return network
