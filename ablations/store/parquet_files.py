"""The store's Parquet files: writing rows, reading run files and segments, and checking their schema version."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aimlib.errors import StoreError
from aimlib.paths import Place, advice_on, for_arrow
from aimlib.records import (
    OLDEST_VERSION,
    SCHEMA_VERSION,
    Column,
    release_to_read,
    run_schema,
    table_schema,
    write_groups,
    write_table,
)
from aimlib.records.checksums import Damaged, verified, verified_group
from aimlib.records.row_digests import row_digests

_ROW_GROUP_BYTES = 64 * 2**20  # size of the rows before compression


def write_rows(rows: list[dict[str, Any]], columns: tuple[Column, ...], path: Path) -> None:
    """Write plain rows as a table with exactly these columns.

    Raises
    ------
    ValueError: a row lacks columns or has unknown columns.
    """
    expected = {column.name for column in columns}
    for number, row in enumerate(rows):
        if set(row) != expected:
            raise ValueError(
                f"row {number}: missing columns {sorted(expected - set(row))}, "
                f"unknown columns {sorted(set(row) - expected)}"
            )
    write_table(pa.Table.from_pylist(rows, schema=table_schema(columns)), path)


def check_version(path: Place, version: object, package: object = None) -> None:
    """Raise StoreError unless this package can read the schema version found in `path`.

    Parameters
    ----------
    package : version of this package that wrote the file, if the file contains it.
    """
    if type(version) is int and OLDEST_VERSION <= version <= SCHEMA_VERSION:
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written with schema version {version}, newer than {SCHEMA_VERSION}, the latest that this "
            f"package can read; update aim-ablations, or {release_to_read(package)}"
        )
    raise StoreError(
        f"{path}: schema version {version!r} is not {OLDEST_VERSION} to {SCHEMA_VERSION}; this package did not write "
        "the file, or its version is too old to continue: use a different directory"
    )


def run_ids(path: Place) -> frozenset[str]:
    """Return the run ids in a run file or segment; only that column is read."""
    with _opened(path) as file:
        return frozenset(each for part in verified(file, ["run_id"]) for each in part.column("run_id").to_pylist())


def digests(path: Place, wanted: Collection[str]) -> dict[str, str]:
    """Return the digests of the wanted runs' rows in a run file or segment; see `aimlib.records.row_digests`.

    Row groups that contain none of these runs are not read.
    """
    found: dict[str, str] = {}
    with _opened(path) as file:
        for group, ids in enumerate(verified(file, ["run_id"])):
            if not set(wanted).isdisjoint(ids.column("run_id").to_pylist()):
                rows = verified_group(file, group, file.schema_arrow.names)
                found |= zip(rows.column("run_id").to_pylist(), row_digests(rows), strict=True)
    return {run_id: digest for run_id, digest in found.items() if run_id in wanted}


def holds(path: Place, run: pa.Table) -> bool:
    """Return whether a segment's row for a run equals this row."""
    with _opened(path) as file:
        for part in verified(file, file.schema_arrow.names):
            rows = part.filter(pc.equal(part.column("run_id"), run.column("run_id")[0]))
            if rows.num_rows:
                # Compared as text, because NaN does not equal itself. A column that only one row has counts as null in
                # the other.
                return _texts(rows, run.column_names) == _texts(run, run.column_names)
    return False


def _texts(rows: pa.Table, names: list[str]) -> list[list[str]]:
    return [[repr(row.get(name)) for name in names] for row in rows.to_pylist()]


def check_file(path: Place) -> pa.Schema:
    """Return the schema of a run file or segment; raise StoreError if the file is broken or its version unknown."""
    with _opened(path) as file:
        return file.schema_arrow


def write_segment(paths: Iterable[Place], segment: Path) -> None:
    """Write the rows of run files to one file, holding about 64 MB of rows at a time.

    Columns added by a different version of this package are kept.

    Raises
    ------
    StoreError: a run file is broken, or contains a different run from the one in its name.
    """
    paths = list(paths)
    schema = _common_schema(paths)
    write_groups(_groups(paths, schema), schema, segment)


def _groups(paths: Iterable[Place], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the row groups of a segment."""
    group: list[pa.Table] = []
    bytes_held = 0
    for path in paths:
        group.append(_read_run(path))
        bytes_held += group[-1].nbytes
        if bytes_held >= _ROW_GROUP_BYTES:
            yield _joined(group, schema)
            group, bytes_held = [], 0
    if group:
        yield _joined(group, schema)


def verify(path: Place) -> None:
    """Read a whole run file or segment, and raise StoreError if it is damaged."""
    with _opened(path) as file:
        for _ in verified(file, file.schema_arrow.names):
            pass


def _joined(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="default").combine_chunks()


def _common_schema(paths: list[Place]) -> pa.Schema:
    schema = run_schema()
    for path in paths:
        try:
            schema = pa.unify_schemas([schema, check_file(path)])
        except pa.ArrowException as error:
            raise StoreError(
                f"{path}: columns have different types from those in the other runs: {error}; {_MEND}"
            ) from error
    return schema


def _read_run(path: Place) -> pa.Table:
    with _opened(path) as file:
        table = pa.concat_tables(verified(file, file.schema_arrow.names))
    if table.column("run_id").to_pylist() != [path.stem]:
        raise StoreError(f"{path}: contains a different run from the one in its name; {_MEND}")
    return table


_MEND = "restore it from a copy, or delete it to have that run computed again"


@contextmanager
def _opened(path: Place) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(for_arrow(path), page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            check_version(path, _number(metadata.get(b"schema_version")))
            yield file
    except Damaged as damage:
        raise StoreError(f"{path}: is damaged: {damage}; {_MEND}") from None
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path}: cannot be read as Parquet; it is damaged or incomplete ({error}); {advice_on(error, _MEND)}"
        ) from error


def _number(text: bytes | None) -> object:
    try:
        return json.loads(text) if text is not None else None
    except ValueError:
        return text
