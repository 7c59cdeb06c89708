"""Lower the learning rate when the validation accuracy stops rising, as Keras's ReduceLROnPlateau does."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("plateau")
class Plateau(Schedule):
    """After `patience` consecutive epochs without a rise of more than `min_delta`, multiply the rate by `factor`."""

    source = "Keras ReduceLROnPlateau, as the author used it: factor 0.1, patience 3, min_delta 1e-4"

    class Config(ScheduleConfig):
        """Defaults as in the author's run."""

        monitors_validation: ClassVar[bool] = True

        factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
        """Factor by which the learning rate is multiplied after `patience` epochs without a gain."""
        patience: Annotated[int, Field(ge=1)] = 3
        """Number of consecutive epochs without a gain after which the rate falls."""
        min_delta: Annotated[float, Field(ge=0, lt=1)] = 1e-4
        """Minimum gain in the monitored accuracy, as a fraction (0.01 is 1 pp); only a larger gain counts."""
        min_learning_rate: Annotated[float, Field(ge=0)] = 0.0
        """The rate never falls below this value."""

    config: Config

    def __init__(self, config: Config, learning_rate: float, epochs: int) -> None:
        super().__init__(config, learning_rate, epochs)
        self._current = learning_rate
        self._best = -math.inf
        self._waited = 0

    def rate(self, time: float) -> float:
        """Return the current learning rate."""
        return self._current

    def after_epoch(self, monitored: float) -> None:
        """Count consecutive epochs without a rise; lower the rate after `patience` such epochs."""
        if monitored > self._best + self.config.min_delta:
            self._best, self._waited = monitored, 0
            return
        self._waited += 1
        if self._waited >= self.config.patience:
            self._current = max(self._current * self.config.factor, self.config.min_learning_rate)
            self._waited = 0
