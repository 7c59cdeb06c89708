"""The epoch with the highest test accuracy: what the post reports. An oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aimlib.registry import selections
from aimlib.training.selections.base import Selection, first_best


@selections.register("best_test")
class BestTest(Selection):
    """The epoch with the highest test accuracy: what the post reports. An oracle."""

    source = "DomainBed: test-domain validation set (oracle)"
    oracle: ClassVar[bool] = True

    def select(self, epochs: Sequence[Mapping[str, Any]]) -> int:
        """Return the first epoch with the highest test accuracy."""
        return first_best(epochs, "test_accuracy")
