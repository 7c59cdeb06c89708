"""From the factors of a study to arms: one for each combination of levels that its design wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.spec import yaml_documents
from ablations.spec.designs import DESIGNS, Combination, label, level_text
from ablations.spec.levels import labels_of
from ablations.spec.study import ArmSpec, StudySpec


def arm_specs(spec: StudySpec) -> dict[str, ArmSpec]:
    """Return every arm of a study, by name: those that it names, then the combinations of its factors."""
    named = {
        name: arm
        if arm.levels is None
        else _at_levels(_combination(arm.levels, spec), spec, arm.role).model_copy(update={"resources": arm.resources})
        for name, arm in spec.arms.items()
    }
    return {**named, **_factor_arms(spec)}


def _factor_arms(spec: StudySpec) -> dict[str, ArmSpec]:
    if not spec.factors:
        return {}
    choices = {name: list(levels) for name, levels in spec.factors.items()}
    combinations = DESIGNS[spec.design or "full_factorial"](choices)
    return {_arm_name(chosen, spec): _at_levels(chosen, spec) for chosen in combinations}


def _arm_name(chosen: Combination, spec: StudySpec) -> str:
    """Return ``vary[channels=8]``; for switches (factors of two labels) ``vary+memory+stem``: those that are on."""
    switches = all(isinstance(levels, dict) and len(levels) == 2 for levels in spec.factors.values())
    on = [name for name, level in chosen.items() if level == list(spec.factors[name])[-1]]
    if switches and on and len(chosen) == len(spec.factors):
        return "+".join([str(spec.vary), *on])
    return f"{spec.vary}[{label(chosen)}]"


def _combination(levels: Mapping[str, str], spec: StudySpec) -> Combination:
    """Return the combination that an arm's labels name: the first level of every factor that they leave out."""
    chosen = {}
    for name, choices in spec.factors.items():
        number = labels_of(choices).index(levels[name]) if name in levels else 0
        chosen[name] = list(choices)[number]
    return chosen


def _at_levels(chosen: Combination, spec: StudySpec, role: Any = None) -> ArmSpec:
    """Return the arm that is varied at a combination of levels."""
    changes: dict[str, Any] = {}
    for name, level in chosen.items():
        levels = spec.factors[name]
        if isinstance(levels, dict):
            changes = yaml_documents.merge(changes, levels[level])
    paths = [name for name in chosen if isinstance(spec.factors[name], tuple)]
    for path in sorted(paths, key=lambda path: path.count(".")):  # a component before its options
        yaml_documents.put(changes, path.split("."), chosen[path])
    labels = {name: level_text(level) for name, level in chosen.items()}
    return ArmSpec.parse({**changes, "of": spec.vary, "role": role}).model_copy(update={"levels": labels})
