"""Check the numbers of classes and photos, and compare the lists of photos with the files that exist."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.photo_tree import listed, shown
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.verification.findings import Finding, Kind
from aimlib.errors import counted

IMBALANCE = 10
"""Minimum ratio of the largest to the smallest training class at which the classes are reported as imbalanced."""


def counts(plugin: PhotoPlugin, listing: PhotoListing) -> Iterator[Finding]:
    """Yield the problems with the numbers of classes and photos."""
    where, found, right = str(listing.root), len(listing.classes), plugin.config.classes
    if found != right:
        text = f"{counted(found, 'class', 'classes')}, but data.classes is {right}; correct one of them"
        yield Finding("count", where, text)
    numbers = {name: np.bincount(split.labels, minlength=found) for name, split in listing.splits.items()}
    empty = np.sum(list(numbers.values()), axis=0) == 0
    if empty.any():
        names = listed([listing.classes[label] for label in np.flatnonzero(empty)])
        yield Finding("count", where, f"{names}: no photos at all; add some, or remove what is not a class")
    for name in ("train", "test"):
        if lacking := [listing.classes[label] for label in np.flatnonzero((numbers[name] == 0) & ~empty)]:
            other = "test" if name == "train" else "train"
            text = f"{listed(lacking)}: no {name} photos listed; add some, or remove the class from {other}"
            yield Finding("count", where, text)
    for problem in plugin.count_problems(listing):
        yield Finding("count", where, problem)
    yield from _imbalance(listing)


def _imbalance(listing: PhotoListing) -> Iterator[Finding]:
    numbers = np.bincount(listing.splits["train"].labels, minlength=len(listing.classes))
    used = numbers[numbers > 0]
    if len(used) < 2 or used.max() < IMBALANCE * used.min():
        return
    names = [
        shown(listing.classes[int(label)]) for label in (numbers.argmax(), np.where(numbers, numbers, 1 << 60).argmin())
    ]
    text = (
        f"the largest training class has {counted(used.max(), 'photo')} ({names[0]}), the smallest {used.min():,} "
        f"({names[1]}): {used.max() / used.min():.1f} times as many (reported if at least {IMBALANCE} times); "
        f"accuracy is computed over photos, so large classes dominate it: also report accuracy per class, or "
        f"balance the classes"
    )
    yield Finding("imbalance", str(listing.root), text, severity="remark")


def membership(listing: PhotoListing) -> Iterator[Finding]:
    """Yield photos that are listed more than once."""
    for name, split in listing.splits.items():
        repeated = sorted({path for path, after in zip(split.paths, split.paths[1:], strict=False) if path == after})
        yield from _group("listed_twice", repeated, f"listed more than once for {name}; correct the list")
    for one, other in itertools.combinations(listing.splits, 2):
        both = sorted(set(listing.splits[one].paths) & set(listing.splits[other].paths))
        words = " and ".join(_DOING.get(name, name) for name in (one, other))
        yield from _group("both_lists", both, f"listed for {words}; correct the lists")


_DOING = {"train": "training", "test": "testing"}


def files(listing: PhotoListing, used: PhotoListing) -> Iterator[Finding]:
    """Yield the differences between the lists and the files that exist.

    Parameters
    ----------
    listing : the photos in the lists.
    used : the photos that are not excluded; it does not matter whether the excluded photos exist.
    """
    wanted = set(used.paths())
    if listing.folders:
        there, odd = _files(listing)
        yield from odd
    else:
        there = {path for path in wanted if _exists(f"{listing.root}/{path}")}
    text = f"listed, but not below {listing.root}; fetch, or exclude (`--fix FILE`)"
    for finding in _group("missing", sorted(wanted - there), text):
        yield replace(finding, excluded=finding.files, reason="missing: listed, but not found")
    unlisted = sorted(there - set(listing.paths()))
    visible = [path for path in unlisted if not path.rpartition("/")[2].startswith(".")]
    yield from _group("unlisted", visible, f"below {listing.root}, but not listed; remove, or correct the lists")


def _exists(path: str) -> bool:
    """Return whether something other than a folder exists at a path; its content is checked elsewhere."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 -- a path may be too long for a Path object
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def _group(kind: Kind, paths: Sequence[str], text: str) -> Iterator[Finding]:
    if len(paths) == 1:
        yield Finding(kind, paths[0], text, tuple(paths))
    elif paths:
        yield Finding(kind, paths[0], f"{len(paths):,} photos {text}: {listed(paths)}", tuple(paths))


def _files(listing: PhotoListing) -> tuple[set[str], list[Finding]]:
    """Return the paths of all files that should be listed, and findings about folders that cannot be opened."""
    found: set[str] = set()
    odd: list[Finding] = []

    def refused(error: OSError) -> None:
        text = f"the folder cannot be read: {error.strerror}; allow reading (`chmod -R u+rX FOLDER`)"
        odd.append(Finding("unreadable", str(error.filename), text))

    for folder in listing.folders:
        for place, _, names in os.walk(listing.root / folder, onerror=refused):
            below = os.path.relpath(place, listing.root)
            found.update(name if below == "." else f"{below}/{name}" for name in names)
    return found, odd
