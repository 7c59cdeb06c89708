"""Class weights in a loss."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from aimlib.component import tuple_of
from aimlib.errors import DataError, UsageError

NonNegative = Annotated[float, Field(ge=0)]
ClassWeights = Literal["balanced"] | Annotated[tuple[NonNegative, ...], BeforeValidator(tuple_of)] | None
"""``balanced``: the weight of a class is images / (classes * images in the class), as in scikit-learn; a list: one
weight per class, in the order of the class numbers; null: all weights are 1."""


def class_weights(weight: ClassWeights, class_counts: Tensor) -> Tensor | None:
    """Return the weights [classes], float32, or None if all weights are 1.

    Parameters
    ----------
    class_counts : [classes], number of training images in each class.

    Raises
    ------
    UsageError: the list does not have one weight per class.
    DataError: a class has no training images, so its balanced weight is not defined.
    """
    if weight is None:
        return None
    classes = len(class_counts)
    if weight == "balanced":
        if not bool(class_counts.all()):
            missing = int((class_counts == 0).nonzero()[0])
            raise DataError(
                f"training.loss.weight: balanced: class number {missing} has no training images; set a list of weights"
            )
        return class_counts.sum() / (classes * class_counts.float())
    if len(weight) != classes:
        raise UsageError(f"training.loss.weight: has {len(weight)} weights for {classes} classes; set one per class")
    return torch.tensor(weight, dtype=torch.float32, device=class_counts.device)
