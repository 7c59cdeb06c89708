"""Runs that collapsed, and the failure rate that pairs without a failed run do not exclude."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from aimlib.errors import counted
from analysis.reading.predictions import Selected
from analysis.results import Results
from analysis.statistics.collapse import CONFIDENCE, LEAST_DROP, collapsed, highest_rate, predicts_one_class
from analysis.statistics.comparison import Comparison
from analysis.statistics.outcomes import largest_share
from analysis.statistics.paired import complete
from analysis.wording import number_format

Why = Literal["at chance", "diverged", "one class", "far below"]
NOT_TRAINED: tuple[Why, ...] = ("at chance", "diverged")
"""Outcomes that mark a run as failed; runs with any other outcome count as trained."""


@dataclass(frozen=True)
class Collapse:
    """A failed run in a gated comparison, among the pairs of the deciding look.

    Attributes
    ----------
    comparison : name of the comparison.
    accuracy : test accuracy at the selected epoch, a fraction.
    why : the outcome ``at chance`` or ``diverged``; ``one class`` if the run predicts almost only one class; or ``far
        below`` if the run is far below its arm.
    text : the reason in words, to follow the name of the run.
    of_accuracy : whether the study's measure is an accuracy; an outlier in a different measure need not have failed.
    """

    comparison: str
    run_id: str
    arm: str
    seed: int
    accuracy: float
    why: Why
    text: str
    of_accuracy: bool = True


@dataclass(frozen=True)
class NotExcluded:
    """The failure rate that cannot be excluded if no run of the treatment failed in the pairs of the deciding look.

    Attributes
    ----------
    runs : number of the arm's runs in the deciding look, none of which failed.
    later, failed_later : number of the arm's runs after that look, and how many of them failed.
    rate : highest failure rate that all these runs do not exclude at 95 % confidence.
    cost_pp : by how much that rate would lower the arm's mean accuracy if failed runs are at chance level; None if the
        measure is not the accuracy or the chance level is not known.
    hidden_by : standard deviation of the arm's accuracies in pp, if a run that lost half of its accuracy above chance
        level would not stand out among them; otherwise None.
    """

    arm: str
    runs: int
    rate: float
    cost_pp: float | None
    later: int = 0
    failed_later: int = 0
    hidden_by: float | None = None

    @property
    def text(self) -> str:
        """The finding in a sentence."""
        cost = number_format.decimal(self.cost_pp)
        lower = "" if self.cost_pp is None else f", which would lower its mean by {cost} pp"
        excluded = f"exclude a failure rate of up to {100 * self.rate:.0f} %{lower}"
        level = f"at {100 * CONFIDENCE:.0f} % confidence,"
        said, this = f"No run of {self.arm} failed in {counted(self.runs, 'pair')}", "the pairs do not"
        if self.hidden_by is not None:
            said = (
                f"No run of {self.arm} stands out as failed in {counted(self.runs, 'pair')}, but its runs vary so much "
                f"(SD {number_format.decimal(self.hidden_by)} pp) that even a run with half the accuracy would not"
            )
        if self.failed_later:
            said += f", but {self.failed_later} of {counted(self.later, 'later run')} did"
            this = f"all {self.runs + self.later} runs do not"
        return f"{said}; {level} {this} {excluded}."


def collapses(
    results: Results,
    comparisons: Sequence[Comparison],
    judged: pd.DataFrame,
    selected: Mapping[str, Selected],
    *,
    later: bool = False,
) -> tuple[Collapse, ...]:
    """Return the runs that failed among the pairs of the deciding look, comparison by comparison.

    Parameters
    ----------
    comparisons : the gated comparisons.
    judged : the frame from `outcomes`.
    selected : predictions of the selected epochs, by run id.
    later : return the failed runs after the deciding look instead, judged among all complete pairs.
    """
    compared = results.runs["arm"].isin({arm for each in comparisons for arm in (each.treatment, each.control)})
    known = results.runs[compared]
    own = {"outcome": judged["outcome"], "accuracy": judged["accuracy"], "largest": _largest(results, known)}
    runs = known.assign(**own).set_index(["arm", "seed"])
    shares = {run_id: each.largest_share for run_id, each in selected.items()}
    found: list[Collapse] = []
    for each in comparisons:
        deciding = set(each.deciding_pairs["seed"])
        pairs = complete(each.pairs) if later else each.deciding_pairs
        if not later or len(pairs) > len(deciding):
            found += [one for one in _of(each, pairs, runs, shares) if (one.seed in deciding) != later]
    return tuple(found)


def _largest(results: Results, runs: pd.DataFrame) -> pd.Series:
    """Return the share of the largest class among every run's test images; NaN where it is not known."""
    equal = 1 / runs["classes"].astype("Float64").astype("float64")
    return runs["data_fingerprint"].map(largest_share(results.images)).astype("float64").fillna(equal)


def _of(
    comparison: Comparison, pairs: pd.DataFrame, runs: pd.DataFrame, shares: Mapping[str, float]
) -> Iterator[Collapse]:
    """Yield the failed runs among the given pairs of one comparison, beginning with the treatment's."""
    measure = comparison.measure
    values = [measure.gains(pairs[side].to_numpy(dtype="float64"), 0.0) for side in ("treatment", "control")]
    marks = collapsed(values[0], values[1], comparison.delta)
    for arm, own, marked in zip((comparison.treatment, comparison.control), values, marks, strict=True):
        for place, seed in enumerate(pairs["seed"]):
            run = runs.loc[(arm, seed)]
            run_id, share = str(run["run_id"]), shares.get(str(run["run_id"]))
            why = _why(run, share, far=bool(marked[place]))
            if why is None:
                continue
            drop = float(np.median(own[~marked]) - own[place]) if marked[place] else None
            text = _text(why, share, measure.in_unit(measure.decimal(drop)))
            accuracy = float(run["accuracy"])
            yield Collapse(comparison.name, run_id, arm, int(seed), accuracy, why, text, measure.is_accuracy)


