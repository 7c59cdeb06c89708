"""Paths of files of weights in a study: relative to the study file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aimlib.weights.files import is_of_torchvision


def beside(folder: Path, document: Any) -> Any:
    """Return a study's document with the paths of all its files of weights relative to `folder` made absolute."""
    if isinstance(document, list):
        return [beside(folder, item) for item in document]
    if not isinstance(document, Mapping):
        return document
    return {key: _placed(folder, str(key), value) for key, value in document.items()}


def _placed(folder: Path, key: str, value: Any) -> Any:
    if key == "model" and isinstance(value, Mapping) and "weights" in value:
        rest = {name: beside(folder, item) for name, item in value.items()}
        return {**rest, "weights": _absolute(folder, value["weights"])}
    if key == "model.weights" and isinstance(value, list):
        return [_absolute(folder, item) for item in value]
    return beside(folder, value)


def _absolute(folder: Path, value: Any) -> Any:
    if isinstance(value, Mapping) and "source" in value:
        return {**value, "source": _absolute(folder, value["source"])}
    if not isinstance(value, str) or value in ("", "none") or is_of_torchvision(value):
        return value
    return str((folder / Path(value).expanduser()).absolute())
