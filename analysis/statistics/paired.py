"""Differences between two arms, paired by seed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from aimlib.records import SETTLED

OUTCOMES = tuple(status for status in SETTLED if status != "pruned")
"""Statuses that are outcomes of a run's full budget: a diverged run counts with its last finite network."""

COLUMNS = ["treatment", "control", "treatment_status", "control_status", "difference"]


def paired_differences(
    trials: pd.DataFrame,
    treatment: str,
    control: str,
    *,
    value: str = "test_accuracy",
    by: str = "seed",
    pairs: Iterable[int] = (),
) -> pd.DataFrame:
    """Return one row per pair, ordered: both accuracies, both statuses and their difference in pp.

    Pruned and failed runs have no value, so their pair is incomplete and its difference NaN.

    Parameters
    ----------
    trials : columns arm, status, `value` (fraction) and `by`.
    treatment, control : names of the arms; the difference is treatment minus control.
    by : column that pairs the runs of the two arms.
    pairs : planned values of `by`, so that a pair of which nothing is there yet appears as well.

    Raises
    ------
    ValueError: an arm has two rows for one value of `by`.
    """
    sides = [_side(trials, arm, value, by) for arm in (treatment, control)]
    index = pd.Index(sorted({*pairs, *sides[0].index, *sides[1].index}), name=by)
    frame = pd.DataFrame(
        {
            "treatment": sides[0]["value"].reindex(index),
            "control": sides[1]["value"].reindex(index),
            "treatment_status": _statuses(sides[0], index),
            "control_status": _statuses(sides[1], index),
        }
    )
    frame["difference"] = 100 * (frame["treatment"] - frame["control"])
    return frame.reset_index()


def _side(trials: pd.DataFrame, arm: str, value: str, by: str) -> pd.DataFrame:
    rows = trials.loc[trials["arm"] == arm, [by, "status", value]]
    if rows[by].duplicated().any():
        raise ValueError(f"arm {arm!r} has more than one run for some value of {by!r}")
    values = rows[value].astype("float64").where(rows["status"].isin(OUTCOMES), np.nan)
    return pd.DataFrame({"value": values.to_numpy(), "status": rows["status"].to_numpy()}, index=rows[by].tolist())


def _statuses(side: pd.DataFrame, index: pd.Index) -> pd.Series:
    return side["status"].reindex(index).astype("str").fillna("missing")


def complete(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of which both accuracies are known."""
    return pairs[pairs["difference"].notna()]
