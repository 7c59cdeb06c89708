"""Reading a study's files, in a directory or in object storage, while the study may still be writing them.

Files are written once and become visible only when complete. Compaction writes a segment and then removes the run files
that the segment contains. Run files are therefore listed before segments, and both are listed again if a listed file
has disappeared, so every row is found in at least one place. In a bucket, a late commit may recreate a run file after
compaction, with a row that must be ignored. Segments are therefore listed again after the run files have been read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from aimlib.errors import StoreError
from aimlib.paths import Place, advice_on, for_arrow
from aimlib.records import ADDED, FAILURES, FILE_NAMES, PLANS, RUNS, SEGMENTS, UNBLINDED, run_schema, table_schema
from aimlib.records import Column as RecordColumn
from aimlib.records.checksums import Damaged, verified, verified_group
from analysis.plan import refuse_version

Part = TypeVar("Part")
_THREADS = 4
_REQUESTS = 16  # concurrent requests to object storage, most of which are waiting
_LISTINGS = 100


def read_settled(directory: Place, names: list[str]) -> pa.Table:
    """Return the named columns of every settled run, one row per run id; segments take precedence over run files."""
    parts = collect(directory, lambda path: read_table(path, names))
    table = pa.concat_tables([_select(run_schema().empty_table(), names), *parts])
    return _without_repeats(table)


def read_settled_of(directory: Place, names: list[str], run_ids: Collection[str]) -> pa.Table:
    """Return the named columns, including `run_id`, of these settled runs; row groups without them are not read."""
    empty, wanted = _select(run_schema().empty_table(), names), pa.array(sorted(run_ids), type=pa.string())
    if not run_ids:
        return empty

    def read(path: Place) -> list[pa.Table]:
        def keep(batch: pa.RecordBatch) -> pa.Table:
            table = pa.Table.from_batches([batch])
            return _select(table.filter(pc.is_in(table["run_id"], value_set=wanted)), names)

        return read_batches(path, names, run_ids, keep)

    found = pa.concat_tables([empty, *(table for tables in collect(directory, read) for table in tables)])
    return _without_repeats(found)


def _without_repeats(table: pa.Table) -> pa.Table:
    """Return the first row with each run id."""
    first = first_positions(table["run_id"].to_pylist())
    return table if len(first) == len(table) else table.take(pa.array(first, type=pa.int64()))


def collect(directory: Place, read: Callable[[Place], Part]) -> list[Part]:
    """Return the result of `read` for every segment and run file, segments first.

    Raises
    ------
    StoreError: the directory no longer exists, files keep disappearing because somebody is deleting results, or `read`
        raised the error.
    """
    if isinstance(directory, Path) and not directory.is_dir():
        raise StoreError(f"{directory}: no longer exists; specify the results of an existing study")
    done: dict[Place, Part] = {}
    for _ in range(_LISTINGS):
        runs = listed(directory / RUNS)
        segments = listed(directory / SEGMENTS)
        unread = [path for path in (*segments, *runs) if path not in done]
        with ThreadPoolExecutor(_THREADS if isinstance(directory, Path) else _REQUESTS) as pool:
            parts = list(pool.map(lambda path: _or_vanished(read, path), unread))
        done |= {path: part for path, part in zip(unread, parts, strict=True) if part is not None}
        if all(part is not None for part in parts) and not (runs and _new_segments(directory, segments)):
            return [done[path] for path in sorted(done, key=lambda path: (path.parent.name != SEGMENTS, path))]
    gone = next(path for path, part in zip(unread, parts, strict=True) if part is None)
    raise StoreError(
        f"{gone}: is listed but cannot be found; files may have disappeared while they were being read. Wait until no "
        "other process is writing to this folder; if the problem persists, move what has this name elsewhere"
    )


def _new_segments(directory: Place, known: Collection[Place]) -> set[Place]:
    """Return the segments written since the last listing; in a directory, commits are never late."""
    return set() if isinstance(directory, Path) else set(listed(directory / SEGMENTS)).difference(known)


def _or_vanished(read: Callable[[Place], Part], path: Place) -> Part | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None


def read_failures(directory: Place, names: list[str], settled: set[str]) -> pa.Table:
    """Return the named columns of the last failed attempt of every run that is not settled."""
    last: dict[str, Place] = {}
    for path in listed(directory / FAILURES):  # sorted, so that a later attempt replaces an earlier attempt
        run_id = path.name.partition(".")[0]
        if run_id not in settled:
            last[run_id] = path
    parts = [_or_vanished(lambda path: read_table(path, names), path) for path in last.values()]
    return pa.concat_tables([_select(run_schema().empty_table(), names), *(part for part in parts if part is not None)])


def listed(directory: Place) -> list[Place]:
    """Return a study folder's files whose names match `FILE_NAMES`, sorted; empty if the folder does not exist."""
    pattern = FILE_NAMES[directory.name]
    return [path for path in _entries(directory) if pattern.fullmatch(path.name)]


