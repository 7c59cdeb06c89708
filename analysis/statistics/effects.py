"""The effect of each factor in a study: main effects and two-way interactions as contrasts of arms, blocked by seed.

A main effect compares a level of a factor with the factor's reference level, all else equal. Within a seed, the
difference is computed in every combination of the other factors in which both levels were run. It is then averaged over
these combinations. An interaction compares such a difference with the same difference at the reference level of a
second factor. Every contrast is therefore one number per seed, and its interval is the t interval over seeds. The error
rate of the intervals is divided by the number of contrasts (Bonferroni), so the intervals hold jointly at the stated
level.

In a fractional factorial design, no two arms differ in only one factor. A main effect is then estimated by least
squares from all arms, and an interaction of two-level factors by the contrast of its product column. Effects with the
same column share one row under the name of the first effect, and the column `aliased` names the others: only a sum of
these effects is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from aimlib.errors import counted
from analysis.statistics.aliases import Model
from analysis.statistics.interval import t_interval, t_p_value
from analysis.wording.number_format import listing

_NAMED = 3
"""Maximum number of aliases that a sentence names."""
Setting = tuple[str, ...]
"""The level of every factor as a label, in the order of the factors."""
COLUMNS = {
    "kind": "str",
    "factor": "str",
    "level": "str",
    "reference": "str",
    "other": "str",
    "other_level": "str",
    "other_reference": "str",
    "contexts": "int64",
    "n": "int64",
    "left_out": "int64",
    "balanced": "bool",
    "aliased": "str",
    "effect": "float64",
    "lower": "float64",
    "upper": "float64",
    "alpha": "float64",
    "p": "float64",
    "p_adjusted": "float64",
    "effect_size": "float64",
}


@dataclass(frozen=True)
class _Contrast:
    """A linear contrast of arms.

    Attributes
    ----------
    term : positions of the contrast's factors.
    weights : weights by arm; an arm whose contributions cancel has weight 0.
    contexts : number of combinations of the other factors over which the contrast is averaged.
    complete : whether the contrast is averaged over all such combinations in the design.
    """

    kind: str
    names: tuple[str, str, str, str, str, str]
    term: tuple[int, ...]
    weights: Mapping[str, float]
    contexts: int
    complete: bool
    aliased: str = ""


@dataclass(frozen=True)
class Layout:
    """A study's factors and the levels of its arms.

    Attributes
    ----------
    factors : names of the factors.
    settings : levels by arm; no two arms have the same levels.
    references : reference level of every factor: the level in the arm that the design varies.
    """

    factors: tuple[str, ...]
    settings: Mapping[str, Setting]
    references: Setting


def effects(values: pd.DataFrame, layout: Layout, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per main effect and interaction, in the order of the factors and their levels.

    Parameters
    ----------
    values : one row per seed and one column per arm; NaN if a run does not have a value.
    alpha : joint error rate of all intervals.

    Returns
    -------
    kind (main or interaction), factor, level, reference, other, other_level, other_reference (for the second factor;
    empty for main effects); contexts: combinations of the other factors over which the contrast is averaged; n: number
    of seeds; left_out: seeds that lack a run needed for the contrast; balanced: False if an implied combination was not
    run or a seed is left out; aliased: other effects that change this number, such as ``placement × update``; effect,
    lower, upper: in the unit of `values`; alpha: 1 minus the interval's level; p: p-value of the t test; p_adjusted: p
    multiplied by the number of contrasts; effect_size: mean divided by the standard deviation over seeds (Cohen's d for
    paired values).
    """
    contrasts = _contrasts(layout)
    level = alpha / max(1, len(contrasts))
    rows = [_row(contrast, values, level, len(contrasts)) for contrast in contrasts]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def estimable(layout: Layout) -> pd.DataFrame:
    """Return the effects that the arms can estimate: kind, factor, level, other, other_level, aliased and norm.

    An effect's standard deviation within a seed is `norm` times that of a run.
    """
    rows = [
        (c.kind, *c.names[:2], *c.names[3:5], c.aliased, float(np.linalg.norm(list(c.weights.values()))))
        for c in _contrasts(layout)
    ]
    return pd.DataFrame(rows, columns=["kind", "factor", "level", "other", "other_level", "aliased", "norm"])


def half_width(norm: float, sd: float, seeds: int, number: int, alpha: float = 0.05) -> float:
    """Return the expected half-width of the interval for an effect, in the unit of `sd`; infinite with one seed.

    Parameters
    ----------
    norm : the effect's value in the column `norm` of `estimable`.
    sd : standard deviation of a run around the mean of its arm and seed.
    number : number of effects whose intervals hold jointly.
    """
    if seeds < 2:
        return np.inf
    quantile = stats.t.ppf(1 - alpha / (2 * max(1, number)), seeds - 1)
    return float(quantile * norm * sd / np.sqrt(seeds))


def _contrasts(layout: Layout) -> list[_Contrast]:
    """Return a layout's contrasts, each with its aliases."""
    model = Model(layout.settings, len(layout.factors))
    found = [*_main(layout, model)]
    found += _interactions(layout, model, [c.term for c in found])
    return [
        replace(c, aliased=", ".join(term_name(term, layout.factors) for term in model.aliases(c.weights, c.term)))
        for c in found
    ]


def term_name(term: tuple[int, ...], factors: Sequence[str]) -> str:
    """Return the name of an effect: ``placement`` or ``placement × update``."""
    return " × ".join(factors[at] for at in term)


