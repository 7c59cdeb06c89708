"""Differences between two arms, paired by seed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from aimlib.errors import renamed
from aimlib.records import SETTLED
from analysis.primary_measure import ACCURACY, PrimaryMeasure

OUTCOMES = tuple(status for status in SETTLED if status != "pruned")
"""Statuses that count as outcomes of a run's full budget; a diverged run counts with its last finite network."""

COLUMNS = ["treatment", "control", "treatment_status", "control_status", "difference"]


@renamed(trials="runs")
def paired_differences(
    runs: pd.DataFrame,
    treatment: str,
    control: str,
    *,
    value: str = "test_accuracy",
    by: str = "seed",
    pairs: Iterable[int] = (),
    measure: PrimaryMeasure = ACCURACY,
) -> pd.DataFrame:
    """Return one row per pair, in order: both accuracies, both statuses and the difference in pp.

    Pruned and failed runs do not have a value, so their pairs are incomplete and the difference is NaN.

    Parameters
    ----------
    runs : frame with the columns arm, status, `value` (fraction) and `by`.
    treatment, control : names of the arms; the difference is treatment minus control.
    by : column by which the runs of the two arms are paired.
    pairs : planned values of `by`, so that pairs without any run are also included.
    measure : determines the scale and sign of the differences; for accuracy, treatment minus control in pp.

    Raises
    ------
    ValueError: an arm has two rows for the same value of `by`.
    """
    sides = [_side(runs, arm, value, by) for arm in (treatment, control)]
    index = pd.Index(sorted({*pairs, *sides[0][0], *sides[1][0]}), name=by)
    # A key that one arm lacks has position -1, where NaN was appended to that arm's values.
    places = [keys.get_indexer(index) for keys, _, _ in sides]
    values = [np.append(known, np.nan)[place] for (_, known, _), place in zip(sides, places, strict=True)]
    statuses = [np.append(known, "missing")[place] for (_, _, known), place in zip(sides, places, strict=True)]
    return pd.DataFrame(
        {
            by: index,
            "treatment": values[0],
            "control": values[1],
            "treatment_status": pd.Series(statuses[0], dtype="str"),
            "control_status": pd.Series(statuses[1], dtype="str"),
            "difference": measure.gains(values[0], values[1]),
        }
    )


def pairing(runs: pd.DataFrame, treatment: str, control: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the positions in `runs` of both runs in every pair of outcomes, in the order of the seeds.

    Use this function for several columns. For a single column, use `paired_differences`, which refuses two runs of an
    arm with the same seed.
    """
    arms, seeds = runs["arm"].to_numpy(), runs["seed"].to_numpy()
    counted = runs["status"].isin(OUTCOMES).to_numpy()
    treated, held = (np.flatnonzero(counted & (arms == arm)) for arm in (treatment, control))
    _, first, second = np.intersect1d(seeds[treated], seeds[held], assume_unique=True, return_indices=True)
    return treated[first], held[second]


def _side(
    runs: pd.DataFrame, arm: str, value: str, by: str
) -> tuple[pd.Index, npt.NDArray[np.float64], npt.NDArray[np.object_]]:
    """Return the keys of an arm's runs, the values of those that are outcomes, and the statuses."""
    rows = np.flatnonzero((runs["arm"] == arm).to_numpy(dtype=bool))
    keys = pd.Index(runs[by].take(rows).tolist())
    if keys.has_duplicates:
        raise ValueError(f"arm {arm!r} has more than one run for some value of {by!r}")
    statuses = runs["status"].take(rows)
    values = runs[value].take(rows).astype("float64").to_numpy()
    counted = statuses.isin(OUTCOMES).to_numpy(dtype=bool)
    return keys, np.where(counted, values, np.nan), statuses.fillna("missing").to_numpy(dtype=object)


def complete(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs in which both runs have an accuracy."""
    return pairs[pairs["difference"].notna()]
