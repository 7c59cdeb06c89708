"""The base of all controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from aimlib.attachment import AimNetwork
from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape


class Control(ABC):
    """Base of the family `aimlib.controls`: a transformation of an AiM arm into one that lacks what is to be explained.

    Attributes
    ----------
    role : the arm's role in the verdict (``matched``, ``frozen``, or ``other``).
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
        UsageError: the control cannot be made for this model; the message says why.
        """

    def adjust(self, network: AimNetwork) -> None:
        """Change the built and initialized network in place; called where `ModelConfig.control` names this control."""
        raise AssertionError(f"{type(self).__name__} left itself in ModelConfig.control but adjusts nothing")
