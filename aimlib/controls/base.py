"""The base class of all controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError

if TYPE_CHECKING:  # reading a study must not import torch
    from torch import nn

    from aimlib.memory.attach import AimNetwork


class Control(ABC):
    """Base class of `aimlib.controls`: a transformation that removes one suspected cause of an effect from an AiM arm.

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
        """Return the control's model for the AiM model `model` on images with `shape`.

        Raises
        ------
        UsageError: the control is not possible for this model; the message says why.
        """

    def adjust(self, network: AimNetwork) -> nn.Module:
        """Return the control's network, created from the built and initialized AiM network; `network` may be modified.

        This method is called if `ModelConfig.control` names this control, also for networks on the meta device.

        Raises
        ------
        UsageError: the control changes only the configuration but is set in the model, or it would not change anything
            in this network.
        """
        raise UsageError(
            f"control {self.config.name!r} does not change a network after it is built: set it as the arm's control, "
            f"not in the arm's model, or call its transform"
        )
