"""The comparisons that a plan requires: the gates in order, then every further arm under Holm's procedure."""

from __future__ import annotations

from typing import Literal

from analysis.plan import Arm, Plan

FamilyName = Literal["gate", "variant"]
"""Stored values: frozen plans and tables say ``variant`` for the comparison of a further arm."""

Pair = tuple[str, str]
"""Names of the treatment and the control."""


def planned_comparisons(plan: Plan) -> list[tuple[FamilyName, str, str]]:
    """Return family, treatment and control of every comparison that a plan requires, the primary one first."""
    gated, further = planned_pairs(plan)
    return [("gate", *pair) for pair in gated] + [("variant", *pair) for pair in further]


def planned_pairs(plan: Plan) -> tuple[list[Pair], list[Pair]]:
    """Return the gated pairs of arms, and the further ones."""
    baseline, treatment = primary_arms(plan)
    gated = _gated(plan, baseline, treatment)
    return gated, [pair for pair in _further(plan, baseline, treatment) if pair not in gated]


def gated_arms(plan: Plan) -> list[str]:
    """Return the names of the arms that the gates compare, on which the verdict rests."""
    return list(dict.fromkeys(arm for pair in planned_pairs(plan)[0] for arm in pair))


def primary_arms(plan: Plan) -> tuple[str | None, str | None]:
    """Return the names of the baseline and the treatment of the gates; None if there is none."""
    baseline = next((arm.name for arm in plan.arms if arm.role == "baseline"), None)
    treatments = [arm for arm in plan.arms if arm.role == "treatment"]
    first = next((arm for arm in treatments if arm.of in (None, baseline)), treatments[0] if treatments else None)
    return baseline, first.name if first else None


def is_control(arm: Arm, role: str, treatment: str | None) -> bool:
    """Return whether an arm is the control of this role of a treatment."""
    return arm.role == role and arm.of in (None, treatment)


def _gated(plan: Plan, baseline: str | None, treatment: str | None) -> list[Pair]:
    if treatment is None:
        return []
    controls = [
        arm.name for role in ("matched", "frozen", "permuted") for arm in plan.arms if is_control(arm, role, treatment)
    ]
    return [(treatment, name) for name in ([baseline] if baseline else []) + controls]


def _further(plan: Plan, baseline: str | None, treatment: str | None) -> list[Pair]:
    roles: dict[str | None, str] = {arm.name: arm.role for arm in plan.arms}
    pairs = []
    for arm in plan.arms:
        if arm.name in (baseline, treatment):
            continue
        reference = arm.of if arm.of in roles else baseline
        if reference is None or reference == arm.name:
            continue
        of_a_treatment = arm.role != "treatment" and roles[reference] == "treatment"
        pairs.append((reference, arm.name) if of_a_treatment else (arm.name, reference))
    return pairs
