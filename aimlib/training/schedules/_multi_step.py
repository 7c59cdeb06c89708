"""Reduces the rate by a factor at given epochs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Integers, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("multi_step")
class MultiStep(Schedule):
    """`torch.optim.lr_scheduler.MultiStepLR`: the rate is multiplied by `gamma` after each epoch in `milestones`."""

    source = "torch.optim.lr_scheduler.MultiStepLR"
    search_space: ClassVar[dict[str, Dimension]] = {"gamma": Real(0.05, 0.9)}

    class Config(ScheduleConfig):
        """Names as in torch."""

        milestones: Integers
        """Numbers of the epochs after which the rate falls."""
        gamma: Annotated[float, Field(gt=0)] = 0.1
        """Factor by which the learning rate is multiplied each time."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        return self.learning_rate * self.config.gamma ** sum(time >= each for each in self.config.milestones)
