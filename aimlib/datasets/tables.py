"""Tables written by users, in CSV or Parquet; every row is returned with its place, for use in messages."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aimlib.errors import DataError
from aimlib.paths import read_file

MOST_BYTES = 1_000_000_000
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "|"}
_INSTEAD = (
    ("version https://git-lfs", "a Git LFS pointer instead of the table; fetch it with `git lfs pull`"),
    ("<", "a web page instead of a table, probably a server error; fetch it again"),
    ("pk\x03\x04", "a spreadsheet or a zip file instead of a table; save it as CSV in UTF-8"),
    ("{", "JSON instead of a table; write it as CSV in UTF-8, or as Parquet"),
)
"""First bytes, in lower case, of files that are often supplied in place of a table."""
_OF_PHOTOS = ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"
_UTF_16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    path : path of its file.
    columns : the names of the table's columns.
    rows : for each row, its place, such as ``line 7``, and its values by column; can be iterated only once.
    delimiter : separator between the fields of a CSV file; empty for Parquet.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Iterator[tuple[str, Mapping[str, Any]]]
    delimiter: str = ""

    def at(self, place: str) -> str:
        """Return the beginning of a message about the row at `place`."""
        return f"{self.path}, {place}"


def read_table(path: Path, remedy: str, delimiter: str | None = None) -> Table:
    """Read a table from a file: Parquet if its suffix is .parquet or .pq, else CSV with the column names in line 1.

    Parameters
    ----------
    remedy : what to do if the file cannot be read.
    delimiter : separator between CSV fields; None: a tab in files whose suffix is .tsv, else a comma.

    Raises
    ------
    DataError: the file cannot be read, is not in UTF-8, or has no columns. Reading `rows` raises it if the number of
        fields in a row differs from the number of columns.
    """
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; {remedy}") from error
    if path.suffix.lower() in (".parquet", ".pq"):
        return _parquet(path, content)
    return _csv(path, _text(path, content), delimiter or ("\t" if path.suffix.lower() == ".tsv" else ","))


def _parquet(path: Path, content: bytes) -> Table:
    import pyarrow as pa  # noqa: PLC0415 -- only for this format
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: is not a readable Parquet file: {str(error).splitlines()[0]}; write it again"
        ) from error

    def rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
        number = 0
        for batch in table.to_batches(max_chunksize=10_000):
            for number, row in enumerate(batch.to_pylist(), number + 1):  # noqa: B020 -- counts on
                yield f"row {number}", row

    return Table(path, tuple(map(str, table.column_names)), rows())


def _text(path: Path, content: bytes) -> str:
    if content.startswith(_UTF_16) or b"\0" in content[:1000]:
        raise DataError(f"{path}: is UTF-16 or not text, instead of UTF-8; save it as UTF-8, or as Parquet")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8, e.g. with "
            f"`iconv -f latin1 -t utf8`"
        ) from error


def _csv(path: Path, text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise DataError(f"{path}, line 1: is not CSV: {error}; correct it") from error
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise DataError(f"{path}, line 1: has the column {twice!r} twice; rename one")

    def rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
        end = reader.line_num
        while True:
            place = f"line {end + 1}"
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise DataError(f"{path}, {place}: is not CSV: {error}; correct it") from error
            end = reader.line_num
            if fields is None:
                return
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path}, {place}: has {len(fields)} fields instead of {len(header)}; put fields that contain "
                    f"{DELIMITERS.get(delimiter, delimiter)} in double quotes"
                )
            yield place, dict(zip(header, fields, strict=True))

    return Table(path, tuple(header), rows(), delimiter)


def lacking(table: Table, column: str, option: str) -> DataError:
    """Return the error about a missing column; its message gives the likely cause.

    Parameters
    ----------
    option : the option that sets the column's name, such as ``data.columns.path``.
    """
    found = ", ".join(table.columns)
    shown = (found[:200] + " ..." if len(found) > 200 else found) or "none"
    near = next((name for name in table.columns if name.casefold() == column.casefold()), None)
    other = next((sign for sign in DELIMITERS if sign != table.delimiter and sign in found), None)
    if (instead := next((text for mark, text in _INSTEAD if found.lower().startswith(mark)), None)) is not None:
        return DataError(f"{table.path}: is {instead}")
    if near is not None:
        remedy = f"set {option}: {near}"
    elif table.delimiter and len(table.columns) == 1 and other is not None:
        remedy = f"the fields are separated by {DELIMITERS[other]}: set data.delimiter: {other!r}"
    elif any(name.lower().endswith(_OF_PHOTOS) for name in table.columns):
        remedy = "the first line describes a photo: insert a line with the column names before it"
    else:
        remedy = f"add its name to the first line, or write the column's name as {option}"
    return DataError(f"{table.path}: lacks the column {column!r}; its columns: {shown}; {remedy}")
