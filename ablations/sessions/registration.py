"""What is written about a study before its first run: its plan, the frozen analysis plan, its models and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from ablations.sessions import obsolete
from ablations.store import ResultStore
from aimlib.errors import UsageError
from aimlib.records import ANALYSIS_PLAN


def refuse_another_study(store: ResultStore, name: str) -> None:
    """Refuse a directory that contains the results of a study with another name.

    Raises
    ------
    UsageError: it does.
    """
    before = store.read_plan()
    if before is not None and before.get("name") != name:
        raise UsageError(f"{store.location}: holds the study {before.get('name')!r}, not {name!r}; give another --out")


def prepare(plan: Plan, store: ResultStore) -> dict[str, Any] | None:
    """Return the analysis plan for `register` to freeze, None if one is frozen; takes a second, writes nothing."""
    return None if store.has_analysis_plan() else planning.analysis_plan(planning.document(plan))


def register(
    plan: Plan, store: ResultStore, settled: set[str], console: Console, analysis_plan: dict[str, Any] | None
) -> None:
    """Write everything but results, and report which existing results are used.

    Parameters
    ----------
    settled : ids of all settled runs in the store.
    analysis_plan : as `prepare` returned it.
    """
    store.clean()
    before = store.read_plan()
    document = planning.document(plan, before)
    for code, content in obsolete.record(plan).items():
        store.keep_code(code, content)
    store.write_plan(document)
    if analysis_plan is not None and not store.has_analysis_plan():
        sha256 = store.freeze_analysis_plan(analysis_plan)
        console.print(f"The analysis plan is frozen: {ANALYSIS_PLAN}, SHA-256 {sha256[:16]}…", highlight=False)
    store.write_models(planning.model_rows(plan.arms, plan.summaries))
    for data in {data.fingerprint: data for data in plan.data.values()}.values():
        store.write_images(data.fingerprint, planning.image_rows(data))
    planned = {run.run_id for run in plan.runs}
    kept = len(settled & planned)
    if kept:
        console.print(f"{kept} of {len(planned)} runs are already settled and are not repeated.")
    for line in stale(settled - planned, before, document):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def stale(left: set[str], before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Iterable[str]:
    """Yield a message about settled runs that are no longer part of the study, with the reason.

    Parameters
    ----------
    left : ids of settled runs that the plan does not have.
    before, now : the plan as it was stored and as it is.
    """
    arms_before = {run["run_id"]: run["arm"] for run in (before or {}).get("runs", ())}
    names = {arm["name"] for arm in now["arms"]}
    counts = Counter(arms_before.get(run_id, "") for run_id in left)
    for arm, count in sorted(counts.items()):
        if not arm:
            why = "of earlier versions of the study are"
        elif arm in names:
            why = f"of arm {arm}, which was changed or has fewer seeds now, are"
        else:
            why = f"of arm {arm}, which the study no longer has, are"
        yield f"stale: {count} settled runs {why} left out of the report; they stay where they are"
