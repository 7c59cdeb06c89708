"""The list files of Stanford Dogs, which assign photos to splits in the form of MATLAB cell arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from aimlib.datasets.listing import PhotoListing, PhotoSplit
from aimlib.errors import DataError
from aimlib.paths import read_file

LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


def read_list(path: Path) -> list[tuple[str, int]]:
    """Return the entries of a list file, in the file's order: pairs of a path below ``Images/`` and a label.

    Parameters
    ----------
    path : a .mat file (version 5) with `file_list`, N × 1 cells of text, and `labels`, N × 1 whole numbers.

    Raises
    ------
    DataError: the file is unreadable, or does not have that form.
    """
    from scipy.io import loadmat  # noqa: PLC0415 -- only this reads .mat

    try:
        content = loadmat(io.BytesIO(read_file(path)), variable_names=["file_list", "labels"])
        files = [str(cell.item()) for cell in content["file_list"].ravel()]
        labels = np.asarray(content["labels"]).ravel()
    except Exception as error:  # for damaged files, loadmat raises errors of struct and zlib, and index errors
        cause = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: not a readable list of Stanford Dogs ({cause}); fetch lists.tar again") from error
    if len(files) != len(labels) or not files or labels.dtype.kind not in "iuf" or (labels % 1).any():
        raise DataError(
            f"{path}: {len(files)} files, {len(labels)} labels of type {labels.dtype}, but there must be one whole "
            f"number per file; fetch lists.tar again"
        )
    for name in files:
        if not _is_photo_path(name):
            raise DataError(f"{path}: {name!r} is not a path of the form <class folder>/<file>; fetch lists.tar again")
    return list(zip(files, (int(label) for label in labels), strict=True))


def read_listing(name: str, variant: str, images: Path, lists: Path) -> PhotoListing:
    """Return the photos in the two list files in `lists`, sorted by path within each split.

    The classes are the class folders in ascending order. A subset may keep its original labels or be renumbered.

    Raises
    ------
    DataError: a list is unreadable, or labels and class folders do not match one to one.
    """
    entries = {split: sorted(read_list(lists / file)) for split, file in LISTS.items()}
    label_of: dict[str, int] = {}
    for split, pairs in entries.items():
        for path, label in pairs:
            folder = path.split("/")[0]
            if label_of.setdefault(folder, label) != label:
                raise DataError(
                    f"{lists / LISTS[split]}: {path} has label {label}, but other photos of {folder} have "
                    f"{label_of[folder]}; fetch lists.tar again"
                )
    classes = tuple(sorted(label_of))
    if len(set(label_of.values())) != len(classes):
        raise DataError(f"{lists}: two class folders share one label; fetch lists.tar again")
    number = {folder: index for index, folder in enumerate(classes)}
    splits = {
        split: PhotoSplit(
            tuple(path for path, _ in pairs),
            np.array([number[path.split("/")[0]] for path, _ in pairs], dtype=np.int64),
        )
        for split, pairs in entries.items()
    }
    return PhotoListing(name, variant, images, (".",), classes, splits)


def _is_photo_path(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and not {"", ".", ".."} & set(parts) and "\0" not in name
