"""Checks printed beside the t interval; none of them decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.interval import t_interval, t_p_value
from analysis.statistics.paired import complete, paired_differences
from analysis.statistics.verdict import decide

EXACT_PAIRS = 16
DRAWS = 20_000


def sign_flip_p(values: npt.ArrayLike, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of the sign-flip permutation test that the values are symmetric about 0.

    All 2^n signs up to 16 values, 20,000 random ones (the observed one counted in) above. NaN without values.
    It cannot fall below 2 / 2^n.
    """
    x: npt.NDArray[Any] = np.asarray(values, dtype=float)
    n = len(x)
    if n == 0:
        return float("nan")
    if n <= EXACT_PAIRS:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = rng.choice([-1, 1], size=(DRAWS, n))
        signs[0] = 1
    sums = np.abs(signs @ x)
    return float((sums >= abs(x.sum()) - 1e-9).mean())


def last_epoch(trials: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return trials whose test accuracy is that of the last epoch run, where that epoch is on record."""
    last = epochs.sort_values("epoch").drop_duplicates("run_id", keep="last").set_index("run_id")["test_accuracy"]
    accuracy = trials["run_id"].map(last).astype("float64").fillna(trials["test_accuracy"].astype("float64"))
    return trials.assign(test_accuracy=accuracy)


def sensitivity(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    survivors: pd.DataFrame,
    pairs: pd.DataFrame,
    names: tuple[str, str],
    delta: float,
    reported: float | None,
    rng: np.random.Generator,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Return the checks of one comparison: check, n, mean, lower, upper, p, verdict.

    Parameters
    ----------
    survivors, pairs : frames of `paired_differences`: pairs of which both runs trained, and all pairs.
    names : treatment and control.
    """
    late = complete(paired_differences(last_epoch(trials, epochs), *names))
    differences = complete(pairs)["difference"]
    flipped = {"check": "sign-flip permutation", "n": len(differences), "mean": differences.mean()}
    rows = [
        {**flipped, "lower": np.nan, "upper": np.nan, "p": sign_flip_p(differences, rng), "verdict": ""},
        _interval_row("last epoch instead of the selected one", late["difference"], delta, reported, alpha),
        _interval_row("survivors only", complete(survivors)["difference"], delta, reported, alpha),
    ]
    types = {
        "check": "str",
        "n": "int64",
        "mean": "float64",
        "lower": "float64",
        "upper": "float64",
        "p": "float64",
    }
    return pd.DataFrame(rows).astype({**types, "verdict": "str"})


def _interval_row(
    check: str, differences: pd.Series, delta: float, reported: float | None, alpha: float
) -> dict[str, Any]:
    found = t_interval(differences, alpha)
    verdict = decide(found.lower, found.upper, found.sd, found.n, delta, reported)
    return {
        "check": check,
        "n": found.n,
        "mean": found.mean,
        "lower": found.lower,
        "upper": found.upper,
        "p": t_p_value(differences),
        "verdict": verdict.text,
    }
