"""The user's own photos, in one folder per split with one subfolder per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from aimlib.datasets.archives import SUFFIXES as ARCHIVES
from aimlib.datasets.listing import PhotoListing, PhotoSplit
from aimlib.datasets.locations import data_folder
from aimlib.datasets.photo_tree import (
    Tree,
    beside,
    inner_folders,
    odd_names,
    read_tree,
    refuse,
    refuse_splits_as_classes,
    shared_folders,
    tell,
)
from aimlib.datasets.photos import PhotoConfig, PhotoPlugin, Survey
from aimlib.datasets.splitting import SplitConfig, is_test
from aimlib.datasets.tasks import refuse_other_task_of_folder
from aimlib.errors import DataError
from aimlib.records.escaping import storable
from aimlib.registry import datasets

VALIDATION = "val", "validation", "valid", "dev"
"""Usual names for a folder of validation images."""
FolderName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


@datasets.register("image_folder")
class ImageFolder(PhotoPlugin):
    """``<root>/train/<class>/*`` and ``<root>/test/<class>/*``, with classes in ascending order of their names.

    With `split`, the layout is ``<root>/<class>/*``, and `aimlib.datasets.splitting` splits the photos. Images are
    recognized by their suffix (jpg, png, ...), also in subfolders of a class; hidden files are ignored. An image's name
    is its path below the root.
    """

    source = "the user's own"

    class Config(PhotoConfig):
        """Options for a folder of photos."""

        train: FolderName = "train"
        """Folder with the training images, below the root."""
        test: FolderName = "test"
        """Folder with the test images, below the root."""
        validation: FolderName | None = None
        """Folder with the validation images, below the root; None: validation images are held out of the training
        images."""
        split: SplitConfig | None = None
        """How photos in ``<root>/<class>/*`` are split; None: there are separate folders for training and test
        images."""

        @model_validator(mode="after")
        def _different_folders(self) -> ImageFolder.Config:
            if self.train == self.test:
                raise ValueError(f"train and test are both {self.train!r}: put the test images in their own folder")
            if self.validation in (self.train, self.test):
                raise ValueError(f"validation: {self.validation!r} is another split's folder; give a separate folder")
            if self.split is not None and (self.train, self.test, self.validation) != ("train", "test", None):
                raise ValueError(
                    "split: no effect together with train, test or validation: photos that are already in one "
                    "folder per split are not split again; remove one of the two"
                )
            return self

    config: Config

    def folders(self) -> dict[str, str]:
        """Return the folder of every split, below the root, or the folder with all photos if `split` is set."""
        options = self.config
        if options.split is not None:
            return {"all": "."}
        own = {} if options.validation is None else {"validation": options.validation}
        return {"train": options.train, **own, "test": options.test}

    def whereabouts(self) -> tuple[Path, str]:
        """Return the root, and a text that identifies the folders of all splits or how photos are split."""
        split = self.config.split
        variant = "/".join(self.folders().values()) if split is None else f"split {split.model_dump_json()}"
        return data_folder("image_folder", self.config.root), variant

    def notes(self) -> list[str]:
        """Return notes for the user: photos that are left out, and validation images that are not used."""
        root, options, left_out = data_folder("image_folder", self.config.root), self.config, super().notes()
        if options.split is not None or options.validation is not None:
            return left_out
        unused = [name for name in VALIDATION if name not in (options.train, options.test) and (root / name).is_dir()]
        return left_out + [
            f"{root / name} is not used: validation images are held out of {options.train}; to use it, set "
            f"data.validation: {name}"
            for name in unused[:1]
        ]

    def listing(self) -> PhotoListing:
        """Return the image files found."""
        found = self.survey()
        refuse(self.config.name, found.listing.root, found.oddities or ())
        tell(self.config.name, found.oddities or ())
        return found.listing

    def survey(self) -> Survey:
        """Return the image files found, and everything that looks wrong or is not used."""
        root, variant = self.whereabouts()
        folders = self.folders()
        if self.config.split is not None:
            _refuse_split_folders(root)
        trees = {split: _tree(self.config.name, root, folder) for split, folder in folders.items()}
        classes = tuple(sorted({name for tree in trees.values() for name in tree.photos}))
        splits = {split: split_of(tree.photos, classes) for split, tree in trees.items()}
        by_folder = {folders[split]: tree for split, tree in trees.items()}
        names = (*odd_names(by_folder), *shared_folders(root, by_folder), *inner_folders(by_folder))
        oddities = [*(odd for tree in trees.values() for odd in tree.oddities), *names]
        if self.config.split is not None:
            refuse_splits_as_classes(self.config.name, root, trees["all"].photos)
            refuse(self.config.name, root, oddities)  # photos whose names are not valid text cannot be split
            splits = divided(splits["all"], self.config.split, classes)
        else:
            oddities += beside(root, list(folders.values()))
        listing = PhotoListing(self.config.name, variant, root, tuple(folders.values()), classes, splits)
        return Survey(listing, tuple(oddities))


def split_of(by_class: Mapping[str, list[str]], classes: Sequence[str]) -> PhotoSplit:
    """Return the photos of all classes as one split, sorted by path."""
    number = {name: index for index, name in enumerate(classes)}
    pairs = sorted((path, number[name]) for name, paths in by_class.items() for path in paths)
    labels = np.array([label for _, label in pairs], dtype=np.int64)
    return PhotoSplit(tuple(path for path, _ in pairs), labels)


def divided(photos: PhotoSplit, split: SplitConfig, classes: Sequence[str]) -> dict[str, PhotoSplit]:
    """Return the training and test photos into which a configuration divides `photos`."""
    test = is_test(split, photos.paths, photos.labels, classes)
    return {"train": photos.chosen(~test), "test": photos.chosen(test)}


def _refuse_split_folders(root: Path) -> None:
    there = [name for name in ("train", "test", *VALIDATION) if (root / name).is_dir()]
    if "train" in there and len(there) > 1:
        raise DataError(
            f"image_folder: {root} has the folders {', '.join(there)}, which are splits, not classes; remove "
            f"data.split, or set data.root to a folder of classes, such as {root / 'train'}"
        )


def photos_by_class(data: str, root: Path, folder: str) -> dict[str, list[str]]:
    """Return, for each class in `folder`, the paths of its images below `root`.

    Parameters
    ----------
    data : name of the data set, for messages.

    Raises
    ------
    DataError: there are no classes, or something in the folder cannot be used.
    """
    tree = _tree(data, root, folder)
    oddities = [*tree.oddities, *odd_names({folder: tree})]
    refuse(data, root, oddities)
    tell(data, oddities)
    return tree.photos


def _tree(data: str, root: Path, folder: str) -> Tree:
    """Return the content of a split's folder; raise DataError if the folder does not contain class folders."""
    top = root / folder
    try:
        if not top.is_dir():
            raise DataError(_missing(data, root, folder))
        _refuse_no_classes(data, root, top)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{data}: {top} cannot be read: {reason}; allow reading (`chmod -R u+rX {top}`)") from error
    return read_tree(root, folder)


def _folders(top: Path) -> list[str]:
    return sorted(place.name for place in top.iterdir() if place.is_dir() and not place.name.startswith("."))


def _refuse_no_classes(data: str, root: Path, top: Path) -> None:
    folders = _folders(top)
    refuse_other_task_of_folder(top, folders)
    if not folders:
        refuse_other_task_of_folder(root, _folders(root))
        raise DataError(
            f"{data}: {top} has no subfolders, and every class needs one: {top}/<class>/; sort the photos into "
            f"folders, "
            f"or list them in a table (image_index)"
        )


def _nested(root: Path, folder: str) -> Path | None:
    """Return the folder in `root` that contains the split's folder, as in many archives; None unless it is unique."""
    if folder == "." or not root.is_dir():
        return None
    found = [root / name for name in _folders(root) if (root / name / folder).is_dir()]
    return found[0] if len(found) == 1 else None


def _missing(data: str, root: Path, folder: str) -> str:
    """Return the message about a missing folder; the message also says what seems to be there instead."""
    top = root / folder
    if (file := next((place for place in (root, top) if place.exists() and not place.is_dir()), None)) is not None:
        return (
            f"{data}: {file} is a file, but must be a folder with {top}/<class>/; if it is an archive "
            f"(supported suffixes: {', '.join(ARCHIVES)}), unpack it, and set data.root to the folder"
        )
    if "$" in str(root) or str(root)[:1] in "'\"" or str(root) != str(root).strip():
        return (
            f"{data}: {str(top)!a} is missing; data.root is used literally, so replace variables with their "
            f"values, and remove quotes and spaces around the path"
        )
    if (nested := _nested(root, folder)) is not None:
        return f"{data}: {top} is missing, but {nested / folder} exists; set data.root: {nested}"
    text = f"{data}: {top} is missing; put the photos in {top}/<class>/, or correct data.root"
    if folder == "." or not root.is_dir():
        return text
    text += " and the folder names in data.train and data.test"
    there = _folders(root)
    refuse_other_task_of_folder(root, there)
    if len(there) > 1 and not {"train", "test", *VALIDATION} & set(there):
        shown = ", ".join(storable(name) for name in there[:3]) + (" ..." if len(there) > 3 else "")
        text += f"; if the folders there ({shown}) are classes, split them: data.split: {{test_fraction: 0.2}}"
    return text
