"""Early stopping with Keras's semantics, as a function of the history."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aimlib.config import EarlyStoppingConfig


def should_stop(config: EarlyStoppingConfig, monitored: Iterable[float]) -> bool:
    """Tell whether the run stops after the last of the `monitored` accuracies (fractions, one per epoch).

    As in Keras's EarlyStopping: an epoch counts as better when it exceeds the best one by more than `min_delta`;
    training stops after `patience` epochs in a row that do not.
    """
    best, waited = -math.inf, 0
    for accuracy in monitored:
        if accuracy - config.min_delta > best:
            best, waited = accuracy, 0
        else:
            waited += 1
        if waited >= config.patience:
            return True
    return False
