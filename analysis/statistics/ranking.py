"""Arms ranked by a measure, with the arms that the pairs do not separate from the best arm.

Every arm is compared with the first arm, seed by seed. Which arm is first depends on the means, so any two arms may be
compared. The error rate of the t intervals is therefore divided by the number of pairs of arms (Bonferroni). The first
arm's mean remains biased upwards.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

COLUMNS = {
    "rank": "int64",
    "arm": "str",
    "n": "int64",
    "mean": "float64",
    "sd": "float64",
    "pairs": "int64",
    "behind": "float64",
    "behind_lower": "float64",
    "behind_upper": "float64",
    "alpha": "float64",
    "tied": "bool",
}


def ranking(values: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per arm that has a value, from the highest mean to the lowest.

    Parameters
    ----------
    values : one row per seed and one column per arm; NaN if a run does not have a value.
    alpha : joint error rate of all intervals.

    Returns
    -------
    rank (from 1; arms with equal means share a rank), arm, n (seeds with a value), mean, sd; pairs: seeds that the
    first arm also has; behind: mean of the first arm minus the mean of this arm over these seeds, with its interval at
    the level 1 - alpha / (number of pairs of arms); alpha: 1 minus that level; tied: whether the interval contains 0 or
    is not known, so the arm may be as good as the first.
    """
    table = values.dropna(axis="columns", how="all")
    means = table.mean()
    order = np.argsort(-means.to_numpy(), kind="stable")
    table, means = table.iloc[:, order], means.iloc[order]
    found = pd.DataFrame(
        {
            "rank": (-means).rank(method="min").astype("int64").to_numpy(),
            "arm": list(table.columns),
            "n": table.count().to_numpy(),
            "mean": means.to_numpy(),
            "sd": table.std().to_numpy(),
        }
    )
    found = found.assign(**_behind(table.to_numpy(dtype=float), alpha))
    return found[list(COLUMNS)].astype(COLUMNS)


def _behind(table: np.ndarray, alpha: float) -> dict[str, np.ndarray | float]:
    """Return by how much the mean of every column is below that of the first column, with its interval."""
    arms = table.shape[1]
    level = alpha / max(1, arms * (arms - 1) // 2)
    gaps = table[:, :1] - table if arms else table
    pairs = np.isfinite(gaps).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(gaps, axis=0) / pairs
        sd = np.sqrt(np.nansum((gaps - mean) ** 2, axis=0) / (pairs - 1))
        margin = stats.t.ppf(1 - level / 2, np.maximum(pairs - 1, 1)) * sd / np.sqrt(pairs)
    margin = np.where(pairs > 1, margin, np.nan)
    lower, upper = mean - margin, mean + margin
    return {
        "pairs": pairs,
        "behind": mean,
        "behind_lower": lower,
        "behind_upper": upper,
        "alpha": level,
        "tied": ~(lower > 0),
    }
