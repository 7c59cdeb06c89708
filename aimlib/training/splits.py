"""Which images are used for training, and in which order: this depends only on the seed and the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from aimlib.datasets.base import DataSet
from aimlib.seeding import seed_for, uniforms
from aimlib.training.image_order import Indices, fixed_order

__all__ = ["Division", "Indices", "batches", "divide", "epoch_order", "fixed_order", "hold_out"]


def hold_out(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Divide image numbers into training and validation images, class by class.

    Parameters
    ----------
    labels : [images] class numbers.
    fraction : share of each class to hold out, rounded to whole images.
    seed : the run's seed; all arms with the same seed have the same split.

    Returns
    -------
    Numbers of the training images and of the validation images, both ascending.
    """
    rank = uniforms(np.array([seed_for(seed, "split")], dtype=np.uint64), len(labels))[0]
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        count = round(fraction * len(of_class))
        held[of_class[np.argsort(rank[of_class], kind="stable")[:count]]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


@dataclass(frozen=True)
class Division:
    """The images on which a run is trained and those on which it is validated.

    Attributes
    ----------
    training : numbers of images in the split ``train``, ascending.
    validation : numbers of images in the split `validated`, ascending; empty if nothing is held out.
    validated : the split to which the validation images belong.
    """

    training: Indices
    validation: Indices
    validated: Literal["train", "validation"]


def divide(data: DataSet, fraction: float, seed: int) -> Division:
    """Return the images on which a run is trained and validated.

    If the data has its own validation images, all of them are used for validation with every seed, and all training
    images are used for training. With a fraction of 0, there is no validation, and the data's own validation images are
    not used at all.

    Parameters
    ----------
    fraction : ``training.validation_fraction``; for data with its own validation images, it only matters whether the
        fraction is 0.
    seed : the run's seed.
    """
    if data.validation is None:
        return Division(*hold_out(data.train.labels, fraction, seed), "train")
    count = len(data.validation.labels) if fraction else 0
    training = np.arange(len(data.train.labels), dtype=np.int64)
    return Division(training, np.arange(count, dtype=np.int64), "validation")


def epoch_order(indices: Indices, seed: int, epoch: int) -> Indices:
    """Return the images in random order, for one epoch."""
    rank = uniforms(np.array([seed_for(seed, "order", epoch)], dtype=np.uint64), len(indices))[0]
    return indices[np.argsort(rank, kind="stable")]


def batches(indices: Indices, size: int, *, drop_last: bool = False) -> Iterator[Indices]:
    """Yield batches of `size` images.

    Unless incomplete batches are dropped, a last batch with a single image is merged into the preceding batch, because
    batch norm cannot compute the variance of one value.
    """
    count = len(indices)
    ends = list(range(size, count + 1, size))
    if not drop_last and (not ends or ends[-1] < count):
        if ends and count - ends[-1] == 1:
            ends.pop()
        ends.append(count)
    start = 0
    for end in ends:
        yield indices[start:end]
        start = end
