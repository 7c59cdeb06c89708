"""Checks that are reported in addition to the t interval; they do not affect the verdict."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.procedures import FIRST, LATEST
from analysis.statistics.bootstrap import bca_interval, resampling_weights
from analysis.statistics.interval import t_interval, t_p_value
from analysis.statistics.paired import complete, pairing
from analysis.statistics.replay import NONE_TO_REPLAY, PATIENCE, replayed, within_reach
from analysis.statistics.robust import robust_reading
from analysis.statistics.verdict import decide

EXACT_PAIRS = 16
_DRAWS = 20_000
_SEED = 20210301


def sign_flip_p(values: npt.ArrayLike, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of the sign-flip permutation test for values that are symmetric about 0.

    With up to 16 values, all 2^n sign patterns are used; with more values, 20,000 random patterns, including the
    observed one. NaN without values. The p-value cannot be smaller than 2 / 2^n.
    """
    x: npt.NDArray[Any] = np.asarray(values, dtype=float)
    n = len(x)
    if n == 0:
        return float("nan")
    if n <= EXACT_PAIRS:
        signs = _all_signs(n)
    else:
        signs = rng.choice([-1, 1], size=(_DRAWS, n))
        signs[0] = 1
    sums = np.abs(signs @ x)
    return float((sums >= abs(x.sum()) - 1e-9 * np.abs(x).sum()).mean())


@lru_cache(maxsize=4)
def _all_signs(n: int) -> npt.NDArray[np.int64]:
    return np.asarray(1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1))


_NONE_OF_PROCEDURE_1 = "no run went its full budget with validation images"
_LATE = 5
"""Number of final epochs that are averaged."""
_TYPES: dict[str, Any] = (
    {"check": "str", "n": "int64"} | dict.fromkeys(("mean", "lower", "upper", "p"), "float64") | {"verdict": "str"}
)


def readings(
    runs: pd.DataFrame, epochs: pd.DataFrame, measure: PrimaryMeasure = ACCURACY, procedure: int = LATEST
) -> pd.DataFrame:
    """Return the runs for `sensitivity`: run_id, arm, seed, status, the measure's column and alternatives to it.

    The alternatives, on the scale on which the measure is stored, are `last` (value in the last epoch), `late` (mean of
    the last epochs, at most five), `best` (value in the epoch that is best on test data), `early` (value with early
    stopping; NaN if early stopping cannot be replayed) and `top5`. For a run without stored epochs, the first three are
    the value in its row. `averaged` is the number of epochs in `late`, and `whole` whether the run has no other epochs.

    Parameters
    ----------
    runs, epochs : frames from `Results`.
    """
    column = measure.column
    known = epochs.loc[epochs["run_id"].isin(runs["run_id"]), ["run_id", "epoch", column]]
    known = known.sort_values("epoch")
    by_run = known.groupby("run_id")
    late = by_run.tail(_LATE).groupby("run_id")
    own = runs[column].astype("float64")
    found = {
        "last": by_run[column].last(),
        "late": late[column].mean(),
        "best": by_run[column].min() if measure.lower_is_better else by_run[column].max(),
    }
    early = replayed(within_reach(runs, procedure), epochs, value=column).set_index("run_id")[column]
    return runs[["run_id", "arm", "seed", "status"]].assign(
        **{column: own},
        **{name: runs["run_id"].map(values).astype("float64").fillna(own) for name, values in found.items()},
        averaged=runs["run_id"].map(late.size()).astype("float64"),
        whole=runs["run_id"].map(by_run.size() <= _LATE).astype("boolean").fillna(False).astype(bool),
        early=runs["run_id"].map(early).astype("float64"),
        top5=runs["test_top5_accuracy"].astype("float64"),
    )


