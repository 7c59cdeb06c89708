"""The parts of a training that can fail on their own: each is tried on a few values before anything starts."""

from __future__ import annotations

from ablations.planning import plugin_errors
from aimlib.config import TrainingConfig
from aimlib.datasets.base import ImageShape
from aimlib.registry import augmentations


def refuse_unusable(training: TrainingConfig, shape: ImageShape) -> None:
    """Try loss and transforms on images of `shape`; a training without them imports nothing.

    Raises
    ------
    UsageError: an option does not fit the images or their classes, or the result is not what training needs.
    PluginError: code of a plugin failed.
    """
    with plugin_errors.explained():
        if training.loss is not None:
            from aimlib.training.losses.base import refuse_unusable_loss  # noqa: PLC0415 -- imports torch

            mixed = any(augmentations.get(each.name).per_batch for each in training.transforms)
            refuse_unusable_loss(training.loss, shape.classes, mixed=mixed)
        if training.transforms:
            from aimlib.training.transforms import refuse_unusable_transforms  # noqa: PLC0415

            refuse_unusable_transforms(training, shape)
