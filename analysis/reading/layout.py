"""A study's factors and the levels of its arms, from the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aimlib.errors import UsageError
from analysis.plan import Arm, Plan
from analysis.reading.factors import options
from analysis.statistics.effects import Layout


def layout_of(plan: Plan) -> Layout:
    """Return a study's factors with the levels of its arms: the combinations, and the arm that is varied.

    If a design sets one factor at a time, a combination has the varied arm's levels of the other factors.

    Raises
    ------
    UsageError: the study has no factors.
    """
    return layout_of_arms(plan.arms, plan.name)


def layout_of_arms(arms: Sequence[Arm], study: str) -> Layout:
    """Return the layout of the arms in a study with this name; see `layout_of`."""
    varied = [arm for arm in arms if arm.levels]
    factors = tuple(dict.fromkeys(factor for arm in varied for factor in arm.levels))
    if not factors:
        raise UsageError(f"study {study!r} has no factors; compare its arms with results.compare")
    base = _base(arms, varied)
    own = {factor: _level(base, factor, varied) for factor in factors}
    if _off_the_grid(own, varied):
        base, own = varied[0], dict(varied[0].levels)
    settings: dict[str, tuple[str, ...]] = {}
    beside = _is_fraction([tuple(arm.levels.get(factor, "") for factor in factors) for arm in varied])
    for arm in arms:
        if arm.levels or (arm is base and not beside):
            levels = {**own, **arm.levels}
            setting = tuple(levels[factor] for factor in factors)
            if setting not in settings.values():
                settings[arm.name] = setting
    return Layout(factors, settings, tuple(own[factor] for factor in factors))


def _off_the_grid(own: Mapping[str, str], varied: list[Arm]) -> bool:
    """Return whether the varied arm has a level of its own although every combination sets all factors.

    In that case, no combination can be compared with the varied arm factor by factor, and the first combination
    replaces the varied arm.
    """
    return all(len(arm.levels) == len(own) for arm in varied) and any(
        all(arm.levels[factor] != level for arm in varied) for factor, level in own.items()
    )


def _is_fraction(settings: Sequence[tuple[str, ...]]) -> bool:
    """Return whether the combinations are a regular fraction of all combinations of two-level factors.

    In that case, the varied arm is not part of the design. Compared with a combination that differs from it in one
    factor, it would show that factor's effect at only one point, and the fraction would not be used. In a regular
    fraction, for any three combinations there is a fourth that differs from the third in the factors in which the first
    two differ.
    """
    levels = [list(dict.fromkeys(column)) for column in zip(*settings, strict=True)]
    points = {tuple(each.index(level) for each, level in zip(levels, setting, strict=True)) for setting in settings}
    if len(points) < 4 or any(len(each) != 2 for each in levels) or len(points) == 2 ** len(levels):
        return False
    first = next(iter(points))
    return all(
        tuple((a + b + c) % 2 for a, b, c in zip(first, one, two, strict=True)) in points
        for one in points
        for two in points
    )


def _base(arms: Sequence[Arm], varied: list[Arm]) -> Arm:
    """Return the arm that is varied, or the first combination if the plan does not contain that arm."""
    named = Counter(arm.of for arm in varied if arm.of is not None).most_common(1)
    return next((arm for arm in arms if named and arm.name == named[0][0]), varied[0])


def _level(base: Arm, factor: str, varied: list[Arm]) -> str:
    """Return the varied arm's level: its label, or that of a combination with the same value of the option."""
    if factor in base.levels:
        return base.levels[factor]
    path = factor.removesuffix(".name")
    value = _value(base.config, path)
    for arm in varied:
        if factor in arm.levels and path in options(arm.config) and _value(arm.config, path) == value:
            return arm.levels[factor]
    return f"as in {base.name}" if path not in options(base.config) else "none" if value is None else str(value)


def _value(config: Mapping[str, Any], path: str) -> Any:
    return options(config).get(path)
