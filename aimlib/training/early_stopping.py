"""Early stopping with Keras's semantics, as a function of the history."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # replaying early stopping on stored results must not import pydantic
    from aimlib.config import EarlyStoppingConfig


def should_stop(config: EarlyStoppingConfig, monitored: Iterable[float]) -> bool:
    """Return whether early stopping ends the run within the epochs in `monitored` (accuracies as fractions)."""
    return stopping_epoch(monitored, config.patience, config.min_delta) is not None


def stopping_epoch(accuracies: Iterable[float], patience: int, min_delta: float) -> int | None:
    """Return the number, from 1, of the epoch after which early stopping ends a run; None if the run is not stopped.

    As in Keras's EarlyStopping, an epoch counts as better if it exceeds the best epoch by more than `min_delta`;
    training stops after `patience` consecutive epochs that are not better.
    """
    best, waited = -math.inf, 0
    for number, accuracy in enumerate(accuracies, start=1):
        if accuracy - min_delta > best:
            best, waited = accuracy, 0
        else:
            waited += 1
        if waited >= patience:
            return number
    return None
