"""The rate falls by a factor at given epochs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Integers, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("multi_step")
class MultiStep(Schedule):
    """`torch.optim.lr_scheduler.MultiStepLR`: times `gamma` after each of the epochs `milestones`."""

    source = "torch.optim.lr_scheduler.MultiStepLR"
    search_space: ClassVar[dict[str, Dimension]] = {"gamma": Real(0.05, 0.9)}

    class Config(ScheduleConfig):
        """Names as in torch."""

        milestones: Integers
        """Numbers of epochs after which the rate falls."""
        gamma: Annotated[float, Field(gt=0)] = 0.1
        """Factor on the learning rate at each of them."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        return self.learning_rate * self.config.gamma ** sum(time >= each for each in self.config.milestones)
