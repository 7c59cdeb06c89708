"""Means of a measure at the levels of factors, blocked by seed: the basis of heat maps and effect plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from aimlib.errors import counted
from analysis.figures.canvas import labels
from analysis.figures.levels import group_order, group_texts, with_named_levels
from analysis.figures.measured import Measure, measured_runs
from analysis.reading.layout import layout_of
from analysis.results import Results, Studies
from analysis.statistics.effects import alias_words, not_told_apart
from analysis.statistics.interval import t_interval
from analysis.wording import number_format

_NAMED = 3
NUMBERS: dict[str, Any] = dict.fromkeys(("arms", "runs", "n"), "int64") | dict.fromkeys(
    ("mean", "lower", "upper"), "float64"
)


def level_means(runs: pd.DataFrame, factors: Sequence[str], measure: Measure, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per combination of the factors' levels that has a value, in the order of the levels.

    Within a seed, the arms at these levels are averaged; the mean and its t interval are over seeds. A seed in which
    one of these arms does not have a value is left out. If all seeds are left out for this reason, the mean is over
    runs, and there is no interval.

    Parameters
    ----------
    runs : the frame `Results.runs`.
    factors : columns of `runs`. If a column has too many numbers to be levels, they are divided into quarters.

    Returns
    -------
    one column per factor with its levels as text; the arms, runs and n (seeds) of the mean; mean, lower, upper.
    """
    own = measured_runs(runs, measure)
    texts = pd.DataFrame({name: group_texts(own[name]) for name in factors})
    orders = {name: {text: at for at, text in enumerate(group_order(own[name]))} for name in factors}
    found = [
        (*key, *_mean(rows, alpha))
        for key, rows in own[["arm", "seed", "measured"]].groupby([texts[name] for name in factors], sort=False)
    ]
    types: dict[str, Any] = dict.fromkeys(factors, "str") | NUMBERS
    frame = pd.DataFrame(found, columns=list(types)).astype(types)
    places = pd.DataFrame({name: frame[name].map(orders[name]) for name in factors})
    return frame.loc[places.sort_values(list(factors), kind="stable").index].reset_index(drop=True)


def _mean(rows: pd.DataFrame, alpha: float) -> tuple[Any, ...]:
    table = rows.pivot_table(index="seed", columns="arm", values="measured")
    whole = table.dropna()
    if whole.empty:
        return table.shape[1], len(rows), 0, rows["measured"].mean(), float("nan"), float("nan")
    found = t_interval(whole.mean(axis="columns"), alpha)
    return table.shape[1], whole.size, found.n, found.mean, found.lower, found.upper


def of_design(results: Results | Studies, runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the runs of a study's factorial arms, with a sentence that names the other arms.

    An arm outside the design, such as a baseline without any of the options, would have a level of its own that no
    other arm shares. For several studies and for studies without factors, all runs are kept and the sentence is empty.
    """
    if isinstance(results, Studies) or not any(arm.levels for arm in results.plan.arms):
        return runs, ""
    runs = with_named_levels(results, runs)
    inside = layout_of(results.plan).settings
    beside = [arm.name for arm in results.plan.arms if arm.name not in inside]
    if not beside:
        return runs, ""
    named = (
        number_format.listing(list(labels(beside, 60, 1).values()))
        if len(beside) <= _NAMED
        else counted(len(beside), "arm")
    )
    return runs[runs["arm"].isin(inside)], f" Not part of the design and therefore left out: {named}."


def aliases(results: Results | Studies, *effects: str) -> str:
    """Return a sentence on the effects from which the design cannot distinguish these effects; empty if there are none.

    Parameters
    ----------
    effects : factors, or two factors as ``a × b``. Columns that are not factors of the study do not have aliases.
    """
    if isinstance(results, Studies) or not any(arm.levels for arm in results.plan.arms):
        return ""
    found = not_told_apart(layout_of(results.plan))
    said = [f"{name} from {alias_words(found[name])}" for name in effects if name in found]
    if len(said) > _NAMED + 1:
        said = [*said[:_NAMED], counted(len(said) - _NAMED, "further effect") + " from others"]
    return f" This design cannot distinguish {'; '.join(said)}." if said else ""


def interaction_aliases(results: Results | Studies, one: str, two: str) -> str:
    """Return the sentence from `aliases` on the interaction of two factors, which may be named in either order."""
    return aliases(results, f"{one} × {two}", f"{two} × {one}")


def is_unbalanced(runs: pd.DataFrame, factor: str, others: Sequence[str], measure: Measure) -> bool:
    """Return whether the levels of a factor were run with different combinations of the other factors.

    In that case, a difference between their means is also due to the other factors; `Results.effects` compares levels
    with all else equal.
    """
    own = measured_runs(runs, measure)
    rest = [name for name in others if name != factor]
    if not rest:
        return False
    texts = pd.DataFrame({name: group_texts(own[name]) for name in (factor, *rest)})
    combinations = {frozenset(map(tuple, part[rest].to_numpy())) for _, part in texts.groupby(factor, sort=False)}
    return len(combinations) > 1


def basis(summary: pd.DataFrame, measure: Measure, alpha: float, drawn: str) -> str:
    """Return a caption's sentences on what is averaged and what the intervals are.

    Parameters
    ----------
    drawn : how an interval is drawn, such as "Bars"; empty if it is not drawn.
    """
    arms, seeds = int(summary["arms"].sum()), summary["n"]
    low, high = int(seeds.min()), int(seeds.max())
    number = counted(high, "seed") if low == high else f"{low} to {counted(high, 'seed')}"
    text = (
        f"Mean {measure.short} for {counted(arms, 'arm')} and {number}, averaged over the levels of all other options."
    )
    if drawn and high > 1:
        text += f" {drawn}: {number_format.level(alpha)} t interval over seeds, for each mean individually."
    elif drawn:
        text += " There are no intervals with a single seed."
    if measure.blinded:
        text += " The test accuracy is not shown before the pairs for the verdict are settled."
    return text
