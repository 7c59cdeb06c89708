"""The base of training code that a package registers. A study usually names a function instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from aimlib.training.own.config import OwnRunConfig
    from aimlib.training.own.run import OwnRun


class TrainingCode(ABC):
    """Base of the family `aimlib.trainers`."""

    Config = ComponentConfig

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def train(self, config: OwnRunConfig, run: OwnRun) -> None:
        """Train, and report every epoch to `run`.

        Parameters
        ----------
        config : of the run; ``config.options`` is what the arm gives under `options`.
        run : see `aimlib.training.own.run.OwnRun`.
        """
