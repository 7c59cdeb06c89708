"""Changes in the user's own code since the study was planned, and the runs that belong to the earlier code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ablations.planning.plan import codes
from aimlib.errors import StoreError, counted
from aimlib.own_code import parts
from aimlib.paths import read_file
from aimlib.records import CODE, STUDY_FILE
from aimlib.records.checksums import intact_document
from aimlib.registry import components_of
from analysis.reading.files import read_settled

if TYPE_CHECKING:
    from ablations.planning.plan import Plan
    from aimlib.paths import Place

_SHOWN = 6
"""Maximum number of definitions named in a message."""


def notes(plan: Plan, directory: Place, settled: Collection[str] | None = None) -> list[str]:
    """Return a sentence for each component in the user's own code that has changed since the stored plan.

    The function does not write anything.

    Parameters
    ----------
    directory : study directory, which need not exist.
    settled : ids of all settled runs in the directory; if None, the ids are read if something has changed.
    """
    now = codes(plan)
    before = stored_document(directory / STUDY_FILE) if now else None
    stored = (before or {}).get("code")
    if before is None or not isinstance(stored, dict):
        return []
    changed = [key for key, code in now.items() if stored.get(key, code) != code]
    if not changed:
        return []
    if settled is None:
        settled = read_settled(directory, ["run_id"])["run_id"].to_pylist()
    return [_note(key, str(stored[key]), plan, before, directory, settled) for key in changed]


def _note(
    key: str, code: str, plan: Plan, before: Mapping[str, Any], directory: Place, settled: Collection[str]
) -> str:
    uses = {arm.name for arm in plan.arms if key in parts.bundles(arm.config)}
    planned = {run.run_id for run in plan.runs}
    arms = {str(run["run_id"]): str(run["arm"]) for run in before.get("runs", ())}
    left = Counter(arms[each] for each in settled if each not in planned and arms.get(each) in uses)
    what = f"{_described(key, plan)} changed since the stored plan{_definitions(key, code, plan, directory)}"
    if not left:
        return f"{what}; no settled run belongs to the earlier code"
    runs = counted(left.total(), "settled run belongs", "settled runs belong")
    listed = ", ".join(f"{arm}: {number}" for arm, number in sorted(left.items()))
    return (
        f"{what}; {runs} to the earlier code ({listed}): their rows are kept but omitted from the report, and count "
        f"again if the earlier code, recorded in {CODE}/{code}.json, is restored"
    )


def _described(key: str, plan: Plan) -> str:
    family, _, name = key.partition("/")
    kinds = {each.family: each.kind for arm in plan.arms for each, _ in components_of(arm.config)}
    return f"{kinds.get(family, family)} {name!r}"


def _definitions(key: str, code: str, plan: Plan, directory: Place) -> str:
    """Return the definitions that have changed; empty if the earlier definitions were not recorded."""
    record = stored_document(directory / CODE / f"{code}.json")
    earlier = (record or {}).get("definitions")
    bundle = next(found[key] for arm in plan.arms if key in (found := parts.bundles(arm.config)))
    if not isinstance(earlier, dict):
        return ""
    names = list(differing(earlier, bundle.definitions(key)))
    shown = f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
    return f" ({shown})" if names else ""


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    """Yield the definitions that differ; a class is omitted if any of its methods is named."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    for name in names:
        if not any(other.startswith(f"{name}.") for other in names):
            yield name if name in before and name in now else f"{name} {'added' if name in now else 'removed'}"


def stored_document(path: Place) -> dict[str, Any] | None:
    """Return one of the study's JSON documents; None if it is missing or damaged."""
    try:
        return intact_document(read_file(path))
    except (OSError, StoreError):
        return None


def record(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the record of each component in the user's own code, by hash."""
    found: dict[str, dict[str, Any]] = {}
    for arm in plan.arms:
        for key, bundle in parts.bundles(arm.config).items():
            found[bundle.codes[key]] = {
                "component": key,
                "code": bundle.codes[key],
                "bundle": bundle.hash,
                "file": bundle.label,
                "definitions": bundle.definitions(key),
                "modules": bundle.payload["modules"],
            }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
