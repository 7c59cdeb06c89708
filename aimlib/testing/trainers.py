"""Conformance tests for registered training code."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from aimlib.datasets.base import DataSet
from aimlib.registry import trainers
from aimlib.testing.conformance import Conformance
from aimlib.testing.tiny_training import result_of, tiny_data
from aimlib.training.checkpoint_manager import Paused
from aimlib.training.outcomes import Outcome
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.own.loop import SAME, Attempt, train


class TrainerConformance(Conformance):
    """Tests for training code: the seed must determine the run, and the code must continue from its own checkpoint.

    Attributes
    ----------
    arm_options : what an arm passes to the code under `options`.
    model : the network that the code requests with ``run.network()``, written as in a document; None if the code
        creates its own network.
    epochs : maximum number of epochs that the code may report.
    repeats : whether the same seed gives the same predictions on a CPU; False for code that cannot guarantee this.
    """

    registry = trainers
    arm_options: ClassVar[Mapping[str, Any]] = {}
    model: ClassVar[Mapping[str, Any] | None] = None
    epochs: ClassVar[int] = 2
    repeats: ClassVar[bool] = True

    def data(self) -> DataSet:
        """Return the data for the tests: 30 training and 12 test images of 8 × 8 pixels, in three classes."""
        return tiny_data()

    def run(self, attempt: Attempt | None = None, *, repeat: bool = False) -> Outcome:
        """Return the outcome of a run on one thread."""
        attempt = attempt or Attempt()
        attempt.threads = 1
        return train(self._run_config(), self.data(), attempt, torch.device("cpu"), repeat=repeat)

    def test_it_reports_what_a_run_needs(self) -> None:
        """The code reports between one and `epochs` epochs, each with a prediction for every test image."""
        found = self.run()
        assert found.status == "finished", found.reason
        assert 1 <= len(found.epochs) <= self.epochs
        assert found.predictions.shape == (len(found.epochs), len(self.data().test.labels))

    def test_the_seed_decides_the_run(self) -> None:
        """A second run gives the same predictions; code that cannot guarantee this sets `repeats = False`."""
        found = self.run(repeat=True)
        if self.repeats:
            assert found.repeated == SAME
        else:
            assert found.repeated is not None
            assert not found.repeated.startswith("failed"), found.repeated

    def test_it_continues_after_every_interruption(self) -> None:
        """If the code is interrupted repeatedly, early and late, its result is that of an uninterrupted run."""
        whole = self.run()
        with tempfile.TemporaryDirectory() as folder:
            pieces = self._in_pieces(Path(folder))
        assert len(pieces.epochs) == len(whole.epochs)
        if self.repeats:
            assert result_of(pieces) == result_of(whole)

    def _in_pieces(self, folder: Path) -> Outcome:
        """Return the outcome of a run that is interrupted repeatedly, each attempt at a later check for a pause.

        Code that saves only after its reports makes no progress in the first attempts, which are interrupted too early;
        later attempts make progress.
        """
        patience = 0
        while True:
            try:
                return self.run(Attempt(run_id="conformance", directory=folder, pause=_after(patience)))
            except Paused:
                patience = max(patience + 1, 2 * patience)

    def _run_config(self) -> OwnRunConfig:
        found = OwnRunConfig.parse(
            {
                "train": self.config().model_dump(mode="json"),
                "data": {"name": "digits", "size": 8},
                "training": {"epochs": self.epochs},
                "options": dict(self.arm_options),
                "seed": 0,
                **({} if self.model is None else {"model": dict(self.model)}),
            }
        )
        assert isinstance(found, OwnRunConfig)
        return found


def _after(questions: int) -> Callable[[], bool]:
    """Return a function that requests a pause, except in the first `questions` calls."""
    asked = itertools.count()
    return lambda: next(asked) >= questions
