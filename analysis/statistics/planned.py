"""The comparisons that a plan requires: the gates in order, then every further arm under Holm's procedure."""

from __future__ import annotations

from typing import Literal

from analysis.plan import Arm, Plan

FamilyName = Literal["gate", "variant"]
"""Stored values: frozen plans and tables use ``variant`` for a comparison of a further arm."""

Pair = tuple[str, str]
"""Names of the treatment and the control."""


def planned_comparisons(plan: Plan) -> list[tuple[FamilyName, str, str]]:
    """Return the family, treatment and control of every comparison that a plan requires, with the primary one first."""
    gated, further = planned_pairs(plan)
    return [("gate", *pair) for pair in gated] + [("variant", *pair) for pair in further]


def planned_pairs(plan: Plan) -> tuple[list[Pair], list[Pair]]:
    """Return the gated pairs of arms, and the further pairs."""
    baseline, treatment = primary_arms(plan)
    gated = _gated(plan, baseline, treatment)
    return gated, [pair for pair in _further(plan, baseline, treatment) if pair not in gated]


def gated_arms(plan: Plan) -> list[str]:
    """Return the names of the arms that the gates compare, on which the verdict rests."""
    return list(dict.fromkeys(arm for pair in planned_pairs(plan)[0] for arm in pair))


def primary_arms(plan: Plan) -> tuple[str | None, str | None]:
    """Return the names of the gates' baseline and treatment; None for an arm that does not exist."""
    baseline = next((arm.name for arm in plan.arms if arm.role == "baseline"), None)
    treatments = [arm for arm in plan.arms if arm.role == "treatment"]
    first = next((arm for arm in treatments if arm.of in (None, baseline)), treatments[0] if treatments else None)
    return baseline, first.name if first else None


CONTROLS = ("matched", "frozen", "permuted", "control")
"""Roles of controls in the order of their gates; controls with the same role are in the study's order."""


def controls(plan: Plan, role: str, treatment: str | None) -> list[Arm]:
    """Return the controls with this role for the gates' treatment, in the study's order.

    A plain control may start from any arm. If that arm is a different treatment or is outside the argument, the control
    belongs to that arm.
    """
    arms = [arm for arm in plan.arms if arm.role == role]
    if role != "control":
        return [arm for arm in arms if arm.of in (None, treatment)]
    by_name = {arm.name: arm for arm in plan.arms}
    return [arm for arm in arms if _origin(arm, by_name) in (None, treatment)]


def _origin(arm: Arm, by_name: dict[str, Arm]) -> str | None:
    """Return the treatment or further arm from which a plain control starts, directly or through other controls."""
    seen = {arm.name}
    while arm.of in by_name and arm.of not in seen:
        arm = by_name[arm.of]
        seen.add(arm.name)
        if arm.role in ("treatment", "other"):
            return arm.name
    return None


def _gated(plan: Plan, baseline: str | None, treatment: str | None) -> list[Pair]:
    if treatment is None:
        return []
    names = [arm.name for role in CONTROLS for arm in controls(plan, role, treatment)]
    return [(treatment, name) for name in ([baseline] if baseline else []) + names]


def fixed_streams(arm: Arm) -> dict[str, int]:
    """Return the seeds of the random streams that an arm fixes, by stream; empty if all streams follow the run's seed.

    Arms with fixed streams measure variance; the study does not ask about their differences from other arms.
    """
    training = arm.config.get("training")
    streams = training.get("streams") if isinstance(training, dict) else None
    return {name: seed for name, seed in (streams or {}).items() if seed is not None}


def _further(plan: Plan, baseline: str | None, treatment: str | None) -> list[Pair]:
    roles: dict[str | None, str] = {arm.name: arm.role for arm in plan.arms}
    pairs = []
    for arm in plan.arms:
        if arm.name in (baseline, treatment) or (arm.role == "other" and fixed_streams(arm)):
            continue
        reference = arm.of if arm.of in roles else baseline
        if reference is None or reference == arm.name:
            continue
        of_a_treatment = arm.role != "treatment" and roles[reference] == "treatment"
        pairs.append((reference, arm.name) if of_a_treatment else (arm.name, reference))
    return pairs
