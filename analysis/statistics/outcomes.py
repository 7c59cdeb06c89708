"""Which runs trained: divergence and chance-level accuracy are outcomes; such runs are counted, never repeated."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from aimlib.errors import renamed
from analysis.statistics.distributions import beta_quantile

CONFIDENCE = 0.99
SHARE_TRAINED = Fraction(4, 5)
KINDS = ("trained", "at chance", "diverged", "failed", "pruned", "missing")
JUDGED = ("trained", "at chance", "diverged")
"""Outcomes of runs that were completed."""


def accuracy_lower_bound(
    accuracy: npt.ArrayLike, images: npt.ArrayLike, confidence: float = CONFIDENCE
) -> npt.NDArray[np.float64]:
    """Return the exact one-sided lower bound (Clopper-Pearson) on accuracies measured on the given numbers of images.

    The lower bound is the true accuracy with which at least as many correct predictions would have probability 1 -
    confidence. NaN if the accuracy or the number of images is missing.
    """
    share = np.asarray(accuracy, dtype=float)
    total = np.asarray(images, dtype=float)
    right = np.round(share * total)
    bound = beta_quantile(1 - confidence, np.maximum(right, 1), total - right + 1)
    return np.where(np.isnan(right), np.nan, np.where(right == 0, 0.0, bound))


@renamed(trials="runs")
def outcomes(runs: pd.DataFrame, images: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return run_id, arm, seed, status, accuracy, chance, lower_bound and outcome for every row.

    If the status is diverged, failed or pruned, it is also the `outcome`. A finished run is ``at chance`` if the 99 %
    lower bound on its accuracy does not exceed the chance level, and ``trained`` otherwise. A diverged run stays
    diverged even if it was above chance level earlier.

    Parameters
    ----------
    images : the test images from `Results`. The chance level is then the accuracy of the best constant answer, which is
        the share of the largest class; a run that always predicts one class cannot be better. If this is None, or for
        data without a table, the chance level is 1 / classes, as in procedure 1.
    """
    frame = runs[["run_id", "arm", "seed", "status"]].copy()
    frame["accuracy"] = runs["test_accuracy"].astype("float64")
    equal = 1 / runs["classes"].astype("Float64").astype("float64")
    frame["chance"] = equal
    if images is not None:
        frame["chance"] = runs["data_fingerprint"].map(largest_share(images)).astype("float64").fillna(equal)
    number = runs["test_images"].astype("Float64").astype("float64")
    frame["lower_bound"] = accuracy_lower_bound(frame["accuracy"], number)
    above = frame["lower_bound"] > frame["chance"]
    finished = frame["status"] == "finished"
    frame["outcome"] = frame["status"].where(~finished, np.where(above, "trained", "at chance")).astype("str")
    return frame


def largest_share(images: pd.DataFrame) -> dict[str, float]:
    """Return the share of the largest class among the test images, by data fingerprint."""
    by_data = images.groupby("data_fingerprint")["label"]
    return {str(data): float(labels.value_counts(normalize=True).iloc[0]) for data, labels in by_data}


def failure_table(judged: pd.DataFrame, arms: list[str], baseline: str | None = None) -> pd.DataFrame:
    """Return the counts of outcomes per arm, in the order of `arms`, from the frame that `outcomes` returns.

    `not_trained` counts the runs that diverged or are at chance level; `judged` counts these runs and those that
    trained. `fisher_p` is the p-value of Fisher's exact two-sided test of (not trained, trained) against the baseline.
    It is NaN for the baseline itself or if there is no baseline.
    """
    counts = pd.crosstab(judged["arm"], judged["outcome"]).reindex(index=arms, columns=list(KINDS[:-1]), fill_value=0)
    frame = counts.astype("int64").rename_axis(index="arm", columns=None).reset_index().astype({"arm": "str"})
    frame["not_trained"] = frame["at chance"] + frame["diverged"]
    frame["judged"] = frame["not_trained"] + frame["trained"]
    rows = dict(zip(arms, zip(frame["not_trained"], frame["trained"], strict=True), strict=True))
    frame["fisher_p"] = [_fisher(rows[arm], rows[baseline]) if baseline not in (None, arm) else np.nan for arm in arms]
    return frame.astype({"fisher_p": "float64"})


@functools.cache
def _fisher(arm: tuple[int, int], baseline: tuple[int, int]) -> float:
    """Return the p-value for two rows of (not trained, trained); NaN if a row is empty."""
    from scipy import stats  # noqa: PLC0415 -- slow to import, and the verdict does not need it

    return float(stats.fisher_exact([arm, baseline]).pvalue) if sum(arm) and sum(baseline) else float("nan")


def baseline_trains(judged: pd.DataFrame, baseline: str) -> bool | None:
    """Return whether the baseline trained in at least 80 % of its judged seeds; None if no seed is judged."""
    rows = judged[(judged["arm"] == baseline) & judged["outcome"].isin(JUDGED)]
    if rows.empty:
        return None
    return Fraction(int((rows["outcome"] == "trained").sum()), len(rows)) >= SHARE_TRAINED
