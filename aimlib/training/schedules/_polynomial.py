"""Polynomial decay to 0."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("polynomial")
class Polynomial(Schedule):
    """`torch.optim.lr_scheduler.PolynomialLR`, also within epochs: decays to 0 as a power of the remaining time."""

    source = "torch.optim.lr_scheduler.PolynomialLR"
    search_space: ClassVar[dict[str, Dimension]] = {"power": Real(0.5, 3.0)}

    class Config(ScheduleConfig):
        """Names as in torch; unlike in torch, the default for `total_iters` is the entire run."""

        total_iters: Annotated[int, Field(ge=1)] | None = None
        """Number of epochs until the rate is 0; null: the entire run."""
        power: Annotated[float, Field(gt=0)] = 1.0
        """Exponent of the share of the time that remains; 1 is a linear decay."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        left = max(0.0, 1 - time / (self.config.total_iters or self.epochs))
        return float(self.learning_rate * left**self.config.power)
