"""Names of arms in a directory with a stored plan, in which runs keep their stored names.

The rule for naming factor combinations (`ablations.planning.factors`) has changed: an arm that earlier versions called
``aim+augmentation`` may be the arm without augmentation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ablations.planning.plan import Plan


def with_stored_names(plan: Plan, before: Mapping[str, Any] | None) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan with the stored names of its factor combinations, and a notice for each name that differs.

    Parameters
    ----------
    before : the plan stored in the study directory, or None if no plan is stored there.
    """
    stored = _stored_names(plan, before or {})
    if not stored:
        return plan, ()
    names = _without_clashes(plan, stored)
    notices = tuple(
        f"arm {stored[name]!r} keeps its stored name; it stands for {_meaning(plan, name)}, and a new study would "
        f"call it {name!r}"
        for name in stored
    )
    return _renamed(plan, names), notices


def _stored_names(plan: Plan, before: Mapping[str, Any]) -> dict[str, str]:
    """Return the stored name of each combination whose runs are all stored under the same outdated name."""
    arm_of = {run["run_id"]: run["arm"] for run in before.get("runs", ())}
    found: dict[str, set[str]] = defaultdict(set)
    for run in plan.runs:
        if run.run_id in arm_of:
            found[run.arm].add(arm_of[run.run_id])
    return {
        name: stored
        for name, (stored, *others) in found.items()
        if not others and stored != name and stored not in plan.study.spec.arms and _is_combination(name, plan)
    }


def _is_combination(name: str, plan: Plan) -> bool:
    return name not in plan.study.spec.arms


def _without_clashes(plan: Plan, stored: Mapping[str, str]) -> dict[str, str]:
    """Return the stored names, with all levels added if an arm's name is the stored name of another arm."""
    taken = set(stored.values())
    spelled = {
        arm.name: f"{plan.study.spec.vary}[{','.join(f'{factor}={level}' for factor, level in arm.levels.items())}]"
        for arm in plan.arms
        if arm.name in taken and arm.name not in stored and _is_combination(arm.name, plan)
    }
    return {**stored, **spelled}


def _meaning(plan: Plan, name: str) -> str:
    levels: Iterable[tuple[str, str]] = next(arm.levels.items() for arm in plan.arms if arm.name == name)
    return ", ".join(f"{factor}={level}" for factor, level in levels)


def _renamed(plan: Plan, names: Mapping[str, str]) -> Plan:
    return replace(
        plan,
        arms=tuple(replace(arm, name=names.get(arm.name, arm.name)) for arm in plan.arms),
        summaries={names.get(name, name): summary for name, summary in plan.summaries.items()},
        data={names.get(name, name): data for name, data in plan.data.items()},
        runs=tuple(replace(run, arm=names.get(run.arm, run.arm)) for run in plan.runs),
    )
