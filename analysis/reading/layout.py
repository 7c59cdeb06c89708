"""The factors of a study and the levels of its arms, from the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aimlib.errors import UsageError
from analysis.plan import Arm, Plan
from analysis.reading.factors import options
from analysis.statistics.effects import Layout


def layout_of(plan: Plan) -> Layout:
    """Return the factors of a study with the levels of its arms: the combinations, and the arm that is varied.

    A combination of a design that sets one factor at a time has the levels of the varied arm for the others.

    Raises
    ------
    UsageError: the study has no factors.
    """
    varied = [arm for arm in plan.arms if arm.levels]
    factors = tuple(dict.fromkeys(factor for arm in varied for factor in arm.levels))
    if not factors:
        raise UsageError(f"study {plan.name!r} has no factors; compare its arms with results.compare")
    base = _base(plan, varied)
    own = {factor: _level(base, factor, varied) for factor in factors}
    settings: dict[str, tuple[str, ...]] = {}
    for arm in plan.arms:
        if arm.levels or arm is base:
            levels = {**own, **arm.levels}
            setting = tuple(levels[factor] for factor in factors)
            if setting not in settings.values():
                settings[arm.name] = setting
    return Layout(factors, settings, tuple(own[factor] for factor in factors))


def _base(plan: Plan, varied: list[Arm]) -> Arm:
    """Return the arm that is varied; the first combination if the plan does not have it."""
    named = Counter(arm.of for arm in varied if arm.of is not None).most_common(1)
    return next((arm for arm in plan.arms if named and arm.name == named[0][0]), varied[0])


def _level(base: Arm, factor: str, varied: list[Arm]) -> str:
    """Return the level of the varied arm: its label, or that of a combination with the same value of the option."""
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
