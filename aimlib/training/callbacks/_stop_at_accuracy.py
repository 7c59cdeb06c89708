"""The end of a run at an accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from aimlib.component import Dimension, Integer
from aimlib.registry import callbacks
from aimlib.training.callbacks.base import Callback, CallbackConfig, RunView


@callbacks.register("stop_at_accuracy")
class StopAtAccuracy(Callback):
    """Ends the run when an accuracy was reached in `epochs` epochs in a row."""

    source = "time to accuracy: Coleman et al., 2017 (DAWNBench)"
    search_space: ClassVar[dict[str, Dimension]] = {"epochs": Integer(1, 5)}

    class Config(CallbackConfig):
        """The accuracy, and whose it is."""

        accuracy: Annotated[float, Field(gt=0, le=1)]
        """The accuracy to reach, a fraction."""
        monitor: Literal["validation", "train"] = "validation"
        """Whose accuracy counts, that of validation or of training images."""
        epochs: Annotated[int, Field(ge=1)] = 1
        """Number of epochs in a row that must reach it."""

        @property
        def uses_validation(self) -> bool:
            """Whether there must be validation images."""
            return self.monitor == "validation"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._reached = 0

    def on_epoch_end(self, run: RunView, row: Mapping[str, Any]) -> None:
        """Count the epochs; end the run after enough of them."""
        name = f"{self.config.monitor}_accuracy"
        self._reached = self._reached + 1 if row[name] >= self.config.accuracy else 0
        if self._reached >= self.config.epochs:
            run.stop(f"{name} {row[name]:.4f} reached {self.config.accuracy:g}")

    def state_dict(self) -> dict[str, Any]:
        """Return how many epochs in a row reached it."""
        return {"reached": self._reached}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to count."""
        self._reached = state["reached"]
