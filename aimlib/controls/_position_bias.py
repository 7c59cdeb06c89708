"""A control that has a learned bias for every position instead of a memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimlib.config import ModelConfig
from aimlib.controls.base import Control
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.structure import replace_module
from aimlib.registry import controls


class AddedBias(nn.Module):
    """Adds a learned bias for every position and channel, [1, out channels, rows, columns] or [1, out features]."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with the bias added."""
        return x + self.bias.to(x.dtype)


def as_position_biases(network: AimNetwork) -> nn.Module:
    """Return the network without memory, with biases equal to what its layers currently read from the memory.

    A memory that no update rewrites is the same for every image. A layer then reads the same map for every image; this
    map is a bias per position and channel. The outputs of the returned network therefore equal those of `network`,
    which is modified.

    Raises
    ------
    UsageError: the network has updates, so the memory differs between images and cannot be replaced by biases.
    """
    if len(network.updates):
        raise UsageError("a memory with updates differs from image to image; biases cannot represent it")
    network.memory.write(network.source(1))
    if network.static_source is not None and network.static_memory is not None:
        network.static_memory.write(network.static_source(1))
    try:
        for reading, reader in zip(network.attachment.readers, list(network.readers()), strict=True):
            read = reader.read(reading.height, reading.width).detach().clone()
            layers: list[tuple[str, nn.Module]] = [("layer", reader.plain()), ("position_bias", AddedBias(read))]
            replace_module(network.network, reading.layer, nn.Sequential(OrderedDict(layers)))
    finally:
        network.memory.clear()
        if network.static_memory is not None:
            network.static_memory.clear()
    return network.network


@controls.register("position_bias")
class PositionBias(Control):
    """A network without memory: every layer that would read it has a learned bias per position, initially zero.

    AiM without updates computes the same functions as this control, with different parameters: `as_position_biases`
    converts any AiM network without updates. If the control is as accurate as AiM without updates, the memory has no
    advantage over biases. The layers have the same initial values as in the other arms. The memory's size and source
    have no effect; its placement determines which layers have biases.
    """

    source = "control for: is it a memory, or a bias for every position?"
    role: ClassVar[str] = "other"

    def transform(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        """Return the model with this control set, and without the options that affect the memory or how it is read."""
        gone = dict.fromkeys(("update", "update_after", "routing", "carry", "read_init"))
        return model.model_copy(update={**gone, "control": self.config})

    def adjust(self, network: AimNetwork) -> nn.Module:
        """Return the network with biases, initially zero, in place of memory reads."""
        biased = as_position_biases(network)
        for module in biased.modules():
            if isinstance(module, AddedBias):
                with torch.no_grad():
                    module.bias.zero_()
        return biased