def strays(directory: Place, *, similar: bool = True) -> list[Place]:
    """Return the files in the folders of `FILE_NAMES` whose names do not match, sorted.

    Readers ignore these files. If such a file contains a run's row, the run counts as missing. The store's temporary
    files are not included. A folder that cannot be listed counts as empty, because whoever needs its files reports the
    folder.

    Parameters
    ----------
    similar : return only files whose names contain the suffix of the folder's files, such as copies.
    """
    found = []
    for folder, names in FILE_NAMES.items():
        suffix = ".json" if folder in (PLANS, UNBLINDED) else ".parquet"
        others: list[Place] = []
        with suppress(StoreError):
            others = [path for path in _entries(directory / folder) if not names.fullmatch(path.name)]
        found += [path for path in others if suffix in path.name or not (similar or path.suffix == ".tmp")]
    return found


def _entries(directory: Place) -> list[Place]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{directory}: cannot be listed ({error.strerror}); check the disk, and read again") from error


def read_table(path: Place, names: list[str]) -> pa.Table:
    """Return columns from a run file, failure file or segment.

    Raises
    ------
    FileNotFoundError: the file has disappeared.
    StoreError: the file is broken, lacks columns, or has a different schema version.
    """
    return _select(_opened(path, lambda file: _joined(file, names)), names)


def read_batches(
    path: Place, names: list[str], wanted: Collection[str], convert: Callable[[pa.RecordBatch], Part]
) -> list[Part]:
    """Return the result of `convert` for every batch of at most 64 runs, which limits the RAM that predictions need.

    Row groups without a wanted run id are not read. A group is about 64 MB and is read and verified as a whole.
    """
    known = set(wanted)

    def read(file: Any) -> list[Part]:
        found = []
        for number, ids in enumerate(verified(file, ["run_id"])):
            if not known.isdisjoint(ids["run_id"].to_pylist()):
                found += [convert(batch) for batch in verified_group(file, number, names).to_batches(64)]
        return found

    return _opened(path, read)


def read_rows(path: Place, convert: Callable[[pa.Table], Part], wanted: Collection[str] | None = None) -> list[Part]:
    """Return the result of `convert` for every row group of about 64 MB, with all stored columns.

    Parameters
    ----------
    wanted : row groups without any of these run ids are not read; None: all are read.
    """
    known = None if wanted is None else set(wanted)

    def read(file: Any) -> list[Part]:
        names = file.schema_arrow.names
        if known is None:
            return [convert(rows) for rows in verified(file, names)]
        groups = [set(ids["run_id"].to_pylist()) for ids in verified(file, ["run_id"])]
        return [convert(verified_group(file, n, names)) for n, ids in enumerate(groups) if not known.isdisjoint(ids)]

    return _opened(path, read)


def read_plain(path: Place, columns: tuple[RecordColumn, ...]) -> pa.Table:
    """Return `models.parquet` or a table of images, cast to the types of its columns."""
    import pyarrow.parquet as pq  # noqa: PLC0415 -- keeps `import analysis` as cheap as pandas

    try:
        with pq.ParquetFile(for_arrow(path), page_checksum_verification=True) as file:
            found = _joined(file, file.schema_arrow.names)
        return found.select([column.name for column in columns]).cast(table_schema(columns))
    except FileNotFoundError:
        raise
    except (Damaged, pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"{path}: not a readable table with this schema ({_short(error)}); "
            f"{advice_on(error, 'delete it and run `ablate run`')}"
        ) from None


def _joined(file: Any, names: list[str]) -> pa.Table:
    parts = list(verified(file, names))
    return pa.concat_tables(parts) if parts else file.schema_arrow.empty_table().select(_among(file, names))


def _among(file: Any, names: list[str]) -> list[str]:
    return [name for name in names if name in file.schema_arrow.names]


def _opened(path: Place, use: Callable[[Any], Part]) -> Part:
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(for_arrow(path), page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            refuse_version(_number(metadata.get(b"schema_version", b"none")), path)
            present = {*file.schema_arrow.names, *ADDED}
            absent = [name for name in run_schema().names if name not in present]
            if absent:
                raise StoreError(f"{path}: lacks the columns {', '.join(absent)}; {_remedy(path)}")
            return use(file)
    except FileNotFoundError:
        raise
    except Damaged as damage:
        raise StoreError(f"{path}: is damaged: {damage}; {_remedy(path)}") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        advice = advice_on(error, _remedy(path))
        raise StoreError(f"{path}: not a readable Parquet file ({_short(error)}); {advice}") from None


def _remedy(path: Place) -> str:
    if path.parent.name == SEGMENTS:
        return "restore it from a copy, or delete it and run `ablate run` to repeat the runs in it"
    return "delete it and run `ablate run` to repeat this run"


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _number(text: bytes) -> int | str:
    return int(text) if text.isdigit() else text.decode(errors="replace")


def _select(table: pa.Table, names: list[str]) -> pa.Table:
    """Return the named columns in that order; columns added since the table was written are null."""
    whole = run_schema()
    schema = pa.schema([whole.field(name) for name in names])
    for name in [name for name in names if name in ADDED and name not in table.column_names]:
        table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    return table.select(names).cast(schema)


def first_positions(keys: Iterable[str]) -> list[int]:
    """Return the position of the first occurrence of every key, in order."""
    first: dict[str, int] = {}
    for position, key in enumerate(keys):
        first.setdefault(key, position)
    return list(first.values())
