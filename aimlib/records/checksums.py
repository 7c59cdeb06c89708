"""Checksums of stored content, computed with xxHash (XXH3); they reveal damage, not forgery.

A *sealed* file ends with a line that contains the checksum of everything before it. Readers of checkpoints ignore what
follows the archive, so earlier versions of this package can read sealed files. Files written by earlier versions have
no seal.

The key-value metadata of a Parquet file contain a checksum of the values of every column in every row group. Because a
checksum covers the values that a reader gets, damage anywhere in the file (data, page headers, footer) is found if it
changes a value that is read. Columns that are not read are not checked and need not be.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

KEY = b"checksums"
_DIGITS = 16

_MARK = b"\nxxh3_128 "
_SEAL_BYTES = len(_MARK) + 32 + 1
_BLOCK_BYTES = 1 << 22


class SealedWriter:
    """Writes to a file and seals it at the end.

    Parameters
    ----------
    file : the file, opened for writing and positioned at its start.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = xxhash.xxh3_128()

    def write(self, content: bytes) -> int:
        """Write part of the content; return its size in bytes."""
        self._digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def seal(self) -> None:
        """Write the checksum of everything written so far. Nothing may follow it."""
        self._file.write(_MARK + self._digest.hexdigest().encode("ascii") + b"\n")


def is_intact(path: Path) -> bool | None:
    """Return whether the content of a file matches its seal; None if the file has no seal.

    Raises
    ------
    OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - _SEAL_BYTES
        if size < 0:
            return None
        file.seek(size)
        seal = file.read()
        if not (seal.startswith(_MARK) and seal.endswith(b"\n")):
            return None
        digest = xxhash.xxh3_128()
        file.seek(0)
        while size > 0:
            block = file.read(min(size, _BLOCK_BYTES))
            if not block:  # the file has become shorter meanwhile
                return False
            digest.update(block)
            size -= len(block)
    return digest.hexdigest().encode("ascii") == seal[len(_MARK) : -1]


DOCUMENT_KEY = "checksum"
"""Key of the checksum in a JSON document."""


def document_checksum(document: Mapping[str, Any]) -> str:
    """Return the checksum of a JSON document's values, without its own checksum; the order of keys does not matter."""
    rest = {key: value for key, value in document.items() if key != DOCUMENT_KEY}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode("ascii"))


def document_is_intact(document: Mapping[str, Any]) -> bool | None:
    """Return whether a JSON document matches its checksum; None if it has no checksum."""
    stored = document.get(DOCUMENT_KEY)
    return None if stored is None else bool(stored == document_checksum(document))


def plan_damage(plan: Mapping[str, Any]) -> str:
    """Return why a stored plan is damaged; empty if it is intact, or has no checksum, as in earlier versions."""
    if document_is_intact(plan) is False:
        return "its checksum does not match its content"
    if DOCUMENT_KEY not in plan and (spoilt := next(filter(_is_almost_the_key, plan), None)) is not None:
        return f"its checksum is called {spoilt!r}"
    return ""


def _is_almost_the_key(name: str) -> bool:
    """Return whether a key is the checksum's key with one wrong character, as after a flipped bit."""
    return len(name) == len(DOCUMENT_KEY) and sum(a != b for a, b in zip(name, DOCUMENT_KEY, strict=True)) == 1


