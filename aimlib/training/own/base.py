"""The base class of training code that a package registers. A study usually specifies a function instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from aimlib.training.own.config import OwnRunConfig
    from aimlib.training.own.run import OwnRun


class TrainingCode(ABC):
    """Base class of the `aimlib.trainers` plugins."""

    Config = ComponentConfig

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def train(self, config: OwnRunConfig, run: OwnRun) -> None:
        """Train, and report every epoch to `run`.

        Parameters
        ----------
        config : the run's configuration; ``config.options`` contains the arm's `options`.
        run : see `aimlib.training.own.run.OwnRun`.
        """
