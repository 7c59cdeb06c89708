"""The base of all learning-rate schedules. A schedule is a function of history: resuming replays it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from aimlib.component import ComponentConfig


class ScheduleConfig(ComponentConfig):
    """Options of a schedule."""

    monitors_validation: ClassVar[bool] = False
    """Whether it uses the validation accuracy."""

    @property
    def uses_validation(self) -> bool:
        """Whether this schedule does so; a schedule that contains another one returns the answer of that one."""
        return self.monitors_validation


class Schedule(ABC):
    """Base of the family `aimlib.schedules`.

    Parameters
    ----------
    config : the schedule's options.
    learning_rate : the optimizer's.
    epochs : planned number of epochs.

    Attributes
    ----------
    steps_per_epoch : training steps in an epoch, known from `prepare` on, before the first `rate`; 1 until then.
    """

    Config = ScheduleConfig

    def __init__(self, config: ScheduleConfig, learning_rate: float, epochs: int) -> None:
        self.config = config
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.steps_per_epoch = 1

    def prepare(self, steps_per_epoch: int) -> None:
        """Set the number of training steps in an epoch."""
        self.steps_per_epoch = steps_per_epoch

    @abstractmethod
    def rate(self, time: float) -> float:
        """Return the learning rate in force at `time`, in epochs from the start (2.5: the middle of the third)."""

    def after_epoch(self, monitored: float) -> None:  # noqa: B027 -- most schedules use no accuracy
        """Record the monitored accuracy (fraction) after an epoch."""
