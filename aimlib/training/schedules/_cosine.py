"""Cosine decay with linear warm-up (Loshchilov and Hutter, 2017; Goyal et al., 2017)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("cosine")
class Cosine(Schedule):
    """Rises linearly during the warm-up, then falls along half a cosine to `final_fraction` at the end."""

    source = "Loshchilov and Hutter, 2017: SGDR, without restarts"

    class Config(ScheduleConfig):
        """Length of the warm-up in epochs, and the final rate as a fraction of the learning rate."""

        warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
        """Number of epochs in which the rate first rises linearly from 0; fractions are allowed."""
        final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
        """Final rate, as a share of the learning rate."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        warmup, final = min(self.config.warmup_epochs, self.epochs), self.config.final_fraction
        if time < warmup:
            return self.learning_rate * time / warmup
        done = (time - warmup) / (self.epochs - warmup) if self.epochs > warmup else 1.0
        return self.learning_rate * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
