"""The base class of all learning-rate schedules. A schedule is a function of the history: resuming replays it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from aimlib.component import ComponentConfig


class ScheduleConfig(ComponentConfig):
    """Options for a schedule."""

    monitors_validation: ClassVar[bool] = False
    """Whether it uses the validation accuracy."""

    @property
    def uses_validation(self) -> bool:
        """Whether this schedule, or a schedule that it contains, uses the validation accuracy."""
        return self.monitors_validation


class Schedule(ABC):
    """Base class of the `aimlib.schedules` plugins.

    Parameters
    ----------
    config : the schedule's options.
    learning_rate : the optimizer's learning rate.
    epochs : planned number of epochs.

    Attributes
    ----------
    steps_per_epoch : training steps in an epoch; set by `prepare`, which is called before the first call to `rate`; 1
        until then.
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
        """Return the learning rate at `time`, in epochs from the start (2.5: the middle of the third epoch)."""

    def after_epoch(self, monitored: float) -> None:  # noqa: B027 -- most schedules do not use an accuracy
        """Record the monitored accuracy, as a fraction, after an epoch."""
