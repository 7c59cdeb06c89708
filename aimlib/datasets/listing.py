"""List the photos in a data set without opening any of them."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aimlib.errors import DataError, counted
from aimlib.records.escaping import storable

SHOWN = 5
"""Maximum number of file names in a message; any others are only counted."""


@dataclass(frozen=True)
class PhotoSplit:
    """The photos of one split.

    Attributes
    ----------
    paths : paths below the listing's root, with ``/`` between parts, in ascending order.
    labels : [photos], class numbers from 0.
    """

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def chosen(self, which: npt.NDArray[np.bool_]) -> PhotoSplit:
        """Return the photos for which `which`, [photos], is true."""
        return PhotoSplit(tuple(self.paths[number] for number in np.flatnonzero(which)), self.labels[which])


@dataclass(frozen=True)
class PhotoListing:
    """The photos in a data set.

    Attributes
    ----------
    name : the data set's name.
    variant : text that distinguishes several listings below one root, such as the name of the lists' folder.
    root : the folder that contains all paths.
    folders : folders below `root` whose files should all be listed; ``"."`` is `root` itself.
    classes : names of the classes, in the order of the class numbers.
    splits : ``train``, ``test`` and, if the data has its own validation images, ``validation``.
    lines : where each photo is listed, such as ``line 7``, by the photo's path; empty if photos are not listed in a
        file.
    """

    name: str
    variant: str
    root: Path
    folders: tuple[str, ...]
    classes: tuple[str, ...]
    splits: Mapping[str, PhotoSplit]
    lines: Mapping[str, str] = field(default_factory=dict)

    def paths(self) -> tuple[str, ...]:
        """Return the paths of all photos, training photos first."""
        return tuple(path for split in self.splits.values() for path in split.paths)

    def content(self) -> str:
        """Return a hash of the listing's classes, splits, paths and labels; file contents do not affect it."""
        splits = {name: [list(split.paths), split.labels.tolist()] for name, split in self.splits.items()}
        text = json.dumps({"classes": list(self.classes), "splits": splits}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def first_stamp(self) -> str:
        """The result of `stamp`, computed once, because a listing is compared with packs from several recipes.

        Raises DataError like `stamp`.
        """
        return self.stamp()

    def stamp(self) -> str:
        """Return a hash of all photos' sizes and modification times, which stays the same if no photo is modified.

        Raises
        ------
        DataError: photos are missing (the message lists the first ones), or a folder cannot be opened.
        """
        stamp, missing = hashlib.sha256(), []
        for path in self.paths():
            try:
                state = os.stat(f"{self.root}/{path}")  # noqa: PTH116 -- four times as fast as Path.stat
            except (FileNotFoundError, NotADirectoryError):
                missing.append(self._placed(path))
                continue
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise DataError(
                    f"{self.name}: {self._placed(path)} below {self.root} cannot be accessed: {reason}; allow "
                    f"access (`chmod -R u+rX FOLDER`), or correct the name"
                ) from error
            stamp.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        if missing:
            raise DataError(
                f"{self.name}: {len(missing)} of {len(self.paths())} listed photos are missing below "
                f"{self.root}: {named(missing)}; {self._spelled(missing[0])}put them there, or see "
                f"`ablate data verify {self.name}`"
            )
        return stamp.hexdigest()

    def _spelled(self, missing: str) -> str:
        """Return a hint if a photo exists under a different Unicode form of its name, or an empty string."""
        path = missing.rpartition(" (")[0] if self.lines else missing
        forms = {unicodedata.normalize(form, path) for form in ("NFC", "NFD")} - {path}
        if any((self.root / other).is_file() for other in forms):
            return (
                "a file exists whose name has a different Unicode form (NFC or NFD), so write the name in that form; "
            )
        return ""

    def _placed(self, path: str) -> str:
        """Return a photo's path and the place where it is listed."""
        return f"{path} ({self.lines[path]})" if path in self.lines else path


def check_listing(listing: PhotoListing, classes: int) -> None:
    """Refuse a listing that cannot be used for training.

    Raises
    ------
    DataError: the number of classes is not `classes`, a class has no photos in a split, or a photo is listed twice.
    """
    found = len(listing.classes)
    if found < 2:
        raise DataError(
            f"{listing.name}: {counted(found, 'class', 'classes')} found in {listing.root}{_only(listing)}, but "
            f"there must be at least two; set data.root to the folder that contains one folder per class, or add "
            f"photos of another class"
        )
    if found != classes:
        raise DataError(
            f"{listing.name}: {found} classes found in {listing.root}, but data.classes is {classes}; "
            f"set data.classes={found} or correct data.root"
        )
    for name, split in listing.splits.items():
        counts = np.bincount(split.labels, minlength=found)
        empty = [listing.classes[label] for label in np.flatnonzero(counts == 0)]
        if empty and name != "validation":
            raise DataError(f"{listing.name}: no {name} photos of {named(empty)} in {listing.root}; add some")
    twice = [path for path, count in Counter(listing.paths()).items() if count > 1]
    if twice:
        raise DataError(
            f"{listing.name}: {len(twice)} photos are listed more than once, in one list or in both: "
            f"{named(twice)}; correct the lists"
        )


def _only(listing: PhotoListing) -> str:
    return f" ({storable(listing.classes[0])})" if listing.classes else ""


def named(items: list[str]) -> str:
    """Return a text with the first few of `items` and the number of remaining ones."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more
