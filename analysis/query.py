"""Questions to the table of runs: pair two arms, keep some rows, summarise by columns."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from aimlib.errors import UsageError, renamed, unknown_name
from aimlib.records import role
from analysis.reading.frames import ROLE

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(?P<column>[^\s!<>=]+)\s*(?P<operator>>=|<=|!=|==|=|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)
_OF_SELECTED_EPOCH = frozenset(
    f"{images}_{kind}" for images in ("validation", "test") for kind in ("accuracy", "loss", "top5_accuracy")
)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@renamed(trials="runs")
def compare(
    runs: pd.DataFrame, treatment: str, control: str, *, by: str = "seed", value: str = "test_accuracy"
) -> pd.DataFrame:
    """Return one row per pair of runs: `by`, treatment, control, both statuses, difference in pp.

    Raises
    ------
    UsageError: an unknown arm or column, or an arm with two runs for one value of `by`.
    """
    from analysis.statistics.paired import paired_differences  # noqa: PLC0415 -- scipy comes with the package

    refuse_unknown(runs, [by, value])
    arms = set(runs["arm"])
    for arm in (treatment, control):
        if arm not in arms:
            raise UsageError(unknown_name("arm", arm, arms) + " (arms with at least one row)")
    _refuse_text(runs, value)
    try:
        return paired_differences(runs, treatment, control, value=value, by=by)
    except ValueError as error:
        raise UsageError(f"cannot pair by {by!r}: {error}") from None


@renamed(trials="runs")
def select(runs: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """Return the rows that meet every condition, such as ``arm=baseline`` or ``seed>=2``.

    Operators: ``= == != < <= > >=``. Values are read as the column's type; ``status=finished,diverged`` keeps
    either. A row without a value in the column meets only ``!=``.

    Raises
    ------
    UsageError: an invalid condition, an unknown column, or a value of the wrong type.
    """
    kept = pd.Series(True, index=runs.index)
    for condition in where:
        kept &= _meets(runs, condition)
    return runs[kept].reset_index(drop=True)


def _meets(runs: pd.DataFrame, condition: str) -> pd.Series:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise UsageError(f"condition {condition!r}: write column, operator and value, such as arm=baseline or seed>=2")
    column, sign, text = match["column"], match["operator"], match["value"]
    refuse_unknown(runs, [column])
    series = runs[column]
    if sign in ("=", "==", "!="):
        among = series.isin([_value(series, part, condition) for part in text.split(",")]).astype(bool)
        return ~among if sign == "!=" else among
    met: pd.Series = _OPERATORS[sign](series, _value(series, text, condition))
    return met.fillna(False).astype(bool)


def _value(series: pd.Series, text: str, condition: str) -> Any:
    """Return a condition's value as the type of its column."""
    try:
        if pd.api.types.is_bool_dtype(series):
            return _BOOLEANS[text.strip().lower()]
        if pd.api.types.is_numeric_dtype(series):
            return float(text)
        if pd.api.types.is_datetime64_any_dtype(series):
            stamp = pd.Timestamp(text)
            return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    except (KeyError, ValueError):
        raise UsageError(
            f"condition {condition!r}: {text!r} cannot be read as {series.dtype}, the type of column {series.name!r}"
        ) from None
    return role(text) or text if series.name == ROLE.name else text


@renamed(trials="runs")
def summarise(runs: pd.DataFrame, by: Sequence[str], value: str = "test_accuracy", alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per group: the `by` columns, runs, n, mean, sd, lower, upper.

    `runs` counts rows, `n` those that have the value; mean, sd and the ends of the 1 - alpha t interval are
    in the unit of the column. The interval is that of independent runs; for differences of arms use `compare`.
    Accuracies and losses of pruned runs, which have fewer epochs, are left out unless runs are grouped by status.

    Raises
    ------
    UsageError: no or unknown columns, or a value column that holds no numbers.
    """
    from analysis.statistics.interval import t_interval  # noqa: PLC0415

    if not by:
        raise UsageError(f"by: give at least one column; known: {', '.join(sorted(runs.columns))}")
    refuse_unknown(runs, [*by, value])
    _refuse_text(runs, value)
    if value in _OF_SELECTED_EPOCH and "status" in runs and "status" not in by:
        runs = runs.assign(**{value: runs[value].mask(runs["status"] == "pruned")})
    rows = []
    for key, group in runs.groupby(list(by), sort=False, dropna=False):
        found = t_interval(group[value].astype("Float64").dropna().astype("float64"), alpha)
        rows.append((*key, len(group), found.n, found.mean, found.sd, found.lower, found.upper))
    names = ["runs", "n", "mean", "sd", "lower", "upper"]
    types = {name: runs[name].dtype for name in by} | dict.fromkeys(names[:2], "int64")
    return pd.DataFrame(rows, columns=[*by, *names]).astype(types | dict.fromkeys(names[2:], "float64"))


def refuse_unknown(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise UsageError for the first name that is no column, with the nearest one."""
    for name in names:
        if name not in frame.columns:
            raise UsageError(unknown_name("column", name, map(str, frame.columns)))


def _refuse_text(frame: pd.DataFrame, name: str) -> None:
    if not pd.api.types.is_numeric_dtype(frame[name]):
        raise UsageError(f"column {name!r} holds {frame[name].dtype}, not numbers; choose one such as test_accuracy")
