"""Filter for values passed to trackers: no file paths, test accuracies before the verdict, or apparent secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aimlib.component import ComponentConfig, Frozen, is_local
from aimlib.records.redaction import HIDDEN, SECRET_NAME, without_secrets

_TEST = "test_"


def options(config: Frozen) -> dict[str, Any]:
    """Return all options of a configuration except local options, by key path, as plain values."""
    return dict(_flat("", _public(config)))


def metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in an epoch's row except test metrics, which must not be seen before the verdict."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, (int, float)) and name != "epoch" and not name.startswith(_TEST)
    }


def _public(value: Any) -> Any:
    if isinstance(value, Frozen):
        named = {"name": value.name} if isinstance(value, ComponentConfig) else {}
        return named | {
            name: HIDDEN if SECRET_NAME.search(name) else _public(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if not is_local(field)
        }
    if isinstance(value, Mapping):
        return {str(key): HIDDEN if SECRET_NAME.search(str(key)) else _public(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_public(item) for item in value]
    return without_secrets(value) if isinstance(value, str) else value


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else key, item)
    elif isinstance(value, (bool, int, float, str)):
        yield path, value
    elif value is not None:
        yield path, str(value)