def far_below(comparison: Comparison) -> list[tuple[str, int]]:
    """Return the arm and seed of each run that is far below its arm, among the pairs of a comparison's deciding look.

    Unlike `collapses`, this needs neither outcomes nor predictions, so it is fast enough for hundreds of comparisons.
    """
    pairs, measure = comparison.deciding_pairs, comparison.measure
    values = [measure.gains(pairs[side].to_numpy(dtype="float64"), 0.0) for side in ("treatment", "control")]
    marks = collapsed(values[0], values[1], comparison.delta)
    return [
        (arm, int(seed))
        for arm, marked in zip((comparison.treatment, comparison.control), marks, strict=True)
        for seed in pairs["seed"][marked]
    ]


def _why(run: pd.Series, share: float | None, *, far: bool) -> Why | None:
    if run["outcome"] in NOT_TRAINED:
        return "at chance" if run["outcome"] == "at chance" else "diverged"
    if share is not None and predicts_one_class(share, float(run["largest"])):
        return "one class"
    return "far below" if far else None


def _text(why: Why, share: float | None, drop: str) -> str:
    words = {
        "at chance": "stayed at chance level",
        "diverged": "diverged",
        "one class": f"predicts the same class for {number_format.percent(share, 1)} % of the test images",
        "far below": f"is {drop} worse than the median of the other seeds",
    }
    return words[why]


def not_excluded(
    comparison: Comparison | None, found: Sequence[Collapse], judged: pd.DataFrame, later: Sequence[Collapse] = ()
) -> NotExcluded | None:
    """Return the failure rate that a comparison without a failure does not exclude; None if a run failed.

    Parameters
    ----------
    found, later : results of `collapses` for the pairs of the deciding look, and for later pairs.
    """
    if comparison is None or not comparison.verdict.decided:
        return None
    pairs = comparison.deciding_pairs
    if of_arms(found, (comparison.treatment, comparison.control), pairs["seed"]):
        return None
    own = judged[(judged["arm"] == comparison.treatment) & judged["seed"].isin(pairs["seed"])]
    beyond = len(complete(comparison.pairs)) - len(pairs)
    failed = len({each.seed for each in later if each.arm == comparison.treatment})
    rate = highest_rate(failed, len(pairs) + beyond) if failed else highest_rate(0, len(pairs))
    gap = 100 * float((own["accuracy"] - own["chance"]).mean())
    known = comparison.measure.is_accuracy and gap > 0
    cost = rate * gap if known else None
    hidden_by = _spread_that_hides(comparison, gap) if known else None
    return NotExcluded(comparison.treatment, len(pairs), rate, cost, beyond, failed, hidden_by)


def _spread_that_hides(comparison: Comparison, gap: float) -> float | None:
    """Return the treatment's standard deviation in pp if a run that lost half of `gap` would not be marked.

    None if the rule would mark such a run, or if even a run at chance level would be less than the rule's smallest drop
    below the others.
    """
    pairs, measure = comparison.deciding_pairs, comparison.measure
    treated, control = (measure.gains(pairs[side].to_numpy(dtype="float64"), 0.0) for side in ("treatment", "control"))
    least = LEAST_DROP * comparison.delta
    if gap <= least:
        return None
    place = int(np.argsort(treated)[len(treated) // 2])
    fallen = treated.copy()
    fallen[place] = np.median(treated) - max(gap / 2, 1.01 * least)
    return None if collapsed(fallen, control, comparison.delta)[0][place] else float(treated.std(ddof=1))


def of_arms(found: Sequence[Collapse], arms: Collection[str], seeds: Iterable[int]) -> list[Collapse]:
    """Return the failed runs of these arms and seeds, without duplicates from different comparisons."""
    wanted = {int(seed) for seed in seeds}
    by_run = {each.run_id: each for each in reversed(found) if each.arm in arms and each.seed in wanted}
    return list(reversed(by_run.values()))


def failed_words(found: Sequence[Collapse]) -> str:
    """Return a sentence on which runs failed; empty if none did."""
    return f"Of the compared runs, {failed_runs(found)}." if found else ""


def failed_runs(found: Sequence[Collapse]) -> str:
    """Return which runs failed, for use within a sentence: ``aim with seed 3 collapsed``; empty if none did."""
    trained = [each for each in found if each.why not in NOT_TRAINED]
    fell = "collapsed" if all(each.of_accuracy for each in found) else "did far worse than the others"
    parts = [(trained, fell), ([each for each in found if each not in trained], "did not train")]
    return number_format.listing([f"{_runs(each)} {word}" for each, word in parts if each])


def _runs(found: Sequence[Collapse]) -> str:
    """Return the runs, grouped by arm: ``aim with seed 3``."""
    by_arm: dict[str, list[int]] = {}
    for each in found:
        by_arm.setdefault(each.arm, []).append(each.seed)
    return number_format.listing([f"{arm} with {number_format.seeds(of)}" for arm, of in by_arm.items()])
