"""Lists of photos that a study leaves out, each with its reason: `data.exclude`.

A list is a CSV file in UTF-8 with the columns ``path`` and ``reason``. It may begin with lines that start with ``#``
and say how the list was made. A path is an image's path below the data set's root. The kind of a reason is the text
before the reason's first colon; reports count the photos of each kind.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aimlib.datasets.listing import PhotoListing, PhotoSplit
from aimlib.datasets.photo_tree import listed, shown
from aimlib.errors import DataError, counted, did_you_mean
from aimlib.paths import read_file
from aimlib.records.escaping import csv_line, from_spreadsheet_cell, spreadsheet_cell, storable

COLUMNS = "path", "reason"
_MOST_BYTES = 100_000_000
_MOST_KINDS = 5
_MOST_COMPARED = 2_000
"""Maximum number of paths that are compared with a wrong path to find the closest one."""


@dataclass(frozen=True)
class Exclusions:
    """The content of a list.

    Attributes
    ----------
    file : the list.
    reasons : the reason for each photo, by path.
    """

    file: Path
    reasons: dict[str, str]

    def __str__(self) -> str:
        """Return the list's path, and how many photos the list leaves out and why."""
        return f"{self.file}: {self.summary()}"

    def summary(self) -> str:
        """Return how many photos are left out and why, by kind of reason, with the most frequent kind first."""
        kinds = Counter(reason.partition(":")[0].strip() for reason in self.reasons.values()).most_common()
        first = ", ".join(f"{shown(kind)} ({count:,})" for kind, count in kinds[:_MOST_KINDS])
        more = len(kinds) - _MOST_KINDS
        why = f": {first}" if first else ""
        further = f" and {counted(more, 'more reason')}" if more > 0 else ""
        return f"{counted(len(self.reasons), 'photo')} left out{why}{further}"

    def variant(self, variant: str) -> str:
        """Return the variant name of a listing without the excluded photos; the reasons do not affect it."""
        return f"{variant} without {hashlib.sha256(chr(0).join(sorted(self.reasons)).encode()).hexdigest()[:12]}"


def read_exclusions(file: str) -> Exclusions:
    """Return the content of a list of excluded photos.

    Raises
    ------
    DataError: the list cannot be read, has no column `path` or `reason`, has a row with an empty field, or contains a
        path twice.
    """
    path = Path(file).expanduser()
    try:
        content = read_file(path, _MOST_BYTES)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}; set data.exclude to a list of excluded photos (a "
            f"CSV file with the columns path and reason), or remove data.exclude"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8: {error}; save it as UTF-8") from error
    reasons: dict[str, str] = {}
    for line, photo, reason in _rows(path, text):
        if not photo or not reason:
            raise DataError(f"{path}, line {line}: {'path' if not photo else 'reason'} is empty; complete the row")
        if photo in reasons:
            raise DataError(f"{path}, line {line}: {photo!r} is listed twice; remove one of its rows")
        reasons[photo] = reason
    return Exclusions(path, reasons)


def _rows(path: Path, text: str) -> Iterable[tuple[int, str, str]]:
    """Yield the line number, path and reason of every row."""
    lines = text.splitlines(keepends=True)
    head = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    reader = csv.reader(io.StringIO("".join(lines[head:]), newline=""), strict=True)
    try:
        columns = next(reader, [])
        if lacking := [name for name in COLUMNS if name not in columns]:
            if len(columns) == 1 and (sign := next((sign for sign in ";\t|" if sign in columns[0]), None)):
                raise DataError(f"{path}, line {head + 1}: the fields are separated by {sign!r}; use commas instead")
            raise DataError(
                f"{path}, line {head + 1}: lacks the column {', '.join(lacking)}; the first row after the comments "
                f"must be `path,reason`"
            )
        photo, reason = (columns.index(name) for name in COLUMNS)
        for row in reader:
            if row:
                cells = [*row, *[""] * len(columns)]
                yield head + reader.line_num, from_spreadsheet_cell(cells[photo]), cells[reason].strip()
    except csv.Error as error:
        raise DataError(f"{path}, line {head + reader.line_num}: is not CSV: {error}; correct it") from error


def write_exclusions(file: Path, rows: Sequence[tuple[str, str]], comments: Sequence[str]) -> None:
    """Write a list of excluded photos; an existing file is never replaced.

    Parameters
    ----------
    rows : the path and the reason for each photo; both must be valid UTF-8 text.
    comments : lines for the beginning of the file, which say how the list was made.

    Raises
    ------
    DataError: the file already exists, or cannot be written.
    """
    text = io.StringIO(newline="")
    for comment in comments:
        text.write(f"# {' '.join(storable(comment).split())}\n")
    for row in (COLUMNS, *rows):
        text.write(csv_line(map(spreadsheet_cell, row)))
    try:
        with file.open("x", encoding="utf-8", newline="") as target:
            target.write(text.getvalue())
    except FileExistsError:
        raise DataError(f"{file}: already exists; remove it, or choose a different name") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror or error}; choose a different path") from error


def exclude(listing: PhotoListing, exclusions: Exclusions) -> PhotoListing:
    """Return the listing without the excluded photos.

    Raises
    ------
    DataError: the list contains photos that are not in the data, or all photos of a class in a split.
    """
    _refuse_unknown(listing, exclusions)
    splits = {}
    for name, split in listing.splits.items():
        stays = np.array([path not in exclusions.reasons for path in split.paths], dtype=bool)
        splits[name] = split.chosen(stays)
        _refuse_emptied(listing, name, split, splits[name], exclusions)
    return replace(listing, variant=exclusions.variant(listing.variant), splits=splits)


def _refuse_unknown(listing: PhotoListing, exclusions: Exclusions) -> None:
    there = listing.paths()
    known = set(there)
    if not (unknown := [path for path in exclusions.reasons if path not in known]):
        return
    near = did_you_mean(unknown[0], there[:_MOST_COMPARED])
    raise DataError(
        f"{exclusions.file}: {counted(len(unknown), 'path')} of {len(exclusions.reasons):,} not among the photos in "
        f"{listing.name} in {listing.root}: {listed(unknown)}; {near}correct or remove the rows"
    )


def _refuse_emptied(
    listing: PhotoListing, name: str, before: PhotoSplit, after: PhotoSplit, exclusions: Exclusions
) -> None:
    count = len(listing.classes)
    had, has = (np.bincount(split.labels, minlength=count) for split in (before, after))
    if emptied := [listing.classes[label] for label in np.flatnonzero((had > 0) & (has == 0))]:
        raise DataError(
            f"{exclusions.file}: excludes all {name} photos of {listed(emptied)}; keep some of them, or remove the "
            f"class from the data"
        )
