"""Splits for data that is not split yet: stratified, seeded, and determined by names alone.

Every image has a key: its path below the root, with ``/`` between parts, in Unicode form NFC. The image's rank is
``sha256(f"{seed}/{key}")``. The split does not depend on the order of directory entries or on a library's random
generator, so it is the same on every machine and with every version.

1. Within a class, images are sorted by rank.
2. ``test_fraction``: in every class, the first ``round(test_fraction * images)`` images are test images (halves are
   rounded up; at least one image and at most all but one).
3. ``folds``: the image at place i in a class is in fold ``(i + images in the preceding classes) % folds``. Therefore,
   any two folds differ by at most one image per class, and by at most one image in total. The fold with the number
   `fold` is the test set.

Images in the same group (such as images of one patient, animal or video) stay together. Groups are sorted by size, with
the largest first, and then by the rank of their names. The groups are assigned one after another, each to the part that
brings the class counts closest to the intended shares. The distance is the sum of squared differences, each divided by
the size of the class.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from aimlib.component import Frozen
from aimlib.errors import DataError, counted

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


class SplitConfig(Frozen):
    """How data without a split is split: the test set is a fraction of the data, or one of several folds."""

    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of every class that becomes the test set."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Number of folds for cross-validation, instead of `test_fraction`."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Number of the fold that is the test set, from 0; the other folds are used for training."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed for the split. It is independent of the runs' seeds: all runs have the same split."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.test_fraction is None) == (self.folds is None):
            raise ValueError("set either test_fraction, e.g. 0.2, or folds and fold, e.g. folds: 5 and fold: 0")
        if self.folds is None and self.fold is not None:
            raise ValueError("fold has no effect without folds; set folds as well")
        if self.folds is not None and (self.fold is None or self.fold >= self.folds):
            raise ValueError(
                f"fold: set it to the number of the fold that is the test set, from 0 to {self.folds - 1}; got "
                f"{self.fold}; a factor "
                f"data.split.fold: {list(range(self.folds))} runs every fold"
            )
        return self


def is_test(
    split: SplitConfig,
    keys: Sequence[str],
    labels: Numbers,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
) -> Flags:
    """Return which images are test images; the others are training images.

    Parameters
    ----------
    keys : for each image, its path.
    labels : [images], class numbers.
    classes : names of the classes, for messages.
    groups : for each image, the name of its group; None: images are not grouped.

    Raises
    ------
    DataError: a class has too few images or groups to appear in every part.
    """
    _refuse_small(split, labels, classes)
    if groups is None:
        return _of_images(split, keys, labels)
    found = _of_groups(split, labels, groups)
    for test, name in ((True, "test"), (False, "training")):
        counts = np.bincount(labels[found == test], minlength=len(classes))
        if not counts.all():
            lacking = classes[int(np.argmin(counts))]
            own = len({group for group, label in zip(groups, labels, strict=True) if classes[label] == lacking})
            raise DataError(
                f"data.split: no {name} image of {lacking} if groups stay together: it has "
                f"{counted(own, 'group')}; add groups with this class, {_other_way(split)}, or try another "
                f"data.split.seed"
            )
    return found


def rank(seed: int, key: str) -> bytes:
    """Return the value by which images and groups are sorted: a hash of the seed and the key."""
    return hashlib.sha256(f"{seed}/{unicodedata.normalize('NFC', key)}".encode()).digest()


def _refuse_small(split: SplitConfig, labels: Numbers, classes: Sequence[str]) -> None:
    least = split.folds or 2
    counts = np.bincount(labels, minlength=len(classes))
    small = np.flatnonzero(counts < least)
    if len(small):
        named = ", ".join(f"{classes[label]} ({counts[label]})" for label in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        fewer = "1 class has" if len(small) == 1 else f"{len(small)} classes have"
        raise DataError(
            f"data.split: every class needs at least {least} images, but {fewer} fewer: {named}{more}; add images, "
            f"{_other_way(split)}, or leave these classes out"
        )


def _other_way(split: SplitConfig) -> str:
    return "lower data.split.folds" if split.folds else "change data.split.test_fraction"


def _of_images(split: SplitConfig, keys: Sequence[str], labels: Numbers) -> Flags:
    found = np.zeros(len(keys), dtype=bool)
    before = 0
    for label in range(int(labels.max()) + 1):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda number: rank(split.seed, keys[number]))
        if split.folds is None:
            assert split.test_fraction is not None, "the configuration has one of the two"
            chosen = members[: _count(split.test_fraction, len(members))]
        else:
            chosen = [number for place, number in enumerate(members, before) if place % split.folds == split.fold]
        found[chosen] = True
        before += len(members)
    return found


def _count(fraction: float, images: int) -> int:
    return min(max(int(fraction * images + 0.5), 1), images - 1)


def _of_groups(split: SplitConfig, labels: Numbers, groups: Sequence[str]) -> Flags:
    names, number = np.unique(np.array(groups, dtype=object), return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (number, labels), 1)
    if split.folds is None:
        assert split.test_fraction is not None, "the configuration has one of the two"
        shares, wanted = np.array([split.test_fraction, 1 - split.test_fraction]), 0
    else:
        shares, wanted = np.full(split.folds, 1 / split.folds), int(split.fold or 0)
    order = sorted(range(len(names)), key=lambda group: (-counts[group].sum(), rank(split.seed, str(names[group]))))
    part = _assigned(counts, shares, order)
    return np.asarray(part[number] == wanted)


def _assigned(counts: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], order: list[int]) -> Numbers:
    """Return the part to which each group is assigned.

    Parameters
    ----------
    counts : [groups, classes], numbers of images.
    shares : [parts], intended shares, which sum to 1.
    order : numbers of the groups, in the order in which they are assigned.
    """
    total = counts.sum(axis=0)
    lacking = shares[:, None] * total  # [parts, classes]: what each part still lacks
    part = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        own = counts[group]
        # A part's squared difference decreases by own * (2 * lacking - own); the other parts' differences do not
        # change.
        gain = ((2 * lacking - own) * own / total).sum(axis=1)
        part[group] = int(np.argmax(np.round(gain, 9)))
        lacking[part[group]] -= own
    return part
