"""What a report says about a study's own training code: what a seed determines, and whether runs are repeatable."""

from __future__ import annotations

import pandas as pd

from analysis.plan import Plan
from analysis.reading.frames import parsed_json
from analysis.report.training_words import is_augmented, is_shuffled
from analysis.wording import number_format

_SAME = "same"
_PACKAGE = "aim-ablations"
_BUILDERS = frozenset({"backbones", "memories", "updates", "controls"})
"""Families of components that build layers."""


def name_of(plan: Plan) -> str | None:
    """Return the name of a study's own training code; None if it has none."""
    for arm in plan.arms:
        code = arm.config.get("train")
        if isinstance(code, dict):
            return str(code.get("name"))
    return None


def network_words(plan: Plan) -> str:
    """Return a study's backbone, or its training code if that code builds the network."""
    builds = name_of(plan) is not None and all(arm.config.get("model") is None for arm in plan.arms)
    return f"{'training code' if builds else 'backbone'} {plan.scope.backbone}"


def what_a_seed_determines(plan: Plan, runs: pd.DataFrame) -> str:
    """Return the sentences on seeds for the methods section."""
    name = name_of(plan)
    if name is None:
        return f"A seed determines, {_drawn(plan, runs)}{_own_validation(plan)}{_loaded(plan)}"
    split = "the validation split and also " if _validation(plan, runs) else ""
    return (
        f"Every run was trained by the study’s own training code ({name}), which received the arm’s options and "
        f"a seed. A seed determines, identically for all arms, {split}what that code "
        f"draws from it.{_own_validation(plan)}{_repetition(runs)}"
    )


def _drawn(plan: Plan, runs: pd.DataFrame) -> str:
    """Return what a seed determines in this package's training; layers from other code may differ between arms."""
    foreign = _foreign_parts(runs)
    drawn = [
        *(["the validation split"] if _validation(plan, runs) else []),
        *([] if foreign else ["the initial values of the layers that arms share"]),
        *(["the order of the images"] if is_shuffled(plan) else []),
        *(["the augmentation"] if is_augmented(plan) else []),
    ]
    same = f"identically for all arms, {number_format.listing(drawn)}" if drawn else ""
    if not foreign:
        return f"{same}."
    then = f"{same}, and in each arm" if same else "in each arm,"
    return (
        f"{then} the initial values; layers of {number_format.listing(foreign)}, which other code builds, may have "
        "different initial values in different arms."
    )


def _foreign_parts(runs: pd.DataFrame) -> list[str]:
    """Return the names of the network parts that code outside this package builds."""
    found: dict[str, None] = {}
    for text in runs["plugins"].dropna().unique():
        for name, distribution in parsed_json(text, {}).items():
            family, _, part = str(name).partition("/")
            if family in _BUILDERS and not str(distribution).startswith(_PACKAGE):
                found[part] = None
    return list(found)


def _validation(plan: Plan, runs: pd.DataFrame) -> str:
    """Return the first item in the list of what a seed determines: the validation split, if any arm has one."""
    if len(plan.own_validation) == len(plan.arms):
        return ""
    held_out = runs[~runs["arm"].isin(plan.own_validation)]["validation_images"].dropna()
    return "" if len(held_out) and not held_out.gt(0).any() else "the validation split, "


def _own_validation(plan: Plan) -> str:
    if not plan.own_validation:
        return ""
    whose = (
        "" if len(plan.own_validation) == len(plan.arms) else f" of {number_format.listing(list(plan.own_validation))}"
    )
    return f" The validation images{whose} come with the data and are the same for every seed."


def _loaded(plan: Plan) -> str:
    """Return a sentence on arms whose initial weights come from a file and do not depend on the seed."""
    loaded = [arm.name for arm in plan.arms if (arm.config.get("model") or {}).get("weights")]
    if not loaded:
        return ""
    them = "Every arm loads" if len(loaded) == len(plan.arms) else f"{number_format.listing(loaded)} load"
    one = "s" if len(loaded) == 1 < len(plan.arms) else ""
    return f" {them}{one} weights from a file; the loaded weights are the same for every seed."


def _repetition(runs: pd.DataFrame) -> str:
    repeated = runs[runs["repeated"].notna()]
    if repeated.empty:
        return " No run was computed twice."
    same = repeated["repeated"] == _SAME
    if same.all():
        return " One run was computed twice, with the same predictions."
    return " One run was computed twice, with different predictions."


def not_repeatable(runs: pd.DataFrame) -> list[str]:
    """Return a sentence for each run that was computed twice with different results."""
    different = runs[runs["repeated"].notna() & (runs["repeated"] != _SAME)]
    return [
        f"The study’s own training code does not reproduce its results: the run of {row.arm} with seed {row.seed} was "
        f"computed twice ({row.repeated}), so the differences between arms also contain this variation."
        for row in different.itertuples()
    ]
