"""Ends a run once it reaches a given accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from aimlib.component import Dimension, Integer
from aimlib.registry import callbacks
from aimlib.training.callbacks.base import Callback, CallbackConfig, RunView


@callbacks.register("stop_at_accuracy")
class StopAtAccuracy(Callback):
    """Ends the run once it has reached an accuracy in `epochs` consecutive epochs."""

    source = "time to accuracy: Coleman et al., 2017 (DAWNBench)"
    search_space: ClassVar[dict[str, Dimension]] = {"epochs": Integer(1, 5)}

    class Config(CallbackConfig):
        """The accuracy to reach, and on which images."""

        accuracy: Annotated[float, Field(gt=0, le=1)]
        """The accuracy to reach, as a fraction."""
        monitor: Literal["validation", "train"] = "validation"
        """Whether the accuracy on validation images or on training images counts."""
        epochs: Annotated[int, Field(ge=1)] = 1
        """Number of consecutive epochs that must reach the accuracy."""

        @property
        def uses_validation(self) -> bool:
            """Whether this callback needs validation images."""
            return self.monitor == "validation"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._reached = 0

    def on_epoch_end(self, run: RunView, row: Mapping[str, Any]) -> None:
        """Count consecutive epochs that reach the accuracy; end the run after `epochs` such epochs."""
        name = f"{self.config.monitor}_accuracy"
        self._reached = self._reached + 1 if row[name] >= self.config.accuracy else 0
        if self._reached >= self.config.epochs:
            run.stop(f"{name} {row[name]:.4f} reached {self.config.accuracy:g}")

    def state_dict(self) -> dict[str, Any]:
        """Return how many consecutive epochs have reached the accuracy."""
        return {"reached": self._reached}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue counting from a stored state."""
        self._reached = state["reached"]
