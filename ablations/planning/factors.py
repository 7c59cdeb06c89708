"""From the factors of a study to arms: one for each combination of levels in its design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.planning.level_changes import changes_of
from ablations.spec import yaml_documents
from ablations.spec.designs import DESIGNS, Combination, factor_labels, label, level_text, switched_on
from ablations.spec.fractions import fractional_factorial
from ablations.spec.levels import labels_of
from ablations.spec.sources import BY_DEFAULT, FIXED_SEED, SOURCES, Source, fixed_streams, source_arm
from ablations.spec.study import ArmSpec, StudySpec
from aimlib.config import RunConfig
from aimlib.errors import ConfigError


def arm_specs(spec: StudySpec) -> dict[str, ArmSpec]:
    """Return every arm of a study, by name: first the named arms, then the combinations of its factors.

    Raises
    ------
    ConfigError: two combinations, or a combination and a named arm, have the same name.
    """
    named = {
        name: arm
        if arm.levels is None
        else _at_levels(_combination(arm.levels, spec), spec, arm.role).model_copy(
            update={"resources": arm.resources, "question": arm.question}
        )
        for name, arm in spec.arms.items()
    }
    found = dict(named)
    for chosen in combinations(spec):
        name, arm = arm_name(chosen, spec), _at_levels(chosen, spec)
        if name in found and found[name].levels != arm.levels:
            raise ConfigError([_same_name(name, chosen, found[name], spec)])
        found.setdefault(name, arm)
    return {**found, **source_specs(spec)}


def source_specs(spec: StudySpec) -> dict[str, ArmSpec]:
    """Return the arms of the design `variance`, by name: one per source for every arm whose variance is measured."""
    if spec.design != "variance":
        return {}
    seed = FIXED_SEED if spec.fixed_seed is None else spec.fixed_seed
    return {
        source_arm(name, source): _of_source(name, spec.arms[name], fixed_streams(source, seed))
        for name in ([spec.vary] if spec.vary else spec.arms)
        for source in spec.sources or BY_DEFAULT
    }


def _of_source(name: str, arm: ArmSpec, streams: Mapping[str, Any]) -> ArmSpec:
    """Return an arm with fixed random streams; a control remains a control of the same arm."""
    changes: dict[str, Any] = {"training": {"streams": dict(streams)}}
    if arm.control is None:
        return ArmSpec.parse({**changes, "of": name, "role": "other"})
    training = yaml_documents.merge(arm.training, changes["training"])
    return arm.model_copy(update={"training": training, "role": "other", "question": None})


def draws_nothing(name: str, config: RunConfig, spec: StudySpec) -> Source | None:
    """Return the source that an arm of the design `variance` varies without any effect; None if there is none."""
    arms = [spec.vary] if spec.vary else list(spec.arms)
    if spec.design != "variance" or name in spec.arms:
        return None
    source = next(each for arm in arms for each in SOURCES if source_arm(arm, each) == name)
    return None if source == "noise" or config.training.draws_from(source) else source


def combinations(spec: StudySpec) -> list[Combination]:
    """Return the combinations of levels that become arms."""
    if not spec.factors:
        return []
    choices = {name: list(levels) for name, levels in spec.factors.items()}
    if spec.design == "fractional_factorial":
        return fractional_factorial(choices, spec.fraction())
    return DESIGNS[spec.design or "full_factorial"](choices)


def _same_name(name: str, chosen: Combination, other: ArmSpec, spec: StudySpec) -> str:
    if name in spec.arms:
        return f"arms.{name}: this is also the name of the combination {explicit_name(chosen, spec)}; rename the arm"
    theirs = ", ".join(f"{factor}={level}" for factor, level in (other.levels or {}).items())
    return (
        f"factors: two combinations would have the name {name!r}: {theirs}; and "
        f"{', '.join(f'{factor}={level_text(level)}' for factor, level in chosen.items())}; rename a factor or a level"
    )


def arm_name(chosen: Combination, spec: StudySpec) -> str:
    """Return ``vary[channels=8]`` or, if all factors are switches, ``vary+memory+stem`` with the factors that are on.

    A switch is a factor with two labels, one of which means on. A combination in which all switches are off is named
    after its levels.
    """
    if len(chosen) == len(spec.factors) and (on := _switched_on(chosen, spec)):
        return "+".join([str(spec.vary), *on])
    return explicit_name(chosen, spec)


def explicit_name(chosen: Combination, spec: StudySpec) -> str:
    """Return the name of a combination with all its levels, e.g. ``vary[memory=with,stem=2]``."""
    return f"{spec.vary}[{label(chosen, factor_labels(spec.factors))}]"


def _switched_on(chosen: Combination, spec: StudySpec) -> list[str]:
    """Return the factors that are on, or an empty list if one of the study's factors is not a switch."""
    meant = {}
    for name, levels in spec.factors.items():
        if not isinstance(levels, dict) or len(levels) != 2 or (on := switched_on(list(levels))) is None:
            return []
        meant[name] = on
    return [name for name, level in chosen.items() if level == meant[name]]


def _combination(levels: Mapping[str, str], spec: StudySpec) -> Combination:
    """Return the combination for an arm's labels; omitted factors have their first level."""
    chosen = {}
    for name, choices in spec.factors.items():
        number = labels_of(choices).index(levels[name]) if name in levels else 0
        chosen[name] = list(choices)[number]
    return chosen


def _at_levels(chosen: Combination, spec: StudySpec, role: Any = None) -> ArmSpec:
    """Return the varied arm with a combination of levels applied."""
    labels = {name: level_text(level) for name, level in chosen.items()}
    return ArmSpec.parse({**changes_of(chosen, spec), "of": spec.vary, "role": role}).model_copy(
        update={"levels": labels}
    )
