"""Conformance tests for callbacks."""

from __future__ import annotations

import io
from typing import Any

import torch

from aimlib.registry import callbacks
from aimlib.testing.conformance import Conformance
from aimlib.testing.tiny_training import assert_reproducible, tiny_config, tiny_data, trained
from aimlib.training.callbacks.base import Callback
from aimlib.training.callbacks.events import Callbacks
from aimlib.training.run import Run


class CallbackConformance(Conformance):
    """Tests for a callback, which must keep everything in its state, so that repeated runs are bitwise identical."""

    registry = callbacks

    def training(self) -> dict[str, Any]:
        """Return training options with this callback."""
        return {"callbacks": [{"name": self.name, **self.options}]}

    def test_it_is_a_callback(self) -> None:
        """The callback has a method for every event, and its constructor takes its configuration."""
        assert isinstance(callbacks.create(self.config()), Callback)

    def test_its_state_is_stored_without_code(self) -> None:
        """Before and after an epoch, `torch.load` with ``weights_only`` can read the stored state."""
        run = Run(tiny_config(self.training()), tiny_data(), torch.device("cpu"))
        run.callbacks.run_start()
        for _ in range(2):
            file = io.BytesIO()
            torch.save(run.callbacks.state(), file)
            file.seek(0)
            stored = torch.load(file, weights_only=True)
            again = Callbacks(run.options.callbacks, run.network, run.optimizer, run.options.epochs)
            again.resume(stored, len(run.history))
            assert repr(again.state()) == repr(run.callbacks.state())
            run.epoch()

    def test_what_it_logs_has_a_value_for_every_epoch(self) -> None:
        """The value is a mean, or null for an epoch in which nothing was logged."""
        found = trained(tiny_config(self.training()))
        for values in (found["scalars"] or {}).values():
            assert len(values) == len(found["epochs"])
            assert all(value is None or isinstance(value, float) for value in values)

    def test_runs_have_the_same_bits_when_they_are_interrupted(self) -> None:
        """A run is trained, repeated, and resumed after every step; scalars and the reason for ending do not change."""
        assert_reproducible(self.training())
