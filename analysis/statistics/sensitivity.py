"""Checks printed beside the t interval; none of them decides."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.bootstrap import bca_interval, resampling_weights
from analysis.statistics.interval import t_interval, t_p_value
from analysis.statistics.paired import complete, paired_differences
from analysis.statistics.replay import PATIENCE, replayed
from analysis.statistics.verdict import decide

EXACT_PAIRS = 16
_DRAWS = 20_000
_SEED = 20210301


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
        signs = rng.choice([-1, 1], size=(_DRAWS, n))
        signs[0] = 1
    sums = np.abs(signs @ x)
    return float((sums >= abs(x.sum()) - 1e-9).mean())


_LATE = 5
"""So many of the last epochs are averaged."""
_TYPES: dict[str, Any] = (
    {"check": "str", "n": "int64"} | dict.fromkeys(("mean", "lower", "upper", "p"), "float64") | {"verdict": "str"}
)


def with_accuracy(trials: pd.DataFrame, accuracies: pd.Series) -> pd.DataFrame:
    """Return trials with other test accuracies, given by run id; a run that has none there keeps its own."""
    found = trials["run_id"].map(accuracies).astype("float64")
    return trials.assign(test_accuracy=found.fillna(trials["test_accuracy"].astype("float64")))


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

    `verdict` is what the table would read off that interval, or why there is none.

    Parameters
    ----------
    survivors, pairs : frames of `paired_differences`: pairs of which both runs trained, and all pairs.
    names : treatment and control.
    """
    differences = complete(pairs)["difference"]
    trials = trials[trials["arm"].isin(names)]
    epochs = epochs[epochs["run_id"].isin(trials["run_id"])].sort_values("epoch")
    accuracies = epochs.groupby("run_id")["test_accuracy"]
    last, best = with_accuracy(trials, accuracies.last()), with_accuracy(trials, accuracies.max())
    latest = epochs.groupby("run_id").tail(_LATE).groupby("run_id")["test_accuracy"]
    late, stopped = with_accuracy(trials, latest.mean()), replayed(trials, epochs)

    def judged(check: str, frame: pd.DataFrame, otherwise: str = "") -> dict[str, Any]:
        found = complete(paired_differences(frame, *names))["difference"]
        return check_row(check, found, delta, reported, alpha, otherwise)

    table = [
        {
            "check": "sign-flip permutation",
            "n": len(differences),
            "mean": differences.mean(),
            "lower": np.nan,
            "upper": np.nan,
            "p": sign_flip_p(differences, rng),
            "verdict": "",
        },
        _bootstrap_row(differences, alpha),
        judged("last epoch instead of the selected one", last),
        judged(f"mean of the last {_LATE} epochs", late),
        judged("epoch chosen on test data (oracle)", best),
        judged(
            f"early stopping with patience {PATIENCE}, replayed",
            stopped,
            "not available: no run went its full budget with validation images",
        ),
        check_row("survivors only", complete(survivors)["difference"], delta, reported, alpha),
        {**judged("top-5 accuracy", trials.assign(test_accuracy=trials["test_top5_accuracy"])), "verdict": ""},
    ]
    return pd.DataFrame(table)[list(_TYPES)].astype(_TYPES)


def _bootstrap_row(differences: pd.Series, alpha: float) -> dict[str, Any]:
    row = {"check": "bootstrap, BCa", "n": len(differences), "mean": differences.mean(), "p": np.nan, "verdict": ""}
    if len(differences) < 2:
        return {**row, "lower": np.nan, "upper": np.nan}
    # A stream of its own: the other checks must not depend on how many draws this one takes.
    weights = _weights(len(differences))
    low, high = bca_interval(differences.to_numpy()[None], weights, alpha)
    return {**row, "lower": float(low[0]), "upper": float(high[0])}


@lru_cache(maxsize=4)
def _weights(n: int) -> npt.NDArray[np.float64]:
    return resampling_weights(n, _DRAWS, np.random.default_rng(_SEED))


def check_row(
    check: str, differences: pd.Series, delta: float, reported: float | None, alpha: float, otherwise: str = ""
) -> dict[str, Any]:
    """Return a row of `sensitivity` from paired differences in pp; `otherwise` is said where there are none."""
    found = t_interval(differences, alpha)
    verdict = decide(found.lower, found.upper, found.sd, found.n, delta, reported)
    return {
        "check": check,
        "n": found.n,
        "mean": found.mean,
        "lower": found.lower,
        "upper": found.upper,
        "p": t_p_value(differences),
        "verdict": verdict.text if found.n else otherwise,
    }
