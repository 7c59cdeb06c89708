"""Numbers of classes and photos, and the lists of photos compared with the files that exist."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.photo_tree import listed, shown
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.verification.findings import Finding, Kind
from aimlib.errors import counted

IMBALANCE = 10
"""Ratio of the largest class to the smallest from which training classes are called imbalanced."""


def counts(plugin: PhotoPlugin, listing: PhotoListing) -> Iterator[Finding]:
    """Yield what is wrong with the numbers of classes and photos."""
    where, found, right = str(listing.root), len(listing.classes), plugin.config.classes
    if found != right:
        text = f"{counted(found, 'class', 'classes')}, but data.classes is {right}; correct one of them"
        yield Finding("count", where, text)
    for name, split in listing.splits.items():
        numbers = np.bincount(split.labels, minlength=found)
        if lacking := [listing.classes[label] for label in np.flatnonzero(numbers == 0)]:
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
        f"the largest training class has {used.max():,} photos ({names[0]}), the smallest {used.min():,} ({names[1]}): "
        f"{used.max() / used.min():.1f} times as many (stated from {IMBALANCE}); accuracy counts photos, so large "
        f"classes decide it: report accuracy per class, too, or balance the classes"
    )
    yield Finding("imbalance", str(listing.root), text, severity="remark")


def membership(listing: PhotoListing) -> Iterator[Finding]:
    """Yield how the lists differ from each other and from the files that exist."""
    for name, split in listing.splits.items():
        repeated = sorted({path for path, after in zip(split.paths, split.paths[1:], strict=False) if path == after})
        yield from _group("listed_twice", repeated, f"listed more than once for {name}; correct the list")
    train, test = (set(listing.splits[name].paths) for name in ("train", "test"))
    yield from _group("both_lists", sorted(train & test), "listed for training and for testing; correct the lists")
    if _all_found_below(listing):
        return
    there, odd = _files(listing)
    missing = f"listed, but not below {listing.root}; fetch, or list in data.exclude"
    yield from _group("missing", sorted((train | test) - there), missing)
    unlisted = sorted(there - train - test)
    visible = [path for path in unlisted if not path.rpartition("/")[2].startswith(".")]
    yield from _group("unlisted", visible, f"below {listing.root}, but not listed; remove, or correct the lists")
    yield from odd


def _all_found_below(listing: PhotoListing) -> bool:
    """Return whether the listing was made from the files, so that comparing them says nothing."""
    return "." not in listing.folders


def _group(kind: Kind, files: Sequence[str], text: str) -> Iterator[Finding]:
    if len(files) == 1:
        yield Finding(kind, files[0], text, tuple(files))
    elif files:
        yield Finding(kind, files[0], f"{len(files):,} photos {text}: {listed(files)}", tuple(files))


def _files(listing: PhotoListing) -> tuple[set[str], list[Finding]]:
    """Return the paths of all files that should be listed, and folders that cannot be opened."""
    found: set[str] = set()
    odd: list[Finding] = []

    def refused(error: OSError) -> None:
        text = f"cannot be opened: {error.strerror}; allow it with `chmod -R u+rX`"
        odd.append(Finding("unreadable", shown(str(error.filename)), text))

    prefix = len(str(listing.root)) + 1
    for folder in listing.folders:
        for place, _, names in os.walk(listing.root / folder, onerror=refused, followlinks=False):
            found.update(f"{place}/{name}"[prefix:] for name in names)
    return found, odd


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file, also by a link; False if that cannot be known."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
