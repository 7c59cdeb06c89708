"""Conformance tests for learning rate schedules."""

from __future__ import annotations

import math
from typing import ClassVar

from aimlib.registry import schedules
from aimlib.testing.conformance import Conformance
from aimlib.testing.tiny_training import assert_reproducible
from aimlib.training.schedules.base import Schedule


class ScheduleConformance(Conformance):
    """Tests for a schedule, whose rate must depend only on the time and the history of accuracies.

    Attributes
    ----------
    epochs, steps : number of epochs of the runs in the tests, and number of training steps in an epoch.
    accuracies : accuracies that are passed to a schedule, one per epoch.
    """

    registry = schedules
    epochs: ClassVar[int] = 6
    steps: ClassVar[int] = 4
    accuracies: ClassVar[tuple[float, ...]] = (0.3, 0.5, 0.5, 0.5, 0.5, 0.6)

    def schedule(self, history: int = 0, learning_rate: float = 0.4) -> Schedule:
        """Return the schedule after it has received the accuracies of the first `history` epochs."""
        config = self.config()
        schedule: Schedule = schedules.get(config.name)(config, learning_rate, self.epochs)
        for accuracy in self.accuracies[:history]:
            schedule.after_epoch(accuracy)
        schedule.prepare(self.steps)
        return schedule

    def times(self, epoch: int) -> list[float]:
        """Return the times of the steps in an epoch."""
        return [epoch + step / self.steps for step in range(self.steps)]

    def test_rates_are_finite_and_not_negative(self) -> None:
        """The test checks every step of a run; the rates must not all be 0."""
        rates = [self.schedule(epoch).rate(time) for epoch in range(self.epochs) for time in self.times(epoch)]
        assert all(math.isfinite(rate) and rate >= 0 for rate in rates)
        assert max(rates) > 0

    def test_asking_changes_nothing(self) -> None:
        """The rate at a time does not depend on earlier calls, because resumed epochs start in the middle."""
        for epoch in range(self.epochs):
            forward, backward = self.schedule(epoch), self.schedule(epoch)
            times = self.times(epoch)
            assert [forward.rate(time) for time in times] == [backward.rate(time) for time in times[::-1]][::-1]

    def test_it_is_replayed_from_the_history(self) -> None:
        """A schedule has the same rates whether it receives accuracies epoch by epoch or all accuracies in one go."""
        going = self.schedule()
        for epoch in range(self.epochs):
            expected = [self.schedule(epoch).rate(time) for time in self.times(epoch)]
            assert [going.rate(time) for time in self.times(epoch)] == expected
            going.after_epoch(self.accuracies[epoch])

    def test_runs_have_the_same_bits_when_they_are_interrupted(self) -> None:
        """A run is trained, then repeated, and then resumed after every step."""
        assert_reproducible({"schedule": {"name": self.name, **self.options}})
