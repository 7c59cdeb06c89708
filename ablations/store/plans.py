"""The plan of a study: ``study.json``, and every plan it ever had."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from ablations.store import files, tables
from aimlib.errors import StoreError
from aimlib.records import ANALYSIS_PLAN, PLANS, SCHEMA_VERSION, STUDY_FILE

_VERSION = "schema_version"


def write(directory: Path, plan: dict[str, Any]) -> None:
    """Keep the plan under ``plans`` and make it the current one, in this order."""
    if _VERSION in plan:
        raise ValueError(f"plan: the key {_VERSION!r} is the store's own; leave it out")
    document = {_VERSION: SCHEMA_VERSION, **plan}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    content = json.loads(text)
    number = 0
    while not _kept(directory / PLANS / f"{number:03d}.json", text, content):
        number += 1
    files.replace(directory / STUDY_FILE, lambda path: _write(path, text))


def _kept(path: Path, text: str, content: Any) -> bool:
    """Tell whether `path` holds this plan, creating it where nothing does."""
    if path.exists() or not files.create(path, lambda temporary: _write(temporary, text)):
        return bool(_load(path) == content)
    return True


def read(directory: Path) -> dict[str, Any] | None:
    """Return the current plan, or None."""
    path = directory / STUDY_FILE
    if not path.exists():
        return None
    plan = _load(path)
    if not isinstance(plan, dict):
        raise StoreError(f"{path}: is no plan of a study; restore the newest of {PLANS}/*.json under this name")
    tables.check_version(path, plan.pop(_VERSION, None))
    return cast("dict[str, Any]", plan)


def freeze(directory: Path, content: dict[str, Any], runs_before: int) -> str:
    """Write the analysis plan with its hash and the time, unless one is there; return the hash of the one there."""
    from analysis.frozen import digest  # noqa: PLC0415 -- pandas, needed once in the life of a study

    path = directory / ANALYSIS_PLAN
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    document = {
        _VERSION: SCHEMA_VERSION,
        "frozen_at": at,
        "runs_before": runs_before,
        "sha256": digest(at, runs_before, content),
        "content": content,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files.create(path, lambda temporary: _write(temporary, text))
    return str(_load(path)["sha256"])


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{path}: cannot be read as JSON ({error}); restore it from a copy, or delete it to have it written again"
        ) from error
