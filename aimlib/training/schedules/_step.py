"""Reduces the rate by a factor at regular intervals."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Integer, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("step")
class StepSchedule(Schedule):
    """`torch.optim.lr_scheduler.StepLR`: the rate is multiplied by `gamma` after every `step_size` epochs."""

    source = "torch.optim.lr_scheduler.StepLR"
    search_space: ClassVar[dict[str, Dimension]] = {"step_size": Integer(1, 100, log=True), "gamma": Real(0.05, 0.9)}

    class Config(ScheduleConfig):
        """Names as in torch."""

        step_size: Annotated[int, Field(ge=1)]
        """Number of epochs between two reductions of the rate."""
        gamma: Annotated[float, Field(gt=0)] = 0.1
        """Factor by which the learning rate is multiplied each time."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        return self.learning_rate * self.config.gamma ** int(time // self.config.step_size)
