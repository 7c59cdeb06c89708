"""A linear warm-up before any schedule."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from aimlib.component import ComponentConfig, Dimension, Integer
from aimlib.registry import ComponentOf, schedules
from aimlib.training.schedules.base import Schedule, ScheduleConfig


@schedules.register("warmup")
class Warmup(Schedule):
    """Rises linearly to the learning rate; then the other schedule begins, for the remaining epochs.

    This is equivalent to torch's SequentialLR with LinearLR and the other schedule. `cosine` has its own warm-up.
    """

    source = "torch.optim.lr_scheduler.SequentialLR and LinearLR; Goyal et al., 2017"
    search_space: ClassVar[dict[str, Dimension]] = {"warmup_epochs": Integer(1, 20)}

    class Config(ScheduleConfig):
        """Length and start of the warm-up, and the schedule that follows."""

        warmup_epochs: Annotated[int, Field(ge=1)]
        """Number of epochs in which the rate rises linearly."""
        start_factor: Annotated[float, Field(ge=0, le=1)] = 0.01
        """The initial rate, as a share of the learning rate; torchvision's training recipe uses 0.01."""
        schedule: Annotated[ComponentConfig | None, ComponentOf(schedules, optional=True)] = None
        """The schedule that follows; null: the learning rate stays constant."""

        @property
        def uses_validation(self) -> bool:
            """Whether the schedule that follows uses the validation accuracy."""
            return isinstance(self.schedule, ScheduleConfig) and self.schedule.uses_validation

    config: Config

    def __init__(self, config: Config, learning_rate: float, epochs: int) -> None:
        super().__init__(config, learning_rate, epochs)
        self._left = config.warmup_epochs
        self._then: Any = None
        if config.schedule is not None:
            plugin = schedules.get(config.schedule.name)
            self._then = plugin(config.schedule, learning_rate, max(1, epochs - config.warmup_epochs))

    def prepare(self, steps_per_epoch: int) -> None:
        """Pass the number of steps on to the schedule that follows."""
        super().prepare(steps_per_epoch)
        if self._then is not None:
            self._then.prepare(steps_per_epoch)

    def rate(self, time: float) -> float:
        """Return the learning rate at `time` epochs."""
        warmup, start = self.config.warmup_epochs, self.config.start_factor
        if time < warmup:
            return self.learning_rate * (start + (1 - start) * time / warmup)
        return self.learning_rate if self._then is None else float(self._then.rate(time - warmup))

    def after_epoch(self, monitored: float) -> None:
        """Pass accuracies on to the schedule that follows, from the first epoch after the warm-up."""
        if self._left > 0:
            self._left -= 1
        elif self._then is not None:
            self._then.after_epoch(monitored)
