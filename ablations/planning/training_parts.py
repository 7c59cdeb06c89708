"""The parts of a training that can fail on their own: each is tried on a few values before anything starts."""

from __future__ import annotations

from ablations.planning import plugin_errors
from aimlib.config import TrainingConfig
from aimlib.datasets.base import ImageShape


def refuse_unusable(training: TrainingConfig, shape: ImageShape) -> None:
    """Try the loss for the classes of `shape`; nothing is imported for a training without one.

    Raises
    ------
    UsageError: an option does not fit the classes, or the loss gives no finite scalar.
    PluginError: code of a plugin failed.
    """
    if training.loss is None:
        return
    from aimlib.training.losses.base import refuse_unusable_loss  # noqa: PLC0415 -- imports torch

    with plugin_errors.explained():
        refuse_unusable_loss(training.loss, shape.classes)
