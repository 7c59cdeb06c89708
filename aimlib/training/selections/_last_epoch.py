"""The last epoch, regardless of its accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aimlib.registry import selections
from aimlib.training.selections.base import Selection


@selections.register("last_epoch")
class LastEpoch(Selection):
    """The last epoch, regardless of its accuracy: no selection, hence no selection bias."""

    source = "the plainest rule"

    def select(self, epochs: Sequence[Mapping[str, Any]]) -> int:
        """Return the number of the last epoch."""
        return len(epochs)
