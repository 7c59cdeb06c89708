"""The user's own photos, listed in a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from aimlib.component import Frozen, local
from aimlib.datasets.listing import PhotoListing, PhotoSplit, named
from aimlib.datasets.locations import data_folder
from aimlib.datasets.photo_tree import Oddity, group_twins, label_twins, refuse, tell
from aimlib.datasets.photos import PhotoConfig, PhotoPlugin, Survey
from aimlib.datasets.splitting import SplitConfig, is_test
from aimlib.datasets.tables import Table, lacking, read_table
from aimlib.datasets.tasks import refuse_other_task_of_labels, refuse_other_task_of_table
from aimlib.errors import DataError, counted, did_you_mean
from aimlib.paths import resolved
from aimlib.records.escaping import shortened, storable
from aimlib.registry import datasets

SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing"),
}
"""Names of splits in a table; case does not matter."""
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
_LONGEST = 80
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")


class Columns(Frozen):
    """The columns in a table of photos. A column whose name is not the default must exist."""

    path: str = "path"
    """Column with the photo's path; the parts of a path are separated by ``/``."""
    label: str = "label"
    """Column with the name of the photo's class."""
    split: str | None = "split"
    """Column with the photo's split: train, val (or validation) or test; null: no split column is read."""
    group: str | None = "group"
    """Column with the photo's group; a group is never divided among splits. null: no group column is read."""


@dataclass(frozen=True)
class Row:
    """A row of the table: its place and its values; `split` and `group` are empty if the table lacks these columns."""

    place: str
    path: str
    label: str
    split: str
    group: str


@datasets.register("image_index")
class ImageIndex(PhotoPlugin):
    """A table of photos as CSV or Parquet, with the columns path and label and, optionally, split and group.

    Paths are relative to `root`, or to the table's folder. All photos in a group must be in the same split. If there is
    no split column, `aimlib.datasets.splitting` splits the photos as `split` says, and keeps groups together. The
    classes are the labels in ascending order.
    """

    source = "the user's own"

    class Config(PhotoConfig):
        """Options for a table of photos."""

        file: str = local(
            "index.csv",
            "The table: below `root` if `root` is set and contains it, else relative to the current folder.",
        )
        root: str | None = local(None, "Folder to which the paths are relative; default: the table's folder.")
        columns: Columns = Columns()
        """Names of the columns."""
        delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = local(
            None, "Separator between CSV fields; default: a tab in files whose suffix is .tsv, else a comma."
        )
        split: SplitConfig | None = None
        """How photos are split if the table has no split column."""

        def with_absolute_paths(self) -> Self:
            """Return the options with absolute paths; only the path of a table below `root` stays relative."""
            own: dict[str, Any] = {"delimiter": self.delimiter}
            if self.root is not None and (data_folder("image_index", self.root) / self.file).is_file():
                own["file"] = self.file
            return super().with_absolute_paths().model_copy(update=own)

    config: Config

    def whereabouts(self) -> tuple[Path, str]:
        """Return the folder to which paths are relative, and a text with the table and the columns that are read."""
        root, file = self._places()
        options = self.config
        split = "" if options.split is None else f" split {options.split.model_dump_json()}"
        return root, f"{resolved(file)} {options.columns.model_dump_json()}{split}"

    def _places(self) -> tuple[Path, Path]:
        """Return the folder to which paths are relative, and the table."""
        file = Path(self.config.file).expanduser()
        if self.config.root is None:
            return file.parent, file
        root = data_folder("image_index", self.config.root)
        return root, root / file if (root / file).is_file() else file

    def listing(self) -> PhotoListing:
        """Return the photos that the table lists."""
        listing, twins = self._listed()
        refuse(self.config.name, self._places()[1], twins)
        tell(self.config.name, twins)
        return listing

    def survey(self) -> Survey:
        """Return the photos that the table lists, and labels or groups that differ but look the same."""
        listing, twins = self._listed()
        return Survey(listing, labels=tuple(twins))

    def _listed(self) -> tuple[PhotoListing, list[Oddity]]:
        root, variant = self.whereabouts()
        remedy = "set data.file to the table, below data.root or relative to the current folder"
        table = read_table(self._places()[1], remedy, self.config.delimiter)
        rows = _rows(table, self._columns(table), root)
        _refuse_repeated(table, rows)
        refuse_other_task_of_labels(str(table.path), [row.label for row in rows])
        rows.sort(key=lambda row: row.path)
        classes = tuple(sorted({row.label for row in rows}))
        splits = self._splits(table, rows, classes)
        lines = {row.path: row.place for row in rows}
        twins = [*label_twins(classes), *group_twins(dict.fromkeys(row.group for row in rows))]
        return PhotoListing(self.config.name, variant, root, (), classes, splits, lines), twins

    def _columns(self, table: Table) -> Columns:
        """Return the table's columns; None for an optional column that the table does not have."""
        wanted, defaults = self.config.columns, Columns()
        refuse_other_task_of_table(str(table.path), table.columns, wanted.label)
        found: dict[str, Any] = {}
        for role in Columns.model_fields:
            name = getattr(wanted, role)
            there = name in table.columns
            alike = name is not None and name.casefold() in map(str.casefold, table.columns)
            is_optional = role in ("split", "group") and name == getattr(defaults, role)
            if name is not None and not there and (alike or not is_optional):
                raise lacking(table, name, f"data.columns.{role}")
            found[role] = name if there else None
        if found["split"] is None and self.config.split is None:
            raise DataError(
                f"{table.path}: has no column {wanted.split or 'for the split'}; add one with train, val or test "
                f"in every "
                f"row, or split the photos by data.split: {{test_fraction: 0.2}}"
            )
        if found["split"] is not None and self.config.split is not None:
            raise DataError(
                f"{table.path}: has the column {found['split']!r}, but data.split defines a different split; "
                f"remove data.split, or set data.columns.split: null to ignore the column"
            )
        return Columns(**found)

    def _splits(self, table: Table, rows: Sequence[Row], classes: Sequence[str]) -> dict[str, PhotoSplit]:
        number = {name: index for index, name in enumerate(classes)}
        labels = np.array([number[row.label] for row in rows], dtype=np.int64)
        photos = PhotoSplit(tuple(row.path for row in rows), labels)
        if self.config.split is not None:
            groups = [row.group for row in rows] if rows and rows[0].group else None
            try:
                test = is_test(self.config.split, photos.paths, labels, classes, groups)
            except DataError as error:
                raise DataError(f"{table.path}: {error}") from error
            return {"train": photos.chosen(~test), "test": photos.chosen(test)}
        _refuse_divided_groups(table, rows)
        split_of = np.array([row.split for row in rows])
        found = {split: photos.chosen(split_of == split) for split in SPLITS}
        for split in ("train", "test"):
            if not found[split].paths:
                raise DataError(f"{table.path}: no row belongs to split {split}; assign some rows to it")
        return {split: chosen for split, chosen in found.items() if chosen.paths}