def with_checksum(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document to which its checksum has been added."""
    rest = {key: value for key, value in document.items() if key != DOCUMENT_KEY}
    return {**rest, DOCUMENT_KEY: document_checksum(rest)}


def intact_document(content: bytes | None) -> dict[str, Any] | None:
    """Return the JSON document in a file, without its checksum; None if the file is damaged or does not exist.

    A file from an earlier version has no checksum; its document is returned if it can be read.
    """
    try:
        document = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document_is_intact(document) is False:
        return None
    document.pop(DOCUMENT_KEY, None)
    return document


def sealed_document(content: bytes | None) -> dict[str, Any] | None:
    """Return what `intact_document` returns, but None without a checksum; for documents that always had one."""
    try:
        document = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return intact_document(content) if isinstance(document, dict) and document.get(DOCUMENT_KEY) is not None else None


class Damaged(Exception):  # noqa: N818 -- a finding; readers convert it to an error with a remedy
    """The values in a file differ from the values that were written."""


def checksums(table: pa.Table) -> str:
    """Return the checksums of a table's columns, in column order: 16 hexadecimal digits each."""
    return "".join(_checksum(name, table.column(name)) for name in table.column_names)


def add_checksums(writer: pq.ParquetWriter, groups: Sequence[str]) -> None:
    """Add the `checksums` of all written row groups to a file's metadata, before the file is closed."""
    writer.add_key_value_metadata({KEY: json.dumps(list(groups), separators=(",", ":"))})


def has_checksums(file: pq.ParquetFile) -> bool:
    """Return whether a Parquet file has checksums; files from earlier versions do not."""
    return KEY in (file.metadata.metadata or {})


def verified_group(file: pq.ParquetFile, group: int, names: Sequence[str]) -> pa.Table:
    """Return columns of one row group, after comparing their values with the checksums, if the file has checksums.

    Raises
    ------
    Damaged: the values differ from their checksums.
    """
    table = file.read_row_group(group, columns=list(names), use_threads=False)
    expected = _expected(file, group)
    if expected is not None:
        for name in table.column_names:
            if _checksum(name, table.column(name)) != expected.get(name):
                raise Damaged(f"the checksum of column {name} does not match its values")
    return table


def verified(file: pq.ParquetFile, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield `verified_group` for every row group.

    Raises
    ------
    Damaged: values differ from their checksums, or row groups are missing.
    """
    groups = _groups(file)
    if groups is not None and len(groups) != file.num_row_groups:
        raise Damaged(f"it has {file.num_row_groups} row groups instead of {len(groups)}")
    for group in range(file.num_row_groups):
        yield verified_group(file, group, names)


def check_identities(table: pa.Table) -> None:
    """Compare run ids with the texts that they hash, and these texts with the seeds and data fingerprints in the rows.

    Parameters
    ----------
    table : a table with the columns run_id, seed, data_fingerprint and identity; identity may be absent or null.

    Raises
    ------
    Damaged: in some row, the run id, the text, the seed and the data fingerprint do not match.
    """
    if "identity" not in table.column_names:
        return
    names = ("run_id", "identity", "seed", "data_fingerprint")
    for run_id, text, seed, data in zip(*(table.column(name).to_pylist() for name in names), strict=True):
        if text is None:
            continue
        if hashlib.sha256(text.encode()).hexdigest()[: len(run_id)] != run_id:
            raise Damaged(f"run id {run_id} is not the hash of its identity")
        try:
            content = json.loads(text)
            same = (content["data"], content["run"]["seed"]) == (data, seed)
        except (ValueError, KeyError, TypeError, RecursionError):
            same = False
        if not same:
            raise Damaged(f"the identity of run {run_id} has a different seed or different data from its row")


def _groups(file: pq.ParquetFile) -> list[str] | None:
    if not has_checksums(file):
        return None
    try:
        groups = json.loads(file.metadata.metadata[KEY])
    except ValueError:
        groups = None
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise Damaged("its checksums are not readable")
    return groups


def _expected(file: pq.ParquetFile, group: int) -> dict[str, str] | None:
    groups = _groups(file)
    if groups is None:
        return None
    names = file.schema_arrow.names
    if group >= len(groups) or len(groups[group]) != _DIGITS * len(names):
        raise Damaged("its columns or row groups differ from its checksums")
    return {name: groups[group][_DIGITS * at : _DIGITS * (at + 1)] for at, name in enumerate(names)}


def _checksum(name: str, column: pa.ChunkedArray) -> str:
    """Return the checksum of a column's name, type and values; it does not depend on how Arrow stores them."""
    import pyarrow as pa  # noqa: PLC0415 -- listing columns must not import pyarrow

    kind = column.type
    kind = f"list of {kind.value_type}" if pa.types.is_list(kind) else kind
    digest = xxhash.xxh3_64(f"{name}\n{kind}\n".encode())
    chunks = column.chunks
    if len(chunks) != 1:
        chunks = [pa.concat_arrays(chunks) if chunks else pa.array([], type=column.type)]
    _update(digest, chunks[0], pa.types)
    return str(digest.hexdigest())


def _update(digest: Any, values: pa.Array, types: Any) -> None:
    """Add to a digest the numbers of values and nulls, the positions of the nulls, and all values that are not null."""
    nulls = values.null_count
    digest.update(len(values).to_bytes(8, "little") + nulls.to_bytes(8, "little"))
    if nulls == len(values):
        return
    if nulls:
        digest.update(np.packbits(values.is_valid().to_numpy(zero_copy_only=False)).tobytes())
        values = values.drop_null()
    kind = values.type
    if types.is_list(kind):
        digest.update(np.diff(_offsets(values, "<i4")).tobytes())
        _update(digest, values.flatten(), types)
    elif types.is_string(kind) or types.is_large_binary(kind):
        offsets = _offsets(values, "<i4" if types.is_string(kind) else "<i8")
        digest.update(np.diff(offsets).tobytes())
        content = values.buffers()[2]
        digest.update(b"" if content is None else memoryview(content)[int(offsets[0]) : int(offsets[-1])])
    elif types.is_boolean(kind):
        digest.update(np.packbits(values.to_numpy(zero_copy_only=False)).tobytes())
    else:  # numbers and times with a fixed width
        try:
            width = kind.bit_width // 8
        except ValueError as error:  # for example, a damaged schema turns text into bytes
            raise Damaged(f"a column has values of type {kind}, which is never written") from error
        digest.update(np.frombuffer(values.buffers()[1], np.uint8, width * len(values), width * values.offset))


def _offsets(values: pa.Array, width: str) -> npt.NDArray[Any]:
    """Return the offsets at which the values in a list, string or binary array begin, and where the last one ends."""
    return np.frombuffer(values.buffers()[1], width, len(values) + 1, np.dtype(width).itemsize * values.offset)
