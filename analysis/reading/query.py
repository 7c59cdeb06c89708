"""Queries on the table of runs: pair two arms, filter rows, and summarize and tabulate by columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
import pandas as pd

from aimlib.errors import UsageError, renamed, unknown_name

if TYPE_CHECKING:
    import numpy.typing as npt

_OF_SELECTED_EPOCH = frozenset(
    f"{images}_{kind}" for images in ("validation", "test") for kind in ("accuracy", "loss", "top5_accuracy")
)
Statistic = Literal["n", "runs", "mean", "median", "sd", "se", "min", "max", "ci"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
_USUAL: tuple[Statistic, ...] = ("runs", "n", "mean", "sd", "ci")


@renamed(trials="runs")
def compare(
    runs: pd.DataFrame, treatment: str, control: str, *, by: str = "seed", value: str = "test_accuracy"
) -> pd.DataFrame:
    """Return one row per pair of runs: `by`, treatment, control, both statuses and the difference in pp.

    Raises
    ------
    UsageError: an arm or column is unknown, or an arm has two runs for the same value of `by`.
    """
    from analysis.statistics.paired import paired_differences  # noqa: PLC0415 -- the package imports scipy

    refuse_unknown(runs, [by, value])
    arms = set(runs["arm"])
    for arm in (treatment, control):
        if arm not in arms:
            raise UsageError(unknown_name("arm", arm, arms) + " (arms with at least one row)")
    refuse_text(runs, value)
    try:
        return paired_differences(runs, treatment, control, value=value, by=by)
    except ValueError as error:
        raise UsageError(f"cannot pair by {by!r}: {error}") from None


@renamed(trials="runs")
def select(runs: pd.DataFrame, where: str | Sequence[str]) -> pd.DataFrame:
    """Return the rows that meet every condition.

    A condition compares columns with values: ``arm=baseline``, ``status=finished,diverged`` (either), or
    ``batch_size >= 50 and placement in (stage_only, input_only)``. `analysis.reading.conditions` documents the grammar.
    Values are converted to the column's type. A row without a value in the column meets only ``!=`` and ``not in``.

    Raises
    ------
    UsageError: a text is not a condition, a column is unknown, or a value has the wrong type.
    """
    from analysis.reading.conditions import rows_that_meet  # noqa: PLC0415

    kept = pd.Series(True, index=runs.index)
    given: object = where
    several = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))
    conditions = cast("Iterable[str]", where if several else [where])
    for condition in conditions:
        kept &= rows_that_meet(runs, condition)
    return runs[kept].reset_index(drop=True)


@renamed(trials="runs")
def summarise(
    runs: pd.DataFrame,
    by: str | Sequence[str],
    value: str = "test_accuracy",
    alpha: float = 0.05,
    statistics: Statistic | Sequence[Statistic] = _USUAL,
    sort: str | Sequence[str] = (),
) -> pd.DataFrame:
    """Return one row per group: the `by` columns and the statistics of a column, in the requested order.

    Parameters
    ----------
    by : one or several columns.
    statistics : ``runs`` counts rows, and ``n`` rows that have the value; ``mean``, ``median``, ``sd``, ``se``, ``min``
        and ``max`` are in the column's unit; ``ci`` adds ``lower`` and ``upper``, the limits of the 1 - `alpha` t
        interval for the mean of independent runs (for differences between arms, use `compare`).
    sort : columns of the result to sort by; a leading minus sorts from high to low. By default, groups are in order of
        appearance.

    Accuracies and losses of pruned runs, which have fewer epochs, are excluded unless runs are grouped by status.

    Raises
    ------
    UsageError: there are no columns, a column is unknown or repeated, a statistic is unknown, or the value column is
        not numeric.
    """
    by, sort = _listed(by), _listed(sort)
    statistics = cast("list[Statistic]", _listed(statistics))
    if not by:
        raise UsageError(f"by: specify at least one column; known: {', '.join(sorted(map(str, runs.columns)))}")
    refuse_twice("by", by)
    refuse_twice("statistics", statistics)
    refuse_unknown(runs, [*by, value])
    refuse_text(runs, value)
    for name in statistics:
        if name not in STATISTICS:
            raise UsageError(unknown_name("statistic", name, STATISTICS))
    measured = _without_pruned(runs, by, value)[value].astype("Float64").to_numpy(dtype="float64", na_value=math.nan)
    groups = pd.Series(measured, index=runs.index).groupby([runs[name] for name in by], sort=False, dropna=False)
    rows = [(*key, *_statistics(statistics, np.asarray(group, dtype=np.float64), alpha)) for key, group in groups]
    names = [column for name in statistics for column in (("lower", "upper") if name == "ci" else (name,))]
    types = {name: runs[name].dtype for name in by} | {n: "int64" if n in ("runs", "n") else "float64" for n in names}
    return sort_by(pd.DataFrame(rows, columns=[*by, *names]).astype(types), sort)


def _without_pruned(runs: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    if value in _OF_SELECTED_EPOCH and "status" in runs and "status" not in by:
        return runs.assign(**{value: runs[value].mask(runs["status"] == "pruned")})
    return runs


def _statistics(names: Sequence[Statistic], group: npt.NDArray[np.float64], alpha: float) -> Iterator[float]:
    """Yield these statistics for one group, in which missing values are NaN."""
    from analysis.statistics.interval import t_interval  # noqa: PLC0415

    values = group[~np.isnan(group)]
    found = t_interval(values, alpha)
    for name in names:
        if name == "runs":
            yield len(group)
        elif name in ("median", "min", "max"):
            yield float(getattr(np, name)(values)) if len(values) else math.nan
        elif name == "ci":
            yield from (found.lower, found.upper)
        elif name == "se":
            yield found.sd / math.sqrt(found.n) if found.n else math.nan
        else:
            yield getattr(found, name)


def pivot(
    runs: pd.DataFrame,
    index: str | Sequence[str],
    columns: str | Sequence[str] = (),
    value: str = "test_accuracy",
    statistic: Statistic = "mean",
) -> pd.DataFrame:
    """Return a table of one statistic: one row per level of `index`, and one column per level of `columns`.

    Without `columns`, the table has one column, which is named after the value. Levels are sorted. Cells without runs
    are empty. See `summarise` for the statistics (except ``ci``, which does not fit into a cell because it consists of
    two numbers) and for the treatment of pruned runs.

    Raises
    ------
    UsageError: as in `summarise`, or a column is used twice.
    """
    rows, across = _listed(index), _listed(columns)
    if statistic == "ci":
        raise UsageError("statistic 'ci' consists of two numbers; use summarise, or 'mean' and 'se' in two tables")
    if len({*rows, *across}) < len(rows) + len(across):
        raise UsageError(f"a column can be used only once in a table; got index {rows} and columns {across}")
    cells = summarise(runs, [*rows, *across], value, statistics=[statistic])
    if not across:
        return cells.set_index(rows)[[statistic]].set_axis([value], axis="columns").sort_index()
    table: pd.DataFrame = cells.pivot(index=rows, columns=across, values=statistic)
    return table.sort_index().sort_index(axis="columns")


def sort_by(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the rows in stable order by columns; a minus in front of a name sorts from high to low.

    UsageError if a name is not a column.
    """
    if not names:
        return frame
    bare = [name.removeprefix("-") for name in names]
    refuse_unknown(frame, bare)
    ascending = [not name.startswith("-") for name in names]
    return frame.sort_values(bare, ascending=ascending, kind="stable", ignore_index=True)


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def refuse_unknown(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise UsageError for the first name that is not a column, suggesting the most similar column."""
    for name in names:
        if name not in frame.columns:
            raise UsageError(unknown_name("column", name, map(str, frame.columns)))


def refuse_twice(what: str, names: Sequence[str]) -> None:
    """Raise UsageError for the first repeated name: a table cannot have two columns with the same name."""
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise UsageError(f"{what}: {twice[0]} is given twice; remove one of them")


def refuse_text(frame: pd.DataFrame, name: str) -> None:
    """Raise UsageError if a column is not numeric."""
    if not pd.api.types.is_numeric_dtype(frame[name]):
        held = frame[name].dtype
        raise UsageError(f"column {name!r} contains {held}, not numbers; choose a numeric column such as test_accuracy")
