"""Summary of a data set: shape, splits, photos per class, fingerprint, and packed store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aimlib.datasets.base import DatasetPlugin, ImageShape
from aimlib.datasets.exclusions import read_exclusions
from aimlib.datasets.packed import Pack, find_pack, pack_folder
from aimlib.datasets.photos import PhotoPlugin


@dataclass(frozen=True)
class ClassCount:
    """One class: its name and its number of images per split; `validation` is None if there is no such split."""

    name: str
    train: int
    test: int
    validation: int | None = None


@dataclass(frozen=True)
class DataSummary:
    """Summary of a data set.

    Attributes
    ----------
    name, shape : name and shape of the data set as configured.
    train, test : numbers of training and test images.
    validation : number of the data's own validation images; None if the data has no validation split.
    classes : one entry per class, in the order of the class numbers.
    fingerprint : fingerprint of the data; None if the photos are not packed yet.
    cache : folder for the packed photos, which need not exist yet; None for data that is not packed.
    by_pillow : packed photos that Pillow decoded instead of the fast decoder, with the reasons.
    excluded : how many photos `data.exclude` leaves out and why, in words; None if this option is not set.
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
        """The number of images in each split, in words."""
        own = "" if self.validation is None else f", {self.validation:,} validation"
        return f"{self.train:,} training{own} and {self.test:,} test images"


def summarise(plugin: DatasetPlugin, packed: Pack | None = None) -> DataSummary:
    """Return the summary of `plugin`'s data; photos are listed, not packed.

    Parameters
    ----------
    packed : the packed photos, if the caller already has them; the photos are then not listed again.

    Raises
    ------
    DataError: the data is missing or does not match the configuration.
    """
    if isinstance(plugin, PhotoPlugin):
        return _summarise_listed(plugin) if packed is None else _summarise_packed(plugin, packed)
    data = plugin.load()
    labels = {name: images.labels for name, images in data.splits().items()}
    return _summary(plugin, data.classes, labels, data.fingerprint, None)


def _summarise_listed(plugin: PhotoPlugin) -> DataSummary:
    listing, recipe, cache = plugin.checked(), plugin.recipe(), plugin.config.cache
    if (found := find_pack(listing, recipe, cache)) is not None:
        return _summarise_packed(plugin, found)
    labels = {name: split.labels for name, split in listing.splits.items()}
    summary = _summary(plugin, listing.classes, labels, None, pack_folder(listing, recipe, cache))
    return replace(summary, excluded=_excluded(plugin))


def _summarise_packed(plugin: PhotoPlugin, found: Pack) -> DataSummary:
    labels = {name: np.array(found.index[name]["labels"], dtype=np.int64) for name in found.manifest.splits}
    summary = _summary(plugin, found.manifest.classes, labels, found.manifest.fingerprint, found.folder)
    return replace(summary, by_pillow=found.by_pillow(), excluded=_excluded(plugin))


def _excluded(plugin: PhotoPlugin) -> str | None:
    return None if plugin.config.exclude is None else str(read_exclusions(plugin.config.exclude))


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
