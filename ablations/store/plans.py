"""The plan of a study: ``study.json``, and every plan that the study has ever had."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from ablations.store import parquet_files
from ablations.store.folder import Folder
from aimlib.errors import StoreError
from aimlib.records import ANALYSIS_PLAN, FILE_NAMES, PLANS, SCHEMA_VERSION, STUDY_FILE
from aimlib.records.checksums import DOCUMENT_KEY, document_checksum, intact_document, plan_damage, sealed_document

_VERSION = "schema_version"
REMEDY = f"restore the newest of {PLANS}/*.json under this name"


def write(folder: Folder, plan: dict[str, Any]) -> None:
    """Store the plan under ``plans``, then make it the current plan."""
    for key in (_VERSION, DOCUMENT_KEY):
        if key in plan:
            raise ValueError(f"plan: the key {key!r} belongs to the store; remove it")
    document = {_VERSION: SCHEMA_VERSION, **plan}
    document[DOCUMENT_KEY] = document_checksum(document)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    content = json.loads(text)
    number = 0
    while not _kept(folder, f"{PLANS}/{number:03d}.json", text, content):
        number += 1
    folder.replace(STUDY_FILE, lambda path: _write(path, text))


def _kept(folder: Folder, name: str, text: str, content: Any) -> bool:
    """Return whether a file contains this plan; create the file if it does not exist."""
    if not folder.exists(name) and folder.create_first([name], lambda temporary: _write(temporary, text)):
        return True
    return bool(_without_additions(_load(folder, name)) == _without_additions(content))


def _without_additions(content: Any) -> Any:
    """Return a plan without the checksum and schema version that the store adds; both differ between versions."""
    if not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if key not in (DOCUMENT_KEY, _VERSION)}


def read(folder: Folder) -> dict[str, Any] | None:
    """Return the current plan, or None."""
    path = folder.root / STUDY_FILE
    if not folder.exists(STUDY_FILE):
        return None
    plan = _load(folder, STUDY_FILE)
    if not isinstance(plan, dict):
        raise StoreError(f"{path}: is not the plan of a study; {REMEDY}")
    if why := damage(folder, plan):
        raise StoreError(f"{path}: is damaged: {why}; {REMEDY}")
    plan.pop(DOCUMENT_KEY, None)
    parquet_files.check_version(path, plan.pop(_VERSION, None), plan.get("package_version"))
    return cast("dict[str, Any]", plan)


def damage(folder: Folder, plan: dict[str, Any]) -> str:
    """Return why the current plan is damaged; empty if it is intact.

    A plan of an earlier version has no checksum. But if a stored plan has one, a current plan of this version was also
    written with one.
    """
    is_ours = plan.get(_VERSION) == SCHEMA_VERSION
    if (
        is_ours
        and DOCUMENT_KEY not in plan
        and any(_has_checksum(folder, name) for name in folder.names(PLANS, FILE_NAMES[PLANS]))
    ):
        return plan_damage(plan) or "its checksum is missing"
    return plan_damage(plan)


def _has_checksum(folder: Folder, name: str) -> bool:
    """Return whether a stored plan is intact and has a checksum."""
    return sealed_document(folder.read(f"{PLANS}/{name}")) is not None


def newest_intact(folder: Folder) -> tuple[str, bytes] | None:
    """Return the name and content of the newest intact plan that was stored.

    A plan without a checksum is returned only if none has a checksum.
    """
    names = sorted(folder.names(PLANS, FILE_NAMES[PLANS]), key=lambda name: int(name.partition(".")[0]), reverse=True)
    for intact in (sealed_document, _unsealed):
        for name in names:
            content = folder.read(f"{PLANS}/{name}")
            if content is not None and intact(content) is not None:
                return f"{PLANS}/{name}", content
    return None


def _unsealed(content: bytes) -> dict[str, Any] | None:
    """Return a plan that need not have a checksum; None if it is damaged."""
    document = intact_document(content)
    return None if document is None or plan_damage(document) else document


def freeze(folder: Folder, content: dict[str, Any], runs_before: int) -> str:
    """Write the analysis plan with its hash and the time, unless a plan exists; return the hash of the stored plan."""
    from analysis.analysis_plan import digest  # noqa: PLC0415 -- pandas, needed once for a study

    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    document = {
        _VERSION: SCHEMA_VERSION,
        "frozen_at": at,
        "runs_before": runs_before,
        "sha256": digest(at, runs_before, content),
        "content": content,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder.create_first([ANALYSIS_PLAN], lambda temporary: _write(temporary, text))
    return str(_load(folder, ANALYSIS_PLAN)["sha256"])


def frozen_hash(folder: Folder) -> str | None:
    """Return the SHA-256 that is stored with the frozen analysis plan; None if no plan can be read."""
    try:
        found = json.loads(folder.read(ANALYSIS_PLAN) or b"{}")["sha256"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{64}", found) else None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _load(folder: Folder, name: str) -> Any:
    try:
        return json.loads(folder.read(name) or b"")
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{folder.root / name}: cannot be read as JSON ({error}); restore it from a copy, or delete it to have it "
            "written again"
        ) from error
