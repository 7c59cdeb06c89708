"""Measurements made before a study's arms run, stored to avoid repeating them; they are not part of the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ablations.store.folder import Folder
from aimlib.records import MEASUREMENTS_FILE
from aimlib.records.checksums import intact_document, with_checksum


def read(folder: Folder) -> dict[str, Any]:
    """Return the stored measurements; empty if the file is missing or damaged, so that the arms are measured again."""
    return intact_document(folder.read(MEASUREMENTS_FILE)) or {}


def write(folder: Folder, content: Mapping[str, Any]) -> None:
    """Replace the stored measurements."""
    text = json.dumps(with_checksum(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    folder.replace(MEASUREMENTS_FILE, lambda path: path.write_text(text, encoding="utf-8"))
