"""The levels of a factor on an axis: their order, place and text, for words, switches and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aimlib.errors import UsageError
from analysis.figures.canvas import labels
from analysis.reading.query import refuse_unknown
from analysis.results import Results, Studies
from analysis.wording import number_format

_FEW = 8
"""Up to this many distinct numbers are treated as equally spaced levels."""
_LOGARITHMIC = 50
"""The axis is logarithmic if the largest number is at least this many times the smallest."""
_TICKS = 20


@dataclass(frozen=True)
class Scale:
    """The position of each value of a factor on an axis from 0 to 1.

    Attributes
    ----------
    levels : the values, if each has its own place; empty for a continuous axis.
    ticks : places on the axis with their labels.
    step : distance between neighboring levels.
    low, high : limits of a continuous axis, as logarithms if `is_log`.
    has_none : whether some arms do not have the option; these are drawn at the bottom.
    """

    levels: tuple[Any, ...]
    ticks: tuple[tuple[float, str], ...]
    step: float
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    has_none: bool = False

    @property
    def is_ordinal(self) -> bool:
        """Whether every level has its own place."""
        return bool(self.levels)

    def places(self, values: pd.Series) -> npt.NDArray[np.float64]:
        """Return the places of the values."""
        missing = values.isna().to_numpy(dtype=bool)
        if self.is_ordinal:
            at = {level: i + self.has_none for i, level in enumerate(self.levels)}
            number = len(self.levels) + self.has_none
            found = [0 if lost else at[value] for value, lost in zip(values, missing, strict=True)]
            return (np.asarray(found, dtype=float) + 0.5) / number
        numbers = values.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        numbers = np.log10(numbers) if self.is_log else numbers
        floor = 0.14 if self.has_none else 0.04
        spread = floor + (0.96 - floor) * (numbers - self.low) / (self.high - self.low)
        return np.where(missing, 0.02, spread)


def ordered_levels(values: pd.Series, ranked_by: pd.Series | None = None) -> list[Any]:
    """Return the distinct values except null: numbers and switches in ascending order, words in order of appearance.

    Parameters
    ----------
    ranked_by : numbers, one for each of `values`; words are then ordered by the mean of their numbers, the smallest
        first. Words that are all numbers are ordered as numbers.
    """
    known = values.dropna().unique().tolist()
    if pd.api.types.is_numeric_dtype(values):
        return sorted(known)
    numbers = pd.to_numeric(pd.Series(known, dtype="str"), errors="coerce")
    if len(known) and numbers.notna().all():
        return [known[i] for i in numbers.argsort(kind="stable")]
    if ranked_by is None:
        return known
    means = ranked_by.groupby(values).mean()
    return sorted(known, key=lambda level: float(means[level]))


def null_text(values: pd.Series) -> str:
    """Return the name for arms without the option or with null: ``none``, or ``n/a`` if a level is called ``none``."""
    return "n/a" if (values.astype("object") == "none").any() else "none"


def level_text(value: object, null: str = "none") -> str:
    """Return a level as written in the study file, and `null` for null."""
    return null if value is None or value is pd.NA or value != value else number_format.option(value)  # noqa: PLR0124


def level_texts(levels: Sequence[object]) -> list[str]:
    """Return a distinct text for every level; numbers have three digits if that keeps them distinct."""
    numbers = [number_text(level) if isinstance(level, float) else level_text(level) for level in levels]
    for texts in (numbers, [level_text(level) for level in levels]):
        if len(set(texts)) == len(texts):
            return texts
    return [repr(level) for level in levels]


def number_text(value: float) -> str:
    """Return a number on an axis: ``0.001``, ``2.5``, ``1e-5``."""
    text = f"{value:.3g}" if abs(value) < 1000 or abs(value) >= 1e6 else f"{value:g}"
    text = re.sub(r"e([+-])0*(\d+)$", lambda match: f"e{match[1].strip('+')}{match[2]}", text)
    return text.replace("-", number_format.MINUS, 1) if text.startswith("-") else text


def name_levels(axes: Axes, ticks: Sequence[tuple[float, str]], room: int) -> None:
    """Write the level names below an axis of `room` characters: horizontally, or vertically if they are too long."""
    texts = [text for _, text in ticks]
    width = max(1, room // max(1, len(texts)) - 1)
    upright = max(map(len, texts), default=0) > width
    short = labels(texts, 16 if upright else width, 1)
    axes.set_xticks([at for at, _ in ticks], [short[text] for text in texts], rotation=90 if upright else 0)


def is_continuous(values: pd.Series) -> bool:
    """Return whether a factor has too many numbers to be treated as levels."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return bool(numeric and values.nunique() > _FEW)


def is_logarithmic(values: pd.Series) -> bool:
    """Return whether numbers span such a wide range that a logarithmic axis shows them better."""
    known = values.dropna().astype("float64")
    return bool(len(known) and known.min() > 0 and known.max() / known.min() >= _LOGARITHMIC)


def group_texts(values: pd.Series) -> pd.Series:
    """Return every run's level as text; if there are too many numbers to be levels, the quarter in which it lies."""
    if is_continuous(values):
        quarters = pd.qcut(values.astype("float64"), 4, duplicates="drop")
        known = {part: f"{number_text(part.left)} to {number_text(part.right)}" for part in quarters.cat.categories}
        return quarters.astype("object").map(known).astype("object").where(values.notna(), null_text(values))
    levels = ordered_levels(values)
    known = dict(zip(levels, level_texts(levels), strict=True))
    return values.astype("object").map(known).astype("object").where(values.notna(), null_text(values))


