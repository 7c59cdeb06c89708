"""Exponential decay."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("exponential")
class Exponential(Schedule):
    """`torch.optim.lr_scheduler.ExponentialLR`, but updated in every step: multiplies the rate by `gamma` per epoch."""

    source = "torch.optim.lr_scheduler.ExponentialLR"
    search_space: ClassVar[dict[str, Dimension]] = {"gamma": Real(0.8, 0.999)}

    class Config(ScheduleConfig):
        """Names as in torch."""

        gamma: Annotated[float, Field(gt=0)]
        """Factor by which the learning rate is multiplied per epoch."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        return float(self.learning_rate * self.config.gamma**time)
