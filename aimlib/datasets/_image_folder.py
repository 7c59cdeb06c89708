"""The user's own photos, in a folder per split that contains a folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from aimlib.datasets.listing import PhotoListing, PhotoSplit
from aimlib.datasets.locations import data_folder
from aimlib.datasets.photos import PhotoConfig, PhotoPlugin
from aimlib.errors import DataError, counted
from aimlib.records.escaping import storable
from aimlib.registry import datasets

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FolderName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


@datasets.register("image_folder")
class ImageFolder(PhotoPlugin):
    """``<root>/train/<class>/*`` and ``<root>/test/<class>/*``, with classes in ascending order of their names.

    Images are recognized by their suffix (jpg, png, ...), also in folders below a class; hidden files are ignored.
    The names of images are their paths below the root.
    """

    class Config(PhotoConfig):
        """Options of a folder of photos."""

        train: FolderName = "train"
        """Folder of the training images, below the root."""
        test: FolderName = "test"
        """Folder of the test images, below the root."""

        @model_validator(mode="after")
        def _two_folders(self) -> ImageFolder.Config:
            if self.train == self.test:
                raise ValueError(f"train and test are both {self.train!r}: give the test images their own folder")
            return self

    config: Config

    def whereabouts(self) -> tuple[Path, str]:
        """Return the root and the folders of both splits."""
        return data_folder("image_folder", self.config.root), f"{self.config.train}/{self.config.test}"

    def listing(self) -> PhotoListing:
        """Return the image files found."""
        root, variant = self.whereabouts()
        folders = {"train": self.config.train, "test": self.config.test}
        found = {split: _by_class(root, folder) for split, folder in folders.items()}
        classes = sorted({name for by_class in found.values() for name in by_class})
        number = {name: index for index, name in enumerate(classes)}
        splits = {}
        for split, by_class in found.items():
            pairs = sorted((path, number[name]) for name, paths in by_class.items() for path in paths)
            labels = np.array([label for _, label in pairs], dtype=np.int64)
            splits[split] = PhotoSplit(tuple(path for path, _ in pairs), labels)
        return PhotoListing(self.config.name, variant, root, tuple(folders.values()), tuple(classes), splits)


def _by_class(root: Path, folder: str) -> dict[str, list[str]]:
    """Return the paths below `root` of the images of each class in `folder`."""
    top = root / folder
    if not top.is_dir():
        raise DataError(
            f"image_folder: {top} is missing; put the photos in {top}/<class>/, or give the right data.root "
            f"and the folders' names as data.train and data.test"
        )
    found = {
        place.name: [path.relative_to(root).as_posix() for path in place.rglob("*") if _is_photo(path, place)]
        for place in top.iterdir()
        if place.is_dir() and not place.name.startswith(".")
    }
    _refuse_undecodable(top, [*found, *(path for paths in found.values() for path in paths)])
    return found


def _refuse_undecodable(top: Path, names: list[str]) -> None:
    """Refuse names that are not UTF-8: no table could contain them."""
    if wrong := [name for name in names if storable(name) != name]:
        shown = ", ".join(storable(name) for name in wrong[:3]) + (" ..." if len(wrong) > 3 else "")
        raise DataError(
            f"image_folder: found {counted(len(wrong), 'name')} below {top} that are not UTF-8: {shown}; rename the "
            f"files and folders, e.g. with `convmv -f latin1 -t utf8 -r --notest {top}`"
        )


def _is_photo(path: Path, place: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()