def group_order(values: pd.Series) -> list[str]:
    """Return the texts from `group_texts` in the order of the levels, beginning with arms that lack the option."""
    if is_continuous(values):
        ordered = values.dropna().astype("float64").sort_values()
        texts = group_texts(ordered)
        return [null_text(values), *dict.fromkeys(texts)]
    return [null_text(values), *level_texts(ordered_levels(values))]


def scale_of(values: pd.Series, ranked_by: pd.Series | None = None) -> Scale:
    """Return the scale of a factor; see `ordered_levels` for `ranked_by`."""
    lost = bool(values.isna().any())
    if not is_continuous(values):
        levels = ordered_levels(values, ranked_by)
        number = max(1, len(levels) + lost)
        null = null_text(values)
        texts = ([null] if lost else []) + level_texts(levels)
        every = -(-number // _TICKS)
        ticks = tuple(((i + 0.5) / number, text) for i, text in enumerate(texts) if i % every == 0)
        return Scale(tuple(levels), ticks, 1 / number, has_none=lost)
    known = values.dropna().astype("float64")
    log = is_logarithmic(values)
    low, high = (float(end) for end in (np.log10 if log else np.asarray)([known.min(), known.max()]))
    bare = Scale((), (), 0.0, low, high, log, lost)
    marks = 10.0 ** np.arange(np.ceil(low), np.floor(high) + 1) if log else MaxNLocator(4).tick_values(low, high)
    if log and len(marks) < 2:
        marks = 10.0 ** np.array([low, high])
    inside = [mark for mark in marks if low - 1e-9 <= (np.log10(mark) if log else mark) <= high + 1e-9]
    places = bare.places(pd.Series(inside, dtype="float64"))
    ticks = tuple((float(place), number_text(mark)) for place, mark in zip(places, inside, strict=True))
    return Scale((), (((0.02, null_text(values)),) if lost else ()) + ticks, 0.0, low, high, log, lost)


def factor_columns(results: Results | Studies, runs: pd.DataFrame, wanted: Sequence[str] = ()) -> list[str]:
    """Return the columns of the factors that a figure shows.

    Parameters
    ----------
    wanted : columns chosen by the caller. If empty, the factors that the study names are used, or else every option in
        which its arms differ. Factors with only one level are left out, and so are factors that split the arms in the
        same way as an earlier factor.

    Raises
    ------
    UsageError: a column is unknown, or no factor has two levels.
    """
    refuse_unknown(runs, wanted)
    if wanted:
        for name in wanted:
            if runs[name].nunique(dropna=False) < 2:
                raise UsageError(f"column {name!r} has the same value in all runs; choose a factor with two levels")
        return list(wanted)
    arms = runs.drop_duplicates("arm")
    seen: set[tuple[int, ...]] = set()
    kept = []
    for name in _named_by(results) or results.factors["column"].tolist():
        split = tuple(pd.factorize(arms[name].astype(object), use_na_sentinel=False)[0].tolist())
        if len(set(split)) > 1 and split not in seen:
            seen.add(split)
            kept.append(name)
    if not kept:
        raise UsageError(
            "the arms that were run do not differ in any option; a figure of factors needs two or more levels"
        )
    return kept


def with_named_levels(results: Results | Studies, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the study's own name for a level in place of null, as in the report's tables.

    A default such as the cross-entropy is null in the configuration. Numeric columns stay unchanged.
    """
    if isinstance(results, Studies):
        return runs
    columns = dict(zip(results.factors["option"], results.factors["column"], strict=True))
    named = {}
    for factor in dict.fromkeys(name for arm in results.plan.arms for name in arm.levels):
        column = columns.get(factor) or columns.get(factor.removesuffix(".name")) or factor
        if column not in runs or pd.api.types.is_numeric_dtype(runs[column]):
            continue
        levels = {arm.name: arm.levels.get(factor) for arm in results.plan.arms}
        lost = runs[column].isna()
        names = set(runs.loc[lost, "arm"].map(levels))
        if len(names) == 1 and isinstance(name := names.pop(), str) and not (runs[column] == name).any():
            named[column] = runs[column].astype("object").where(~lost, name).astype("str")
    return runs.assign(**named) if named else runs


def _named_by(results: Results | Studies) -> list[str]:
    """Return the columns of the factors that the study itself names; empty without factors and for several studies."""
    if isinstance(results, Studies):
        return []
    columns = dict(zip(results.factors["option"], results.factors["column"], strict=True))
    own = set(results.factors["column"])
    names = dict.fromkeys(name for arm in results.plan.arms for name in arm.levels)
    found = [columns.get(name) or columns.get(name.removesuffix(".name")) or name for name in names]
    return [name for name in found if name in own]


def separation(values: pd.Series, measure: pd.Series) -> float:
    """Return the share of the measure's variance that lies between levels, or between quarters (eta squared)."""
    groups = pd.qcut(values.astype("float64"), 4, duplicates="drop") if is_continuous(values) else values
    total = float(((measure - measure.mean()) ** 2).sum())
    if not total > 0:
        return 0.0
    means = measure.groupby(groups.astype(object), dropna=False).transform("mean")
    return float(((means - measure.mean()) ** 2).sum()) / total
