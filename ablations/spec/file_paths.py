"""Paths of files that a study uses, such as weights and lists of excluded photos, relative to the study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aimlib.weights.files import is_of_torchvision


def beside(folder: Path, document: Any) -> Any:
    """Return a study's document with all file paths made absolute; relative paths start from `folder`."""
    if isinstance(document, list):
        return [beside(folder, item) for item in document]
    if not isinstance(document, Mapping):
        return document
    return {key: _placed(folder, str(key), value) for key, value in document.items()}


def _placed(folder: Path, key: str, value: Any) -> Any:
    for (group, option), absolute in _OPTIONS.items():
        if key == group and isinstance(value, Mapping) and option in value:
            rest = {name: beside(folder, item) for name, item in value.items()}
            return {**rest, option: absolute(folder, value[option])}
        if key == f"{group}.{option}" and isinstance(value, list):
            return [absolute(folder, item) for item in value]
    return beside(folder, value)


def _weights(folder: Path, value: Any) -> Any:
    if isinstance(value, Mapping) and "source" in value:
        return {**value, "source": _weights(folder, value["source"])}
    if not isinstance(value, str) or value in ("", "none") or is_of_torchvision(value):
        return value
    return _absolute(folder, value)


def _list(folder: Path, value: Any) -> Any:
    return _absolute(folder, value) if isinstance(value, str) and value else value


def _absolute(folder: Path, value: str) -> str:
    return str((folder / Path(value).expanduser()).absolute())


_OPTIONS: dict[tuple[str, str], Callable[[Path, Any], Any]] = {
    ("model", "weights"): _weights,
    ("data", "exclude"): _list,
}
"""Functions that make the paths in an option absolute, by group and option."""
