"""Row digests: SHA-256 hashes of what a row contains, regardless of how Parquet and Arrow store it.

A row has the same digest in its run file and in a segment. The digest also stays the same if a newer version adds
columns to the table, because columns without a value do not count. Unlike a checksum, the digest reveals that a row was
replaced; see `aimlib.records.ledger`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Part = bytes | memoryview | None
"""The value of a column in one row; None if the row has no value."""
Content = Callable[["pa.Array"], tuple[bytes, int]]


def row_digests(table: pa.Table) -> list[str]:
    """Return the digest of every row, 64 hexadecimal digits each.

    Parameters
    ----------
    table : all columns of the rows; their order does not matter.
    """
    heads: list[bytes] = []
    columns: list[list[Part]] = []
    for name in sorted(table.column_names):
        column = table.column(name)
        if column.null_count == len(column):
            continue
        kind, parts = _encoding(column.type)
        heads.append(f"{name} {kind} ".encode())
        columns.append([part for chunk in column.chunks for part in parts(chunk)])
    return [_digest(heads, row) for row in zip(*columns, strict=True)] if columns else [_digest([], ())] * len(table)


def _digest(heads: list[bytes], row: tuple[Part, ...]) -> str:
    content: list[bytes | memoryview] = []
    for head, part in zip(heads, row, strict=True):
        if part is not None:
            content += (head, b"%d\n" % len(part), part)
    return hashlib.sha256(b"".join(content)).hexdigest()


@functools.cache
def _encoding(kind: pa.DataType) -> tuple[str, Callable[[pa.Array], list[Part]]]:
    """Return a type's name, the same for all Arrow encodings, and a function that converts its values to bytes."""
    from pyarrow import types  # noqa: PLC0415 -- listing columns must not import pyarrow

    if types.is_string(kind) or types.is_binary(kind):
        return "text" if types.is_string(kind) else "bytes", functools.partial(_variable, width="<i4")
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return "text" if types.is_large_string(kind) else "bytes", functools.partial(_variable, width="<i8")
    if types.is_list(kind) and _is_number(kind.value_type):
        return f"list of {kind.value_type}", functools.partial(_lists, content=_content(kind.value_type))
    if _is_number(kind):
        return str(kind), functools.partial(_fixed, content=_content(kind))
    return str(kind), _others


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types  # noqa: PLC0415

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_timestamp(kind))


def _others(values: pa.Array) -> list[Part]:
    """Return values of types that this package does not write; a different version may have added such a column."""
    return [None if each is None else json.dumps(each, default=repr).encode() for each in values.to_pylist()]


def _variable(values: pa.Array, width: str) -> list[Part]:
    offsets = _offsets(values, width).tolist()
    buffer = values.buffers()[2]
    content = memoryview(b"" if buffer is None else buffer)
    parts: list[Part] = [content[start:end] for start, end in pairwise(offsets)]
    return _without_nulls(values, parts)


def _fixed(values: pa.Array, content: Content) -> list[Part]:
    found, width = content(values)
    return _without_nulls(values, [found[at : at + width] for at in range(0, width * len(values), width)])


def _lists(values: pa.Array, content: Content) -> list[Part]:
    """Return, for every list, flags that say which of its values are not null, and the values, with 0 for null."""
    bounds = _offsets(values, "<i4")
    inner = values.values.slice(bounds[0], bounds[-1] - bounds[0])
    offsets = (bounds - bounds[0]).tolist()
    present = _present(inner).tobytes()
    found, width = content(inner)
    parts: list[Part] = [present[start:end] + found[width * start : width * end] for start, end in pairwise(offsets)]
    return _without_nulls(values, parts)


def _without_nulls(values: pa.Array, parts: list[Part]) -> list[Part]:
    if not values.null_count:
        return parts
    return [part if there else None for part, there in zip(parts, _present(values), strict=True)]


def _present(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which values are not null."""
    if not values.null_count:
        return np.ones(len(values), np.bool_)
    present: npt.NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    return present


def _content(kind: pa.DataType) -> Content:
    """Return the function that converts numbers or times of a type to bytes (0 for null), and returns their width."""
    if kind.bit_width == 1:
        return lambda values: (values.fill_null(False).to_numpy(zero_copy_only=False).tobytes(), 1)
    return functools.partial(_bytes, width=kind.bit_width // 8)


def _bytes(values: pa.Array, width: int) -> tuple[bytes, int]:
    if not len(values):
        return b"", width
    content = np.frombuffer(values.buffers()[1], np.uint8, width * len(values), width * values.offset)
    if values.null_count:
        content = content.reshape(-1, width) * _present(values)[:, None]
    return content.tobytes(), width


def _offsets(values: pa.Array, width: str) -> npt.NDArray[Any]:
    """Return the offsets at which the values in a list, text or bytes array begin, and where the last one ends."""
    buffer = values.buffers()[1]
    if buffer is None:
        return np.zeros(len(values) + 1, np.dtype(width))
    return np.frombuffer(buffer, width, len(values) + 1, np.dtype(width).itemsize * values.offset)
