"""A linear change between two factors."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("linear")
class Linear(Schedule):
    """`torch.optim.lr_scheduler.LinearLR`, also within epochs: from `start_factor` to `end_factor`, times the rate."""

    source = "torch.optim.lr_scheduler.LinearLR"
    search_space: ClassVar[dict[str, Dimension]] = {"end_factor": Real(0.0, 0.5)}

    class Config(ScheduleConfig):
        """Names as in torch; unlike in torch, the default is a linear decay over the entire run."""

        start_factor: Annotated[float, Field(ge=0, le=1)] = 1.0
        """Initial rate, as a share of the learning rate."""
        end_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
        """Final rate, as a share of the learning rate."""
        total_iters: Annotated[int, Field(ge=1)] | None = None
        """Number of epochs until `end_factor` is reached; null: the entire run."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        config = self.config
        done = min(1.0, time / (config.total_iters or self.epochs))
        return self.learning_rate * (config.start_factor + (config.end_factor - config.start_factor) * done)
