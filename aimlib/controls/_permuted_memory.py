"""A control in which every image reads a different image's memory."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from aimlib.config import ModelConfig
from aimlib.controls.base import Control
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.current import MemoryView
from aimlib.registry import controls


class _Neighbour:
    """The memory of the next image in the batch; the last image reads the memory of the first."""

    def __init__(self, own: MemoryView) -> None:
        self.own = own

    def read(self) -> Tensor:
        """Return the memory [1 or batch, channels, rows, columns], rotated by one image along the batch dimension."""
        return self.own.read().roll(-1, dims=0)


@controls.register("permuted_memory")
class PermutedMemory(Control):
    """The same network, in which every layer reads a different image's memory, in training and in evaluation.

    The capacity is the same as in AiM, so any loss in accuracy is due to the missing information about the image. The
    updates still use each image's own memory. Images are evaluated in one fixed order that mixes the classes, so two
    neighboring images belong to the same class only as often as expected by chance. If a batch contains only one image,
    that image reads its own memory.
    """

    source = "control for: is it the memory's content about the image?"
    role: ClassVar[str] = "permuted"

    def transform(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        """Return the same model, with this control set.

        Raises
        ------
        UsageError: the memory is the same for every image.
        """
        if model.update is None:
            raise UsageError(
                "control 'permuted_memory' would have no effect: without an update, the memory does not contain any "
                "information about an image; set an update for the arm, or remove this control"
            )
        return model.model_copy(update={"control": self.config})

    def adjust(self, network: AimNetwork) -> nn.Module:
        """Let the readers read a different image's memory."""
        for reader in network.readers():
            reader.memory = _Neighbour(reader.memory)
        return network
