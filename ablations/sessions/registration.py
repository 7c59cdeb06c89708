"""Files that are written before a study's first run: the plan, the frozen analysis plan, the models and the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rich.console import Console

from ablations.planning import plan as planning
from ablations.planning.data_facts import shared_images_of
from ablations.planning.plan import Plan
from ablations.sessions import obsolete
from ablations.store import ResultStore
from aimlib.errors import UsageError
from aimlib.paths import Place
from aimlib.records import ANALYSIS_PLAN, STUDY_FILE
from analysis.reading.files import read_settled

_SHOWN = 4
"""Maximum number of arms named in a message about a different study."""


def refuse_another_study(store: ResultStore, plan: Plan, settled: Collection[str]) -> None:
    """Raise an error if a directory contains the results of a different study.

    Parameters
    ----------
    settled : ids of all settled runs in the store.

    Raises
    ------
    UsageError: the directory contains results of a different study.
    """
    if (found := another_study(store.read_plan(), plan, settled)) is not None:
        raise UsageError(f"{store.location}: {found}")


def another_study(before: Mapping[str, Any] | None, plan: Plan, settled: Collection[str]) -> str | None:
    """Return why a stored plan belongs to a different study, and what to do; None if it does not, or there is no plan.

    A study with the same name counts as a different study if it has settled runs, none of these runs is planned now,
    and the only arm in common is the baseline. A study that was merely changed keeps some of its arms or runs.
    """
    if before is None:
        return None
    name = plan.study.spec.name
    if before.get("name") != name:
        return f"contains the study {before.get('name')!r}, not {name!r}; set a different --out"
    known = {str(run["run_id"]) for run in before.get("runs", ())}
    here = {arm.name for arm in plan.arms if arm.role != "baseline"}
    there = [str(arm["name"]) for arm in before.get("arms", ()) if arm.get("role") != "baseline"]
    if not known & set(settled) or known & {run.run_id for run in plan.runs} or here & set(there) or not there:
        return None
    arms = ", ".join(there[:_SHOWN]) + (", …" if len(there) > _SHOWN else "")
    return (
        f"contains a different study named {name!r}, with different arms ({arms}) and no runs of this study; change "
        "the name of this study, or set a different --out"
    )


def another_study_notes(plan: Plan, directory: Place) -> list[str]:
    """Return a message if a study directory, which need not exist, contains a different study; write nothing."""
    before = obsolete.stored_document(directory / STUDY_FILE)
    settled = read_settled(directory, ["run_id"])["run_id"].to_pylist() if before is not None else []
    found = another_study(before, plan, settled)
    return [] if found is None else [f"{directory}: {found}; `ablate run` does not accept it in this state"]


def prepare(plan: Plan, store: ResultStore) -> dict[str, Any] | None:
    """Return the analysis plan that `register` will freeze, or None if a plan is already frozen.

    Computing the plan takes about a second; nothing is written.
    """
    if store.has_analysis_plan():
        return None
    return planning.analysis_plan(planning.document(plan), plan.study.spec.claim)


def register(
    plan: Plan, store: ResultStore, settled: set[str], console: Console, analysis_plan: dict[str, Any] | None
) -> None:
    """Write everything except the results, and report which existing results are used.

    Parameters
    ----------
    settled : ids of all settled runs in the store.
    analysis_plan : the result of `prepare`.
    """
    store.clean()
    before = store.read_plan()
    document = planning.document(plan, before)
    for code, content in obsolete.record(plan).items():
        store.keep_code(code, content)
    if (claim := planning.claim_document(plan)) is not None:
        store.write_claim(claim)
    store.write_plan(document)
    if analysis_plan is not None and not store.has_analysis_plan():
        sha256 = store.freeze_analysis_plan(analysis_plan)
        for text in shared_images_of(plan):
            console.print(f"warning: data: {text}", soft_wrap=True, markup=False, highlight=False)
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
    """Yield messages about settled runs that are no longer part of the study, with the reasons.

    Parameters
    ----------
    left : ids of settled runs that the plan does not contain.
    before, now : the stored plan and the current plan.
    """
    arms_before = {run["run_id"]: run["arm"] for run in (before or {}).get("runs", ())}
    names = {arm["name"] for arm in now["arms"]}
    counts = Counter(arms_before.get(run_id, "") for run_id in left)
    for arm, count in sorted(counts.items()):
        if not arm:
            why = "from earlier versions of the study are"
        elif arm in names:
            why = f"in arm {arm}, which was changed, or now has different data or fewer seeds, are"
        else:
            why = f"in arm {arm}, which is no longer part of the study, are"
        yield f"stale: {count} settled runs {why} omitted from the report; they stay where they are"
