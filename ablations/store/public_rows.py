"""Rows and plans for publication, without paths, logins, addresses or machine names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from aimlib.records.redaction import HIDDEN, SECRET_NAME
from analysis.browse.disclosure import is_local, public_text
from analysis.reading.frames import parsed_json

_KEPT = frozenset({"run_id", "arm", "seed", "identity", "data_fingerprint", "git_commit", "git_dirty", "network"})
"""Text columns that are hashes, or from which other values are hashed."""
_NUMBERED = {"host": "host", "device_uuid": "device"}


@dataclass
class Names:
    """Hosts and devices with their numbers, and texts that must not change.

    Attributes
    ----------
    hosts : number of each host, by host name.
    devices : number of each device, by UUID.
    identities : for each run id, the text of which the id is the hash.
    """

    hosts: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_rows(cls, tables: Iterable[pa.Table]) -> Names:
        """Return the names of all hosts and devices in these rows, numbered in order of appearance."""
        names = cls()
        for rows in tables:
            for column in _NUMBERED:
                for name in rows[column].to_pylist() if column in rows.column_names else ():
                    if name is not None:
                        names.of(column, name)
        return names

    def of(self, column: str, name: str) -> str:
        """Return the numbered name of a host or device."""
        known = self.hosts if column == "host" else self.devices
        return f"{_NUMBERED[column]}-{known.setdefault(name, len(known) + 1)}"


def public_rows(rows: pa.Table, names: Names) -> pa.Table:
    """Return rows without paths or machine names.

    Parameters
    ----------
    rows : run, failure or model rows with any columns.
    names : names of all hosts and devices; this function adds the identities of the runs to the object.
    """
    if "identity" in rows.column_names:
        pairs = zip(rows["run_id"].to_pylist(), rows["identity"].to_pylist(), strict=True)
        names.identities.update((run_id, text) for run_id, text in pairs if text)
    for column in _NUMBERED:
        rows = _changed(rows, column, partial(names.of, column))
    for column in rows.column_names:
        if pa.types.is_string(rows.schema.field(column).type) and column not in (*_KEPT, *_NUMBERED):
            rows = _changed(rows, column, lambda text: _public(text, names))
    return rows


def _changed(rows: pa.Table, column: str, change: Callable[[str], str]) -> pa.Table:
    """Return rows with every text in a column changed; `change` is called only once for equal texts."""
    if column not in rows.column_names:
        return rows
    found: dict[str | None, str | None] = {None: None}
    values = rows[column].to_pylist()
    for value in values:
        if value not in found:
            found[value] = change(value)
    position = rows.schema.get_field_index(column)
    texts = pa.array([found[value] for value in values], type=rows.schema.field(column).type)
    return rows.set_column(position, rows.schema.field(column), texts)


def _public(text: str, names: Names) -> str:
    """Return a text, or a JSON document in its own format, without paths or machine names."""
    if text[:1] in "{[":
        document = parsed_json(text, None)  # None for text that only begins like a document
        if document is not None:
            changed = public_document(document, names)
            return text if changed == document else json.dumps(changed, ensure_ascii=False)
    return public_text(text, names.hosts)


def public_document(document: Any, names: Names) -> Any:
    """Return a JSON document in which path options are null and texts contain no paths or machine names."""
    if isinstance(document, Mapping):
        return {key: _value(key, value, names) for key, value in document.items()}
    if isinstance(document, list):
        return [public_document(value, names) for value in document]
    if isinstance(document, str):
        return public_text(document, names.hosts)
    return document


def _value(key: str, value: Any, names: Names) -> Any:
    if isinstance(value, str) and is_local(key):
        return None
    if value is not None and not isinstance(value, (bool, Mapping, list)) and SECRET_NAME.search(key):
        return HIDDEN
    if key in ("run_id", "arm", "claim", "name"):  # names in the study that also appear in other files
        return value
    return public_document(value, names)
