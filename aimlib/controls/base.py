"""The base of all controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError

if TYPE_CHECKING:  # studies are read without torch
    from torch import nn

    from aimlib.memory.attach import AimNetwork


class Control(ABC):
    """Base of the family `aimlib.controls`: a transformation that removes from an AiM arm what is to be explained.

    Attributes
    ----------
    role : the arm's role in the verdict (``matched``, ``frozen``, ``permuted``, or ``other``).
    """

    Config = ComponentConfig
    role: ClassVar[str] = "other"

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def transform(self, model: ModelConfig, shape: ImageShape) -> ModelConfig:
        """Return the control's model for the AiM model `model` on images of `shape`.

        Raises
        ------
        UsageError: the control is not possible for this model; the message says why.
        """

    def adjust(self, network: AimNetwork) -> nn.Module:
        """Return the control's network, made from the built and initialized AiM network, which may be modified.

        Called if `ModelConfig.control` names this control, also on the meta device.

        Raises
        ------
        UsageError: the control changes only the configuration, but was written into the model; or it would change
            nothing in this network.
        """
        raise UsageError(
            f"control {self.config.name!r} changes nothing in a built network: write it as the control of the arm, not "
            f"into its model, or call its transform"
        )
