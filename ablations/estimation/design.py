"""Which effects a study's design can and cannot distinguish, in words, before any run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from ablations.planning.plan import Plan
from ablations.spec.designs import factor_labels
from ablations.spec.sources import FIXED_SEED, SOURCES, Source, source_arm
from aimlib.errors import counted
from aimlib.records import role
from analysis.plan import Arm
from analysis.reading.layout import layout_of_arms
from analysis.statistics.effects import Layout, estimable, half_width
from analysis.statistics.spread import Spread
from analysis.statistics.variance_sources import uncorrelated_ratio
from analysis.wording.number_format import significant

_SHOWN = 6


def layout(plan: Plan) -> Layout | None:
    """Return the factors and settings of a planned study, named as in its arms; None if the study has no factors."""
    if not plan.study.spec.factors:
        return None
    arms = [
        Arm(arm.name, role(arm.role) or "other", arm.of, arm.config.model_dump(mode="json"), dict(arm.levels))
        for arm in plan.arms
    ]
    found = layout_of_arms(arms, plan.study.spec.name)
    names = factor_labels(found.factors)
    return Layout(tuple(names[factor] for factor in found.factors), found.settings, found.references)


def sentences(plan: Plan) -> Iterator[str]:
    """Yield which effects or sources the arms can and cannot distinguish, and how wide the intervals will be."""
    if plan.study.spec.design == "variance":
        yield from _of_variance(plan)
    found = layout(plan)
    if found is None:
        return
    effects = estimable(found)
    clear = effects[effects["aliased"] == ""]
    if len(clear):
        yield f"effects: {_listed(_names(clear))} can be estimated separately from all others"
    for name, aliased in zip(_names(effects), effects["aliased"], strict=True):
        if aliased:
            yield f"effects: the effect of {name} cannot be distinguished from {_listed(aliased.split(', '))}"
    if missing := _missing(effects, found):
        yield f"effects: {_listed(missing)} cannot be estimated with these arms"
    yield from _widths(effects, len(plan.study.spec.seeds))


def half_widths(found: Layout, sds: tuple[float, ...], seeds: tuple[int, ...]) -> pd.DataFrame:
    """Return the half-width of the widest interval for each kind of effect, number of seeds and seed SD."""
    effects = estimable(found)
    rows = [
        (kind, number, sd, half_width(float(norm), sd, number, len(effects)))
        for kind, norm in effects.groupby("kind", sort=False)["norm"].max().items()
        for number in seeds
        for sd in sds
    ]
    return pd.DataFrame(rows, columns=["kind", "seeds", "seed_sd", "half_width"])


def _of_variance(plan: Plan) -> Iterator[str]:
    """Yield what the design `variance` varies, and how precisely the study's seeds determine an SD and a share."""
    spec = plan.study.spec
    varied: dict[tuple[Source, ...], list[str]] = {}
    for arm in spec.arms if spec.vary is None else [spec.vary]:
        there = {each.name for each in plan.arms}
        sources = tuple(source for source in SOURCES if source_arm(arm, source) in there)
        varied.setdefault(sources, []).append(arm)
    seed = FIXED_SEED if spec.fixed_seed is None else spec.fixed_seed
    for sources, arms in varied.items():
        if sources:
            has = "has" if len(arms) == 1 else "each have"
            yield (
                f"variance: {_listed(arms)} {has} an additional arm for {_listed(list(sources))}, which varies "
                f"only that source; seed {seed} fixes the others"
            )
    seeds = len(spec.seeds)
    if seeds < 2:
        yield (
            "variance: a single seed does not show any variation; plan at least 2, and 10 or more for meaningful shares"
        )
        return
    low, high = Spread(1.0, seeds - 1).interval()
    text = f"variance: with {counted(seeds, 'seed')}, the 95 % interval of a standard deviation is "
    text += f"{significant(low)} to {significant(high)} times its estimate"
    if seeds > 2:
        _, wide = uncorrelated_ratio(seeds)
        text += (
            f"; the interval of a source's share of the variance is at most 1/{significant(wide)} to "
            f"{significant(wide)} times"
        )
    yield text


def _names(effects: pd.DataFrame) -> list[str]:
    return [
        f"{row['factor']} × {row['other']}" if row["other"] else str(row["factor"])
        for row in effects.to_dict("records")
    ]


def _missing(effects: pd.DataFrame, found: Layout) -> list[str]:
    """Return the effects that are neither estimated nor listed as aliases of other effects."""
    told = {*_names(effects), *(name for text in effects["aliased"] for name in text.split(", "))}
    pairs = (f"{one} × {two}" for one, two in combinations(found.factors, 2))
    return [name for name in (*found.factors, *pairs) if name not in told]


def _widths(effects: pd.DataFrame, seeds: int) -> Iterator[str]:
    norms = effects.groupby("kind", sort=False)["norm"].max()
    widths = {kind: half_width(float(norm), 1.0, seeds, len(effects)) for kind, norm in norms.items()}
    if widths and np.isfinite(list(widths.values())).all():
        told = " and ".join(
            f"± {significant(width)} for {'main effects' if kind == 'main' else 'interactions'}"
            for kind, width in widths.items()
        )
        effects_all = counted(len(effects), "effect")
        yield (
            f"effects: with {counted(seeds, 'seed')}, the intervals for all {effects_all} (95 % jointly) are "
            f"{told}, in units of the seed SD of an arm"
        )


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
