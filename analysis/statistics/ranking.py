"""Arms ranked by a measure, with the arms that the pairs do not separate from the best one.

Every arm is compared with the first one, seed by seed. The first arm is chosen by its mean, so that any two arms may be
the pair that is compared: the level of the t intervals is divided by the number of all pairs of arms (Bonferroni). Its
mean remains biased upwards.
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
    values : a row per seed and a column per arm; NaN if a run has no value.
    alpha : error of all intervals together.

    Returns
    -------
    rank (from 1; arms with equal means share one), arm, n (seeds with a value), mean, sd; pairs: seeds that the first
    arm has as well; behind: mean of the first arm minus this one over these seeds, with its interval at the level
    1 - alpha / (number of pairs of arms); alpha: 1 minus that level; tied: whether the interval contains 0 or
    is not known, so that the arm may be as good as the first.
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
    """Return by how much every column is below the first one."""
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