def sensitivity(
    runs: pd.DataFrame,
    survivors: npt.ArrayLike,
    pairs: pd.DataFrame,
    names: tuple[str, str],
    delta: float,
    reported: float | None,
    rng: np.random.Generator,
    alpha: float = 0.05,
    measure: PrimaryMeasure = ACCURACY,
    procedure: int = LATEST,
) -> pd.DataFrame:
    """Return the checks for one comparison: check, n, mean, lower, upper, p, verdict.

    `verdict` is the verdict for the check's interval, or the reason why there is none.

    Parameters
    ----------
    runs : frame from `readings`, for the pairs to check.
    survivors : paired differences in which both runs trained.
    pairs : frame from `paired_differences`.
    names : names of the treatment and the control.
    """
    differences = complete(pairs)["difference"]
    treated, control = pairing(runs, *names)

    def judged(check: str, column: str, otherwise: str = "") -> dict[str, Any]:
        values = runs[column].to_numpy()
        found = measure.gains(values[treated], values[control])
        return check_row(check, found[~np.isnan(found)], delta, reported, alpha, otherwise, procedure, measure)

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
        *_robust_rows(differences, delta, reported, alpha, procedure, measure),
        judged("last epoch instead of the selected one", "last"),
        _unless_whole(judged(_late(runs["averaged"]), "late"), runs, procedure),
        judged("epoch chosen on test data (oracle)", "best"),
        judged(
            f"early stopping with patience {PATIENCE}, replayed",
            "early",
            f"not available: {_NONE_OF_PROCEDURE_1 if procedure == FIRST else NONE_TO_REPLAY}",
        ),
        check_row("survivors only", survivors, delta, reported, alpha, procedure=procedure, measure=measure),
        *([{**judged("top-5 accuracy", "top5"), "verdict": ""}] if measure.is_accuracy else []),
    ]
    return pd.DataFrame(table)[list(_TYPES)].astype(_TYPES)


def _unless_whole(row: dict[str, Any], runs: pd.DataFrame, procedure: int) -> dict[str, Any]:
    """Return the row for the late epochs; without a verdict if the runs have no other epochs."""
    known = runs[runs["averaged"].notna()]
    if procedure == FIRST or known.empty or not known["whole"].all() or known["averaged"].max() < 2:
        return row
    return {**row, "verdict": "none: these are all epochs of a run"}


def _late(averaged: pd.Series) -> str:
    """Return the name of the check on late epochs, with the number of epochs that are averaged."""
    counts = averaged.dropna()
    least, most = (int(counts.min()), int(counts.max())) if len(counts) else (_LATE, _LATE)
    fewer = "" if least == most else f", {least} where a run has fewer"
    return (f"mean of the last {most} epochs" if most > 1 else "mean of the last epoch") + fewer


def _bootstrap_row(differences: pd.Series, alpha: float) -> dict[str, Any]:
    row = {"check": "bootstrap, BCa", "n": len(differences), "mean": differences.mean(), "p": np.nan, "verdict": ""}
    if len(differences) < 2 or alpha == 0:
        return {**row, "lower": np.nan, "upper": np.nan}
    # A separate random stream, so that the other checks do not depend on the number of draws in this one.
    weights = _weights(len(differences))
    low, high = bca_interval(differences.to_numpy()[None], weights, alpha)
    return {**row, "lower": float(low[0]), "upper": float(high[0])}


def _robust_rows(
    differences: pd.Series, delta: float, reported: float | None, alpha: float, procedure: int, measure: PrimaryMeasure
) -> list[dict[str, Any]]:
    """Return the row for the robust interval; no row with too few pairs or in the tables of procedure 1."""
    if procedure == FIRST or alpha == 0:  # an unbounded interval has no level
        return []
    found = robust_reading(differences, alpha)
    if found is None:
        return []
    spread = float(differences.std())
    words: dict[str, Any] = {"unit": measure.difference, "lower_is_better": measure.lower_is_better}
    verdict = decide(found.lower, found.upper, spread, found.n, delta, reported, procedure=procedure, **words)
    values = {"mean": found.estimate, "lower": found.lower, "upper": found.upper, "p": found.p}
    return [{"check": f"robust: {found.words}", "n": found.n, **values, "verdict": verdict.text}]


@lru_cache(maxsize=4)
def _weights(n: int) -> npt.NDArray[np.float64]:
    return resampling_weights(n, _DRAWS, np.random.default_rng(_SEED))


def check_row(
    check: str,
    differences: npt.ArrayLike,
    delta: float,
    reported: float | None,
    alpha: float,
    otherwise: str = "",
    procedure: int = LATEST,
    measure: PrimaryMeasure = ACCURACY,
) -> dict[str, Any]:
    """Return a row of `sensitivity` from paired differences in pp; the verdict is `otherwise` if there are none."""
    found = t_interval(differences, alpha)
    words: dict[str, Any] = {"unit": measure.difference, "lower_is_better": measure.lower_is_better}
    verdict = decide(found.lower, found.upper, found.sd, found.n, delta, reported, procedure=procedure, **words)
    return {
        "check": check,
        "n": found.n,
        "mean": found.mean,
        "lower": found.lower,
        "upper": found.upper,
        "p": t_p_value(differences),
        "verdict": verdict.text if found.n else otherwise,
    }
