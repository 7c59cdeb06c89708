"""Polynomial decay to 0."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("polynomial")
class Polynomial(Schedule):
    """`torch.optim.lr_scheduler.PolynomialLR`, also within epochs: to 0 along a power of the time that is left."""

    source = "torch.optim.lr_scheduler.PolynomialLR"
    search_space: ClassVar[dict[str, Dimension]] = {"power": Real(0.5, 3.0)}

    class Config(ScheduleConfig):
        """Names as in torch; unlike torch's, the default `total_iters` is the whole run."""

        total_iters: Annotated[int, Field(ge=1)] | None = None
        """Epochs until 0; null: all of the run."""
        power: Annotated[float, Field(gt=0)] = 1.0
        """Exponent of the share of time that is left; 1 is a line."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        left = max(0.0, 1 - time / (self.config.total_iters or self.epochs))
        return float(self.learning_rate * left**self.config.power)