def alias_words(aliased: str) -> str:
    """Return the effects in a value of the column `aliased` as words for a sentence; of many effects, the first few."""
    names = aliased.split(", ")
    cut = len(names) > _NAMED + 1
    return listing([*names[:_NAMED], counted(len(names) - _NAMED, "further effect")] if cut else names)


def not_told_apart(layout: Layout) -> dict[str, str]:
    """Return effects that cannot be distinguished from others, with the others: ``{"c": "a × b", "a × b": "c"}``."""
    found: dict[str, dict[str, None]] = {}
    for c in _contrasts(layout):
        own = term_name(c.term, layout.factors)
        for alias in filter(None, c.aliased.split(", ")):
            found.setdefault(own, {})[alias] = None
            found.setdefault(alias, {})[own] = None
    return {name: ", ".join(others) for name, others in found.items()}


def _averaged(contexts: Sequence[Sequence[tuple[str, int]]]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for context in contexts:
        for arm, sign in context:
            weights[arm] = weights.get(arm, 0.0) + sign / len(contexts)
    return weights


def _main(layout: Layout, model: Model) -> Iterable[_Contrast]:
    settings, factors, references = layout.settings, layout.factors, layout.references
    arms = {setting: arm for arm, setting in settings.items()}
    for at, factor in enumerate(factors):
        for level in _levels(settings, at, references[at]):
            here = [setting for setting in arms if setting[at] == level]
            pairs = [(setting, _with(setting, {at: references[at]})) for setting in here]
            contexts = [((arms[one], 1), (arms[two], -1)) for one, two in pairs if two in arms]
            names = (factor, level, references[at], "", "", "")
            if contexts:
                whole = len(contexts) == len(_others(settings, {at}))
                yield _Contrast("main", names, (at,), _averaged(contexts), len(contexts), whole)
            elif weights := model.main(at, level, references[at]):
                sizes = {round(abs(weight), 9) for weight in weights.values()} - {0.0}
                yield _Contrast("main", names, (at,), weights, len(here), len(sizes) == 1)


def _interactions(layout: Layout, model: Model, before: Sequence[tuple[int, ...]]) -> Iterable[_Contrast]:
    settings, factors, references = layout.settings, layout.factors, layout.references
    arms = {setting: arm for arm, setting in settings.items()}
    known = list(before)
    for one, two in combinations(range(len(factors)), 2):
        levels = product(_levels(settings, one, references[one]), _levels(settings, two, references[two]))
        for first, second in levels:
            contexts = [
                [(arms[corner], sign) for corner, sign in corners]
                for setting in arms
                if (setting[one], setting[two]) == (first, second)
                for corners in [_corners(setting, one, two, references)]
                if all(corner in arms for corner, _ in corners)
            ]
            names = (factors[one], first, references[one], factors[two], second, references[two])
            if contexts:
                whole = len(contexts) == len(_others(settings, {one, two}))
                yield _Contrast("interaction", names, (one, two), _averaged(contexts), len(contexts), whole)
            elif not any(model.parallel((one, two), term) for term in known) and (
                weights := model.interaction(one, two, first, second)
            ):
                known.append((one, two))
                at = sum((setting[one], setting[two]) == (first, second) for setting in arms)
                yield _Contrast("interaction", names, (one, two), weights, at, complete=True)


def _corners(setting: Setting, one: int, two: int, references: Setting) -> list[tuple[Setting, int]]:
    """Return the four settings that an interaction compares, with their signs."""
    return [
        (setting, 1),
        (_with(setting, {one: references[one]}), -1),
        (_with(setting, {two: references[two]}), -1),
        (_with(setting, {one: references[one], two: references[two]}), 1),
    ]


def _levels(settings: Mapping[str, Setting], at: int, reference: str) -> list[str]:
    return [level for level in dict.fromkeys(setting[at] for setting in settings.values()) if level != reference]


def _others(settings: Mapping[str, Setting], fixed: set[int]) -> set[Setting]:
    """Return the combinations of the other factors that occur with any levels of the fixed factors."""
    return {tuple(v for i, v in enumerate(setting) if i not in fixed) for setting in settings.values()}


def _with(setting: Setting, changes: Mapping[int, str]) -> Setting:
    return tuple(changes.get(at, level) for at, level in enumerate(setting))


def _row(contrast: _Contrast, values: pd.DataFrame, alpha: float, number: int) -> tuple[object, ...]:
    per_seed = _per_seed(contrast, values)
    found = t_interval(per_seed, alpha)
    p = t_p_value(per_seed)
    left_out = len(values) - len(per_seed)
    size = found.mean / found.sd if found.n > 1 and found.sd > 0 else np.nan
    numbers = (found.mean, found.lower, found.upper, alpha, p, min(1.0, p * number), size)
    balanced = contrast.complete and not left_out
    numbers = (found.mean, found.lower, found.upper, alpha, p, min(1.0, p * number), size)
    return (
        *(contrast.kind, *contrast.names, contrast.contexts, found.n, left_out, balanced, contrast.aliased),
        *numbers,
    )


def _per_seed(contrast: _Contrast, values: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the contrast for every seed in which all its runs have values."""
    total = values[list(contrast.weights)].to_numpy(dtype=float) @ np.array(list(contrast.weights.values()))
    kept: npt.NDArray[np.float64] = total[np.isfinite(total)]
    return kept
