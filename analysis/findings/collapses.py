"""Runs of a study that collapsed, and what pairs without a failed run do not exclude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from aimlib.errors import counted
from analysis import number_format
from analysis.reading import predictions
from analysis.results import Results
from analysis.statistics.collapse import CONFIDENCE, collapsed, highest_rate, predicts_one_class
from analysis.statistics.comparison import Comparison
from analysis.statistics.outcomes import largest_share

Why = Literal["at chance", "diverged", "one class", "far below"]
NOT_TRAINED: tuple[Why, ...] = ("at chance", "diverged")
"""What the outcome of a run says already; the others count as trained."""


@dataclass(frozen=True)
class Collapse:
    """A run of a gated comparison, of the pairs of the look that decides, that failed.

    Attributes
    ----------
    comparison : name of the comparison.
    accuracy : test accuracy of its selected epoch, a fraction.
    why : the outcome ``at chance`` or ``diverged``; it predicts ``one class``; or it is ``far below`` the other seeds.
    text : the reason in words, which follow the name of the run.
    """

    comparison: str
    run_id: str
    arm: str
    seed: int
    accuracy: float
    why: Why
    text: str


@dataclass(frozen=True)
class NotExcluded:
    """What pairs of which no run of the treatment failed do not exclude.

    Attributes
    ----------
    runs : number of runs of the arm, none of which failed.
    rate : highest failure rate that they do not exclude at 95 %.
    cost_pp : by how much that would lower the mean accuracy of the arm, if a failed run is at chance; None where the
        measure is not the accuracy or chance is not known.
    """

    arm: str
    runs: int
    rate: float
    cost_pp: float | None

    @property
    def text(self) -> str:
        """A sentence."""
        cost = number_format.decimal(self.cost_pp)
        lower = "" if self.cost_pp is None else f", which would lower its mean by {cost} pp"
        return (
            f"No run of {self.arm} failed in {counted(self.runs, 'pair')}; at {100 * CONFIDENCE:.0f} % this does not "
            f"exclude a failure rate of up to {100 * self.rate:.0f} %{lower}."
        )


def collapses(results: Results, comparisons: Sequence[Comparison], judged: pd.DataFrame) -> tuple[Collapse, ...]:
    """Return the runs that failed among the pairs of the look that decides, comparison by comparison.

    Parameters
    ----------
    comparisons : the gated ones.
    judged : frame of `outcomes`.

    Raises
    ------
    StoreError: predictions are not readable.
    """
    compared = results.runs["arm"].isin({arm for each in comparisons for arm in (each.treatment, each.control)})
    known = results.runs[compared]
    own = {"outcome": judged["outcome"], "accuracy": judged["accuracy"], "largest": _largest(results, known)}
    runs = known.assign(**own).set_index(["arm", "seed"])
    wanted = [
        str(runs["run_id"][arm, seed])
        for each in comparisons
        for seed in each.deciding_pairs["seed"]
        for arm in (each.treatment, each.control)
    ]
    shares = predictions.most_frequent(results.directory, wanted) if wanted else {}
    return tuple(found for each in comparisons for found in _of(each, runs, shares))


def _largest(results: Results, runs: pd.DataFrame) -> pd.Series:
    """Return the share of the largest class of every run's test images; NaN where it is not known."""
    equal = 1 / runs["classes"].astype("Float64").astype("float64")
    return runs["data_fingerprint"].map(largest_share(results.images)).astype("float64").fillna(equal)


def _of(comparison: Comparison, runs: pd.DataFrame, shares: dict[str, float]) -> Iterator[Collapse]:
    """Yield the runs of one comparison that failed, the treatment's first."""
    pairs, measure = comparison.deciding_pairs, comparison.measure
    values = [measure.gains(pairs[side].to_numpy(dtype="float64"), 0.0) for side in ("treatment", "control")]
    marks = collapsed(values[0], values[1], comparison.delta)
    for arm, own, marked in zip((comparison.treatment, comparison.control), values, marks, strict=True):
        for place, seed in enumerate(pairs["seed"]):
            run = runs.loc[(arm, seed)]
            run_id, share = str(run["run_id"]), shares.get(str(run["run_id"]))
            why = _why(run, share, far=bool(marked[place]))
            if why is None:
                continue
            drop = float(np.median(np.delete(own, place)) - own[place]) if marked[place] else None
            text = _text(why, share, measure.in_unit(measure.decimal(drop)))
            yield Collapse(comparison.name, run_id, arm, int(seed), float(run["accuracy"]), why, text)


def _why(run: pd.Series, share: float | None, *, far: bool) -> Why | None:
    if run["outcome"] in NOT_TRAINED:
        return "at chance" if run["outcome"] == "at chance" else "diverged"
    if share is not None and predicts_one_class(share, float(run["largest"])):
        return "one class"
    return "far below" if far else None


def _text(why: Why, share: float | None, drop: str) -> str:
    words = {
        "at chance": "stayed at chance",
        "diverged": "diverged",
        "one class": f"gives the same class to {number_format.percent(share, 1)} % of the test images",
        "far below": f"is {drop} worse than the median of the other seeds",
    }
    return words[why]


def not_excluded(comparison: Comparison | None, found: Sequence[Collapse], judged: pd.DataFrame) -> NotExcluded | None:
    """Return what the pairs of a comparison without a failure do not exclude; None with one, or without a verdict."""
    if comparison is None or not comparison.verdict.decided:
        return None
    if any(each.comparison == comparison.name for each in found):
        return None
    pairs = comparison.deciding_pairs
    own = judged[(judged["arm"] == comparison.treatment) & judged["seed"].isin(pairs["seed"])]
    rate = highest_rate(0, len(pairs))
    gap = 100 * float((own["accuracy"] - own["chance"]).mean())
    known = comparison.measure.is_accuracy and gap > 0
    return NotExcluded(comparison.treatment, len(pairs), rate, rate * gap if known else None)


def failed_words(found: Sequence[Collapse]) -> str:
    """Return which runs failed, in a sentence; empty if none did."""
    return f"Of the compared runs, {failed_runs(found)}." if found else ""


def failed_runs(found: Sequence[Collapse]) -> str:
    """Return which runs failed, inside a sentence: ``aim with seed 3 collapsed``; empty if none did."""
    trained = [each for each in found if each.why not in NOT_TRAINED]
    parts = [(trained, "collapsed"), ([each for each in found if each not in trained], "did not train")]
    return number_format.listing([f"{_runs(each)} {word}" for each, word in parts if each])


def _runs(found: Sequence[Collapse]) -> str:
    """Return the runs by arm: ``aim with seed 3``."""
    by_arm: dict[str, list[str]] = {}
    for each in found:
        by_arm.setdefault(each.arm, []).append(str(each.seed))
    return number_format.listing(
        [f"{arm} with {'seed' if len(of) == 1 else 'seeds'} {number_format.listing(of)}" for arm, of in by_arm.items()]
    )
