"""One rise and one fall of the rate (Smith and Topin, 2018)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("one_cycle")
class OneCycle(Schedule):
    """`torch.optim.lr_scheduler.OneCycleLR` with ``cycle_momentum=False``; the learning rate is torch's `max_lr`."""

    source = "torch.optim.lr_scheduler.OneCycleLR; Smith and Topin, 2018"
    search_space: ClassVar[dict[str, Dimension]] = {"pct_start": Real(0.05, 0.5)}

    class Config(ScheduleConfig):
        """Names and defaults as in torch."""

        pct_start: Annotated[float, Field(ge=0, le=1)] = 0.3
        """Share of the steps in which the rate rises."""
        anneal_strategy: Literal["cos", "linear"] = "cos"
        """Shape of the curve between the rates: half a cosine, or a line."""
        div_factor: Annotated[float, Field(gt=0)] = 25.0
        """Peak learning rate divided by the initial rate."""
        final_div_factor: Annotated[float, Field(gt=0)] = 1e4
        """Initial rate divided by the final rate."""
        three_phase: bool = False
        """true: the rate falls back to the initial rate for as long as it rose, and then to the final rate; false: it
        falls directly to the final rate."""

    config: Config

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        step, begun = time * self.steps_per_epoch, 0.0
        phases = self._phases()
        for number, (end, first, last) in enumerate(phases):
            if step <= end or number == len(phases) - 1:
                return self._between(first, last, min(1.0, (step - begun) / (end - begun)) if end > begun else 1.0)
            begun = end
        raise AssertionError("there are phases")

    def _phases(self) -> list[tuple[float, float, float]]:
        """Return the last step of each phase, counted from 0, and the rates at the phase's start and end."""
        config, most, steps = self.config, self.learning_rate, self.epochs * self.steps_per_epoch
        start = most / config.div_factor
        least, rise = start / config.final_div_factor, config.pct_start * steps
        if config.three_phase:
            return [(rise - 1, start, most), (2 * rise - 2, most, start), (steps - 1, start, least)]
        return [(rise - 1, start, most), (steps - 1, most, least)]

    def _between(self, first: float, last: float, share: float) -> float:
        if self.config.anneal_strategy == "linear":
            return first + (last - first) * share
        return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
