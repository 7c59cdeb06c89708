"""The epoch with the highest validation accuracy; the first one if there are ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aimlib.registry import selections
from aimlib.training.selections.base import Selection, SelectionConfig, first_best


@selections.register("best_validation")
class BestValidation(Selection):
    """The epoch with the highest validation accuracy; the first one if there are ties."""

    source = "DomainBed: training-domain validation set"

    class Config(SelectionConfig):
        """The rule has no options."""

        monitors_validation: ClassVar[bool] = True

    def select(self, epochs: Sequence[Mapping[str, Any]]) -> int:
        """Return the first epoch with the highest validation accuracy."""
        return first_best(epochs, "validation_accuracy")
