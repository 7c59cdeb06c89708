"""Checks of the data on disk, which report every problem with its file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from aimlib.datasets import decoding
from aimlib.datasets.base import DataSet, DatasetPlugin, Images
from aimlib.datasets.decoding import DecodeError, decode
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.manifest import read_manifest
from aimlib.datasets.packed import Progress, pack_folder
from aimlib.datasets.parallel import ordered
from aimlib.datasets.photos import PhotoPlugin
from aimlib.errors import DataError

Kind = Literal[
    "unusable",
    "count",
    "listed_twice",
    "both_lists",
    "missing",
    "unlisted",
    "empty",
    "undecodable",
    "duplicate",
    "pack",
]


@dataclass(frozen=True)
class Finding:
    """A problem with the data.

    Attributes
    ----------
    kind : ``unusable`` (the data as a whole), ``count`` (photos or classes), ``listed_twice`` (in one list),
        ``both_lists``, ``missing`` (listed, but does not exist), ``unlisted`` (exists, but is not listed), ``empty``
        (no bytes), ``undecodable``, ``duplicate`` (a test photo with the pixels of a training photo), ``pack``
        (packed data).
    file : the file concerned, or a folder if the problem is not with a single file.
    message : description of the problem.
    """

    kind: Kind
    file: str
    message: str


def verify(plugin: DatasetPlugin, progress: Progress | None = None) -> list[Finding]:
    """Return all problems with the data of `plugin`; an empty list if there are none.

    All photos are read and fully decoded. A store packed from them is read and compared with its hashes.

    Parameters
    ----------
    plugin : a data set with its configuration.
    progress : called as progress("verifying", photos done, photos in total).
    """
    if not isinstance(plugin, PhotoPlugin):
        return _verify_loaded(plugin)
    try:
        listing = plugin.listing()
    except DataError as error:
        return [Finding("unusable", plugin.config.name, str(error))]
    return [
        *_counts(plugin, listing),
        *_membership(listing),
        *_contents(listing, progress),
        *_packs(plugin, listing),
    ]


def _verify_loaded(plugin: DatasetPlugin) -> list[Finding]:
    """Check the arrays of a data set that does not consist of photo files."""
    name = plugin.config.name
    try:
        data = plugin.load()
    except DataError as error:
        return [Finding("unusable", name, str(error))]
    shape = plugin.shape()
    right = (shape.height, shape.width, shape.channels)
    found = [
        Finding("unusable", name, f"{split} images have shape {images.pixels.shape[1:]} instead of {right}")
        for split, images in _splits(data)
        if images.pixels.shape[1:] != right
    ]
    for split, images in _splits(data):
        counts = np.bincount(images.labels, minlength=shape.classes)
        if len(counts) != shape.classes or not counts.all() or len(data.classes) != shape.classes:
            found.append(Finding("count", name, f"{split} images per class: {counts.tolist()}"))
    if with_fingerprint(data.train, data.test, data.classes, data.validation).fingerprint != data.fingerprint:
        found.append(Finding("unusable", name, "the fingerprint is not that of the images"))
    return found


def _splits(data: DataSet) -> Iterable[tuple[str, Images]]:
    return data.splits().items()


def _counts(plugin: PhotoPlugin, listing: PhotoListing) -> Iterator[Finding]:
    where, found, right = str(listing.root), len(listing.classes), plugin.config.classes
    if found != right:
        yield Finding("count", where, f"{found} classes, but data.classes is {right}")
    for name, split in listing.splits.items():
        counts = np.bincount(split.labels, minlength=found)
        for label in np.flatnonzero(counts == 0):
            yield Finding("count", where, f"{listing.classes[label]}: no {name} photos listed")
    for problem in plugin.count_problems(listing):
        yield Finding("count", where, problem)


def _membership(listing: PhotoListing) -> Iterator[Finding]:
    """Compare the lists with each other and with the existing files."""
    for name, split in listing.splits.items():
        repeated = sorted({path for path, after in zip(split.paths, split.paths[1:], strict=False) if path == after})
        for path in repeated:
            yield Finding("listed_twice", path, f"listed more than once for {name}")
    train, test = (set(listing.splits[name].paths) for name in ("train", "test"))
    for path in sorted(train & test):
        yield Finding("both_lists", path, "listed for training and for testing")
    listed = set(listing.paths())
    there = set(_files(listing)) if listing.folders else {path for path in listed if (listing.root / path).is_file()}
    for path in sorted(listed - there):
        yield Finding("missing", path, f"listed, but not below {listing.root}")
    for path in sorted(there - listed):
        yield Finding("unlisted", path, f"below {listing.root}, but not listed")


def _files(listing: PhotoListing) -> Iterator[str]:
    """Yield the paths of all files that should be listed."""
    for folder in listing.folders:
        for place, _, names in os.walk(listing.root / folder):
            for name in names:
                yield (Path(place) / name).relative_to(listing.root).as_posix()


def _contents(listing: PhotoListing, progress: Progress | None) -> Iterator[Finding]:
    """Decode every listed photo, and compare the photos of the two splits with each other."""

    def examine(path: str) -> tuple[str, Finding | None]:
        return _examine(listing.root, path)

    seen: dict[str, dict[str, str]] = {name: {} for name in listing.splits}
    total, done = len(listing.paths()), 0
    for name, split in listing.splits.items():
        for path, (digest, finding) in zip(split.paths, ordered(examine, split.paths), strict=True):
            done += 1
            if progress is not None:
                progress("verifying", done, total)
            if finding is not None:
                yield finding
            elif digest:
                seen[name].setdefault(digest, path)
    for digest, path in seen["test"].items():
        twin = seen["train"].get(digest)
        if twin is not None and twin != path:
            yield Finding("duplicate", path, f"a test photo with the same pixels as the training photo {twin}")


def _examine(root: Path, path: str) -> tuple[str, Finding | None]:
    """Return a hash of the photo's pixels, or an empty string and, unless the file is missing, the problem."""
    try:
        content = decoding.read(root / path)
    except DecodeError as error:
        return "", Finding("undecodable", path, str(error))
    except (FileNotFoundError, NotADirectoryError):
        return "", None
    except OSError as error:
        return "", Finding("undecodable", path, f"cannot be read: {error}")
    if not content:
        return "", Finding("empty", path, "the file has no bytes")
    try:
        photo = decode(content)
    except DecodeError as error:
        return "", Finding("undecodable", path, str(error))
    return hashlib.sha256(f"{photo.size}".encode() + photo.tobytes()).hexdigest(), None


def _packs(plugin: PhotoPlugin, listing: PhotoListing) -> Iterator[Finding]:
    """Check the store packed with this plugin's recipe, if it exists."""
    folder = pack_folder(listing, plugin.recipe(), plugin.config.cache)
    manifest = read_manifest(folder)
    for damage in manifest.damages(folder) if manifest is not None else []:
        yield Finding("pack", str(folder), f"{damage}; remove the folder; the next use packs it again")
