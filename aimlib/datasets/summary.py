"""Summary of a data set: shape, splits, photos per class, fingerprint, and packed store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aimlib.datasets.base import DatasetPlugin, ImageShape
from aimlib.datasets.exclusions import read_exclusions
from aimlib.datasets.listing import check_listing
from aimlib.datasets.packed import find_pack, pack_folder
from aimlib.datasets.photos import PhotoPlugin


@dataclass(frozen=True)
class ClassCount:
    """One class: its name and how many images it has in each split; `validation` is None without such a split."""

    name: str
    train: int
    test: int
    validation: int | None = None


@dataclass(frozen=True)
class DataSummary:
    """Summary of a data set.

    Attributes
    ----------
    name, shape : of the data set as configured.
    train, test : numbers of images.
    validation : the same of validation images of the data's own; None if it has no such split.
    classes : in the order of the class numbers.
    fingerprint : None if the photos are not packed yet.
    cache : folder of the packed photos, which need not exist yet; None for data that is not packed.
    by_pillow : packed photos that the fast decoder left to Pillow, and why.
    excluded : how many photos `data.exclude` leaves out, and why, in words; None if it is not given.
    """

    name: str
    shape: ImageShape
    train: int
    test: int
    classes: tuple[ClassCount, ...]
    fingerprint: str | None
    cache: Path | None
    by_pillow: dict[str, str] = field(default_factory=dict)
    validation: int | None = None
    excluded: str | None = None

    @property
    def images(self) -> str:
        """How many images each split has, in words."""
        own = "" if self.validation is None else f", {self.validation:,} validation"
        return f"{self.train:,} training{own} and {self.test:,} test images"


def summarise(plugin: DatasetPlugin) -> DataSummary:
    """Return the summary of `plugin`'s data; photos are listed, not packed.

    Raises
    ------
    DataError: the data is missing or does not match the configuration.
    """
    if isinstance(plugin, PhotoPlugin):
        return _summarise_photos(plugin)
    data = plugin.load()
    labels = {name: images.labels for name, images in data.splits().items()}
    return _summary(plugin, data.classes, labels, data.fingerprint, None)


def _summarise_photos(plugin: PhotoPlugin) -> DataSummary:
    listing, recipe, cache = plugin.used(), plugin.recipe(), plugin.config.cache
    check_listing(listing, plugin.config.classes)
    found = find_pack(listing, recipe, cache)
    labels = {name: split.labels for name, split in listing.splits.items()}
    fingerprint = None if found is None else found.manifest.fingerprint
    summary = _summary(plugin, listing.classes, labels, fingerprint, pack_folder(listing, recipe, cache))
    if plugin.config.exclude is not None:
        summary = replace(summary, excluded=str(read_exclusions(plugin.config.exclude)))
    return summary if found is None else replace(summary, by_pillow=found.by_pillow())


def _summary(
    plugin: DatasetPlugin,
    classes: tuple[str, ...],
    labels: dict[str, npt.NDArray[np.int64]],
    fingerprint: str | None,
    cache: Path | None,
) -> DataSummary:
    counts = {split: np.bincount(numbers, minlength=len(classes)) for split, numbers in labels.items()}
    rows = tuple(
        ClassCount(name, **{split: int(numbers[label]) for split, numbers in counts.items()})
        for label, name in enumerate(classes)
    )
    sizes = {split: len(numbers) for split, numbers in labels.items()}
    return DataSummary(
        plugin.config.name,
        plugin.shape(),
        classes=rows,
        fingerprint=fingerprint,
        cache=cache,
        train=sizes["train"],
        test=sizes["test"],
        validation=sizes.get("validation"),
    )
