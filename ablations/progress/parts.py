"""What is known of one run, and of one arm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ablations.progress.pace import Pace
from aimlib.records import RunState


@dataclass(slots=True)
class RunProgress:
    """What is known of one run.

    Attributes
    ----------
    epochs : planned; `epochs_done` of them are complete.
    state : one of `aimlib.records.RUN_STATES`.
    accuracy : validation accuracy of the last completed epoch, a fraction; None before, or without validation images.
    attempts : how often a worker had it in this session.
    where : the worker that had it last.
    began, heard : clock at the start of this attempt, and at its last sign of life.
    reason : why it failed or is tried again.
    curve : validation accuracy by epoch as far as it was seen, while it runs.
    measured : whether an epoch of this attempt was seen.
    seen : last epoch whose accuracy its arm has.
    """

    arm: str
    seed: int
    epochs: int
    state: RunState = "waiting"
    epochs_done: int = 0
    accuracy: float | None = None
    attempts: int = 0
    where: str = ""
    began: float = 0.0
    heard: float = 0.0
    measured: bool = False
    reason: str = ""
    curve: list[float | None] = field(default_factory=list)
    seen: int = 0


class ArmState:
    """What is known of one arm: counts, and the sum of validation accuracies after every epoch."""

    def __init__(self, name: str, expected: float | None = None, weight: float = 0.0) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.runs = self.epochs = 0
        self.epochs_done = 0
        self.pace = Pace(expected, weight)
        self._sums: list[float] = []
        self._numbers: list[int] = []

    def saw(self, epoch: int, accuracy: float | None) -> None:
        """Take in the validation accuracy of one run after one epoch, from 1."""
        if accuracy is None or accuracy != accuracy:  # noqa: PLR0124 -- NaN
            return
        while len(self._sums) < epoch:
            self._sums.append(0.0)
            self._numbers.append(0)
        self._sums[epoch - 1] += accuracy
        self._numbers[epoch - 1] += 1

    @property
    def deepest(self) -> int:
        """The last epoch after which there is an accuracy; 0 where there is none."""
        return len(self._sums)

    def accuracy(self, epoch: int) -> tuple[float | None, int]:
        """Return the mean validation accuracy after an epoch, and of how many runs; None of 0 where there is none."""
        if not 1 <= epoch <= len(self._sums) or not self._numbers[epoch - 1]:
            return None, 0
        return self._sums[epoch - 1] / self._numbers[epoch - 1], self._numbers[epoch - 1]

    def curve(self) -> list[float | None]:
        """Return the mean validation accuracy after every epoch."""
        return [self.accuracy(epoch)[0] for epoch in range(1, self.deepest + 1)]
