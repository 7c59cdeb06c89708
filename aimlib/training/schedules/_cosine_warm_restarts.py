"""Cosine decay with warm restarts (Loshchilov and Hutter, 2017)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Integer
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("cosine_warm_restarts")
class CosineWarmRestarts(Schedule):
    """`torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`, stepped in fractions of epochs."""

    source = "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts; Loshchilov and Hutter, 2017"
    search_space: ClassVar[dict[str, Dimension]] = {"T_0": Integer(1, 50, log=True), "T_mult": Integer(1, 3)}

    class Config(ScheduleConfig):
        """Names as in torch."""

        T_0: Annotated[int, Field(ge=1)]
        """Number of epochs until the first restart."""
        T_mult: Annotated[int, Field(ge=1)] = 1
        """Factor by which the length of a period is multiplied to get that of the next period."""
        eta_min: Annotated[float, Field(ge=0)] = 0.0
        """Lowest learning rate, at the end of every period."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        period, least = self.config.T_0, self.config.eta_min
        if self.config.T_mult == 1:
            time %= period
        while time >= period:
            time, period = time - period, period * self.config.T_mult
        return least + (self.learning_rate - least) * (1 + math.cos(math.pi * time / period)) / 2