def _rows(table: Table, columns: Columns, root: Path) -> list[Row]:
    """Check all rows one by one and return them; the error for an invalid row says what is wrong and where."""
    found = [_row(table, place, values, columns, root) for place, values in table.rows]
    if not found:
        raise DataError(f"{table.path}: has no rows; list the photos")
    return found


def _row(table: Table, place: str, values: Mapping[str, Any], columns: Columns, root: Path) -> Row:
    where = table.at(place)
    path, label = (_text(where, values, column) for column in (columns.path, columns.label))
    group = "" if columns.group is None else _text(where, values, columns.group)
    split = ""
    if columns.split is not None:
        word = _text(where, values, columns.split)
        split = _SPLIT_OF.get(word.casefold(), "")
        if not split:
            raise DataError(
                f"{where}: unknown split {shortened(word, _LONGEST)!r}; {did_you_mean(word, _SPLIT_OF)}write "
                f"train, val or test"
            )
    return Row(place, _path(where, path, root), label, split, group)


def _text(where: str, values: Mapping[str, Any], column: str) -> str:
    value = values[column]
    if isinstance(value, dict) and {"bytes", "path"} <= value.keys():
        raise DataError(
            f"{where}: {column} contains the photo itself; write the photos as files, and their paths in the table"
        )
    if isinstance(value, (list, tuple, dict, set)):
        raise DataError(
            f"{where}: {column} has several values; the framework trains on one class per image: write one label "
            f"in every row, or use your own training code with `train:`"
        )
    if isinstance(value, bytes):
        raise DataError(f"{where}: {column} is bytes instead of text; write the column as strings, e.g. with .decode()")
    text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 -- NaN
    if not text:
        raise DataError(f"{where}: {column} is empty; complete the row or remove it")
    if storable(text) != text:
        raise DataError(f"{where}: {column} {storable(text)!r} is not text that a table can hold; rename it")
    return text


def _path(where: str, text: str, root: Path) -> str:
    """Return a path below the root, without redundant parts."""
    if "://" in text:
        raise DataError(
            f"{where}: {shortened(text, _LONGEST)!r} is not a path on this machine; fetch the photos, and write "
            f"their paths below {root}"
        )
    if "\0" in text or _DRIVE.match(text) or ("\\" in text and not (root / text).is_file()):
        raise DataError(
            f"{where}: {shortened(text, _LONGEST)!r} is not a path on this machine; separate the parts of a path "
            f"with /, and write it relative to {root}"
        )
    path = PurePosixPath(text)
    if path.is_absolute() and path.is_relative_to(root.absolute().as_posix()):
        path = path.relative_to(root.absolute().as_posix())
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{where}: {shortened(text, _LONGEST)!r} is not below {root}; set data.root to the folder that "
            f"contains all photos, and write paths relative to it"
        )
    return str(path)


def _refuse_repeated(table: Table, rows: Sequence[Row]) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row.path, row)
        if other is row:
            continue
        both = f"{table.path}: {shortened(row.path, _LONGEST)!r} is in {other.place} and in {row.place}"
        if other.label != row.label:
            raise DataError(
                f"{both}, with the labels {other.label!r} and {row.label!r}: several labels or objects per image, "
                f"but the framework trains on one class per image; keep one row per photo, or use your own "
                f"training code "
                f"with `train:`"
            )
        raise DataError(f"{both}; remove one of the two rows")


def _refuse_divided_groups(table: Table, rows: Sequence[Row]) -> None:
    first: dict[str, Row] = {}
    divided: dict[str, str] = {}
    for row in rows:
        if row.group and first.setdefault(row.group, row).split != row.split:
            other = first[row.group]
            divided.setdefault(row.group, f"{row.group!r} ({other.place}: {other.split}, {row.place}: {row.split})")
    if divided:
        raise DataError(
            f"{table.path}: {counted(len(divided), 'group')} in more than one split: "
            f"{named(list(divided.values()))}; assign all rows of a group to the same split, or set "
            f"data.columns.split: null and data.split to create one"
        )
