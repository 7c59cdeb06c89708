"""Deviations from the frozen analysis plan, which make a study or the comparisons of some arms exploratory.

Meanings are compared, not wordings: a role or rule that was only renamed or reworded is not a deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from aimlib.errors import counted
from aimlib.records import role
from analysis.analysis_plan import GATES, Frozen, estimand, rules_of, scope_lists
from analysis.claims import accepts
from analysis.claims.stored import name_of
from analysis.plan import Plan
from analysis.primary_measure import primary_measure
from analysis.procedures import KEY
from analysis.statistics.planned import planned_comparisons

_SKEW = pd.Timedelta(minutes=10)
"""Tolerance for differences between the clocks of different nodes."""


@dataclass(frozen=True)
class Deviation:
    """A difference between the frozen plan and the study's current state.

    Attributes
    ----------
    arms : names of the arms whose comparisons the difference makes exploratory; None: all arms.
    """

    text: str
    arms: frozenset[str] | None = None

    def touches(self, *arms: str) -> bool:
        """Return whether the difference makes a comparison of these arms exploratory."""
        return self.arms is None or not self.arms.isdisjoint(arms)


def deviations(
    frozen: Frozen | None,
    plan: Plan,
    gains_pp: Mapping[str, float],
    runs: pd.DataFrame,
    claim_scope: Mapping[str, Sequence[str | int]] | None = None,
) -> list[Deviation]:
    """Return what makes a study exploratory, the most far-reaching first; empty if it matches the frozen plan.

    Parameters
    ----------
    runs : the frame of runs from `Results`; no run may have begun before the freeze.
    """
    if frozen is None:
        return [Deviation("no analysis plan was frozen before the first run")]
    was = frozen.content
    now = {
        "name": plan.name,
        "claim": name_of(plan.claim),
        "reported_gains_pp": dict(gains_pp),
        **_measured(plan, was),
        "alpha": plan.looks.alpha,
        "looks": plan.looks.stored,
        "further_block": plan.looks.further_block,
        "data_fingerprint": plan.scope.data_fingerprint,
        "gates": list(GATES),
    }
    stated = {"measure": "accuracy", "delta": was.get("delta_pp"), **was, "claim": name_of(was.get("claim"))}
    found = [
        Deviation(f"{key} is {value!r} but was frozen as {stated.get(key)!r}")
        for key, value in now.items()
        if value != stated.get(key)
    ]
    found += _rules(was, plan) + _of_the_claim(was, plan, gains_pp, claim_scope)
    reused = runs["reused_from"].notna()
    if early := runs_before(runs, frozen):
        found.append(Deviation(f"{counted(early, 'run')} began before the freeze"))
    found += _seeds(was, plan) + _comparisons(was, plan) + _arms(was, plan) + _reused(runs[reused], frozen)
    return sorted(found, key=lambda deviation: deviation.arms is not None)


def runs_before(runs: pd.DataFrame, frozen: Frozen) -> int:
    """Return how many of the study's own runs began before its plan was frozen.

    Runs that were settled by then were counted when the plan was written.
    """
    own = runs.loc[runs["reused_from"].isna(), "started_at"]
    return max(int((own < frozen.at - _SKEW).sum()), frozen.runs_before)


def _reused(runs: pd.DataFrame, frozen: Frozen) -> list[Deviation]:
    """Return whether results of other studies existed before the freeze and could therefore have influenced this plan.

    Unlike for the study's own runs, no clock tolerance is applied. Results of other studies are assumed to have existed
    when the plan was frozen, unless they are known to be newer.
    """
    known = runs[~(runs["started_at"] >= frozen.at)]
    if known.empty:
        return []
    began = f"{counted(len(known), 'run')} of other studies began before the freeze"
    text = f"{began}, so their results may have been known"
    return [Deviation(text, frozenset(known["arm"]))]


def _measured(plan: Plan, was: Mapping[str, Any]) -> dict[str, Any]:
    """Return the smallest effect of interest, and the measure if it is not the accuracy in either plan."""
    if plan.measure.is_accuracy and "measure" not in was:
        return {"delta_pp": plan.delta_pp}
    try:
        frozen = primary_measure(was.get("measure"), plan.delta_pp)
    except ValueError:
        frozen = None
    # Two measures are the same if all their parts are, even if the study leaves out parts that have defaults.
    now = was.get("measure", "accuracy") if frozen == plan.measure.with_digits_for(plan.delta_pp) else plan.measure.name
    return {"measure": now, "delta": plan.delta_pp}


def _rules(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    """Return the rules of the procedure whose meaning differs from the frozen ones; wording does not count.

    In plans that were frozen before rules had numbers, a rule's text determines its number.
    """
    found = []
    stated = was.get("rules") or (was.get(KEY) if isinstance(was.get(KEY), Mapping) else None) or {}
    for name, rule in rules_of(plan.procedure).items():
        meant = rule.number_of(was.get(name))
        if name == "estimand" and not plan.measure.is_accuracy and was.get(name) == estimand(plan):
            meant = rule.number
        number = stated.get(name, meant)
        if meant is None:
            found.append(Deviation(f"{name} is {rule.wording!r} but was frozen as {was.get(name)!r}"))
        elif (meant, number) != (rule.number, rule.number):
            found.append(Deviation(f"the rule on {name} is number {rule.number} but was frozen as number {number}"))
    return found


def _of_the_claim(
    was: Mapping[str, Any],
    plan: Plan,
    gains_pp: Mapping[str, float],
    claim_scope: Mapping[str, Sequence[str | int]] | None,
) -> list[Deviation]:
    """Return whether the study's or the claim's scope changed after the freeze.

    If a plan was frozen before plans contained a scope, only the content of that plan is compared.
    """
    found = []
    frozen = was.get("reported_gains_pp") or {}
    if next(iter(frozen), None) != next(iter(gains_pp), None):
        found.append(Deviation("the deciding reported gain differs from the gain listed first at the freeze"))
    for name, value in (("scope", asdict(plan.scope)), ("claim_scope", scope_lists(claim_scope))):
        then = was.get(name, value)
        # A separate line reports the data of the runs.
        keys = [key for key in {**value, **then} if (name, key) != ("scope", "data_fingerprint")]
        whose = "of the study" if name == "scope" else "that the claim requires"
        found += [
            Deviation(f"the {key} {whose} differs from the frozen value, {then.get(key)!r}")
            for key in keys
            if value.get(key) != then.get(key) and not (name == "claim_scope" and _only_grew(key, then, value, plan))
        ]
    return found


def _only_grew(
    key: str, then: Mapping[str, Sequence[str | int]], now: Mapping[str, Sequence[str | int]], plan: Plan
) -> bool:
    """Return whether the range that a claim accepts grew for other studies only.

    A study that this change brings into the claim's scope was not planned to test the claim.
    """
    if key not in then or key not in now or not set(then[key]) <= set(now[key]):
        return False
    value = getattr(plan.scope, key)
    return accepts(then[key], value) == accepts(now[key], value)


def _seeds(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    frozen, now = list(was["seeds"]), list(plan.seeds)
    if now[: len(frozen)] != frozen:
        return [Deviation(f"the seeds do not begin with the frozen seeds, {_short(frozen)}")]
    after = max(frozen) + 1
    added = now[len(frozen) :]
    if added != list(range(after, after + len(added))):
        return [
            Deviation(
                f"the added seeds, {_short(added)}, do not continue the frozen seeds with consecutive integers from "
                f"{after}"
            )
        ]
    return []


def _comparisons(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    """Return whether the deciding comparisons are the frozen ones: all gates in the same order, and all variants.

    An added gate can only make the argument stricter; its own comparison is exploratory, because its arm is new.
    """
    frozen = [tuple(comparison) for comparison in was["comparisons"]]
    now = planned_comparisons(plan)
    gates_then, gates_now = ([c for c in each if c[0] == "gate"] for each in (frozen, now))
    if [c for c in gates_now if c in gates_then] != gates_then or gates_now[:1] != gates_then[:1]:
        return [Deviation("the gated comparisons differ from the frozen ones")]
    there = {frozenset(comparison[1:]) for comparison in now}
    lost = [f"{treatment} − {control}" for _, treatment, control in frozen if {treatment, control} not in there]
    return [Deviation(f"frozen comparisons are missing: {', '.join(lost)}")] if lost else []


def _arms(was: Mapping[str, Any], plan: Plan) -> list[Deviation]:
    found = []
    before = {arm["name"]: arm for arm in was["arms"]}
    ids = {(run["arm"], run["seed"]): run["run_id"] for run in was["runs"]}
    current = {(arm, seed): run_id for run_id, arm, seed in plan.runs.itertuples(index=False)}
    keys: dict[str, list[tuple[str, int]]] = {}
    for key in ids:
        keys.setdefault(key[0], []).append(key)
    for arm in plan.arms:
        old, own = before.pop(arm.name, None), keys.get(arm.name, [])
        if old is None:
            found.append(Deviation(f"arm {arm.name} was added after the freeze", frozenset([arm.name])))
        elif (role(old["role"]), old["of"]) != (arm.role, arm.of):
            found.append(Deviation(f"the role of arm {arm.name} in the argument differs from the frozen role"))
        elif arm.question != was.get("questions", {}).get(arm.name):
            text = f"the question of arm {arm.name} differs from the frozen question"
            found.append(Deviation(text, frozenset([arm.name])))
        elif any(key not in current for key in own):
            found.append(Deviation(f"frozen runs of arm {arm.name} are no longer planned"))
        elif any(ids[key] != current[key] for key in own):
            found.append(
                Deviation(f"the configuration or the code of arm {arm.name} was changed", frozenset([arm.name]))
            )
    found += [Deviation(f"arm {name} was frozen but no longer exists") for name in before]
    return found


def _short(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds[:8])) + (f" and {len(seeds) - 8} more" if len(seeds) > 8 else "")
