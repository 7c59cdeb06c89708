"""What was measured of a study's arms before they run, so that nothing is measured twice; no part of the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ablations.store.folder import Folder
from aimlib.records import MEASUREMENTS_FILE


def read(folder: Folder) -> dict[str, Any]:
    """Return what is kept; nothing where there is no file, or one that cannot be read: it is measured again then."""
    try:
        content = json.loads(folder.read(MEASUREMENTS_FILE) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write(folder: Folder, content: Mapping[str, Any]) -> None:
    """Keep it in place of what was kept before."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    folder.replace(MEASUREMENTS_FILE, lambda path: path.write_text(text, encoding="utf-8"))
