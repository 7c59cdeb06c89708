"""What several studies say together, in words and as a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aimlib.errors import UsageError
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.interval import Interval
from analysis.statistics.pooling import Heterogeneity, Pooled, difference
from analysis.wording import number_format

_TYPES = {
    **dict.fromkeys(("study", "name"), "str"),
    "n": "int64",
    **dict.fromkeys(("mean", "lower", "upper", "p", "p_holm"), "float64"),
    "verdict": "str",
    **dict.fromkeys(("pooled_mean", "pooled_lower", "pooled_upper", "above_zero"), "float64"),
}


@dataclass(frozen=True)
class LeftOut:
    """A study that is not counted, because it does not have its own verdict.

    Attributes
    ----------
    name : by its setting, as in `Across.names`.
    study : its directory.
    n : complete pairs.
    verdict : why it has none, in words.
    """

    name: str
    study: str
    n: int
    verdict: str


@dataclass(frozen=True)
class Across:
    """Several studies together: those that have their own verdict.

    Attributes
    ----------
    names : of the studies, by the settings in which they differ.
    verdicts : of the primary comparison of each, in words, with its limits.
    effects : their mean differences, all at the level of the strictest, in the unit of the measure's differences.
    delta, level : smallest effect of interest; error of all looks of a study together.
    mean : of these studies, each counting the same.
    of_settings : mean of all settings of which these are a sample; None below three studies.
    heterogeneity : whether the effects differ.
    pooled : partially pooled effects, with half and twice the scale of the prior in `narrower` and `wider`.
    improvement : probability that a run of the treatment is better than one of the control, with its interval's ends.
    p, p_holm : of every study, over its looks; adjusted for the number of studies.
    positive : whether the interval of every study lies above 0, each at the level of its own look.
    notes : what the reader has to know.
    left_out : studies without their own verdict; no other attribute counts them.
    """

    names: tuple[str, ...]
    studies: tuple[str, ...]
    verdicts: tuple[str, ...]
    effects: tuple[Interval, ...]
    mean: Interval
    of_settings: Interval | None
    heterogeneity: Heterogeneity
    pooled: Pooled
    narrower: Pooled
    wider: Pooled
    improvement: tuple[float, float, float]
    p: tuple[float, ...]
    p_holm: tuple[float, ...]
    positive: tuple[bool, ...]
    delta: float
    level: float
    notes: tuple[str, ...] = ()
    measure: PrimaryMeasure = ACCURACY
    left_out: tuple[LeftOut, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """One row per study: its effect with interval, verdict, p-values, and the partially pooled effect.

        Studies that are left out come last, with their verdicts and without numbers.
        """
        rows = [
            (study, name, e.n, e.mean, e.lower, e.upper, p, adjusted, verdict, *pooled)
            for study, name, e, p, adjusted, verdict, pooled in zip(
                self.studies, self.names, self.effects, self.p, self.p_holm, self.verdicts, self._pooled, strict=True
            )
        ]
        nothing = (float("nan"),) * 5
        rows += [(each.study, each.name, each.n, *nothing, each.verdict, *nothing[:4]) for each in self.left_out]
        return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)

    @property
    def _pooled(self) -> list[tuple[float, float, float, float]]:
        found = self.pooled
        return list(zip(found.means, found.lower, found.upper, found.above_zero, strict=True))

    @property
    def all_positive(self) -> bool:
        """Whether every interval lies above 0, at the level of its own look.

        "On all" needs no correction, because each of them must.
        """
        return all(self.positive)

    @property
    def difference(self) -> Interval:
        """The first effect less the second; UsageError unless there are two studies."""
        if len(self.effects) != 2:
            raise UsageError(f"{len(self.effects)} studies have no single difference; read `frame` and `heterogeneity`")
        return difference(*self.effects)

    @property
    def sentence(self) -> str:
        """The findings in a few sentences."""
        return " ".join((self._verdicts, self._means, self._differences, self._pooling, self._improvement))

    @property
    def _verdicts(self) -> str:
        said = [*zip(self.names, self.verdicts, strict=True), *((each.name, each.verdict) for each in self.left_out)]
        each = "; ".join(f"{name}: {text}" for name, text in said)
        return ". ".join(filter(None, (each, self.without, self._positive)))

    @property
    def without(self) -> str:
        """Which studies are left out and why, without a full stop; empty if none is."""
        if not self.left_out:
            return ""
        names = number_format.listing([each.name for each in self.left_out])
        have, own = ("it has", "its") if len(self.left_out) == 1 else ("they have", "their")
        return f"Left out, because {have} no verdict of {own} own: {names}"

    @property
    def _positive(self) -> str:
        count, above = len(self.effects), sum(self.positive)
        if count == 2:
            which = f" ({number_format.listing(list(self.names))})" if self.left_out else ""
            return f"{'Positive on both' if self.all_positive else 'Not positive on both'}{which}."
        surely = sum(e.mean > 0 and p <= self.level for e, p in zip(self.effects, self.p_holm, strict=True))
        return f"Positive in {above} of {count} settings, in {surely} after Holm's correction for their number."

    @property
    def _means(self) -> str:
        count = "two" if len(self.effects) == 2 else str(len(self.effects))
        return f"Mean of the {count} {self._said(self.mean)}."

    def _said(self, found: Interval) -> str:
        measure = self.measure
        ends = measure.interval(found.lower, found.upper, (0.0, -self.delta, self.delta))
        return f"{measure.in_unit(measure.points(found.mean))} ({number_format.level(found.alpha)} interval {ends})"

    @property
    def _differences(self) -> str:
        measure = self.measure
        if len(self.effects) == 2:
            found = self.difference
            ends = measure.interval(found.lower, found.upper, (0.0, -self.delta, self.delta))
            return f"{self.names[0]} − {self.names[1]} {measure.in_unit(measure.points(found.mean))} ({ends})."
        spread = measure.in_unit(measure.decimal(self.heterogeneity.sd))
        said = f"Spread of the effects between settings: SD {spread}"
        if np.isfinite(self.heterogeneity.p):
            said += f" (Welch's test that all are equal: p {number_format.probability(self.heterogeneity.p)})"
        if self.of_settings is not None:
            said += f". Mean of all settings of which these are a sample {self._said(self.of_settings)}"
        return f"{said}."

    @property
    def _pooling(self) -> str:
        below, within, above = (number_format.percent(share, 0) for share in self.pooled.further)
        delta = self.measure.margin(self.delta)
        ends = sorted(number_format.percent(each.further_above_zero, 0) for each in (self.narrower, self.wider))
        return (
            f"In a further setting like these, by partial pooling: {above} % above {delta}, {within} % within ± "
            f"{delta}, {below} % below −{delta}; above 0: {number_format.percent(self.pooled.further_above_zero, 0)} % "
            f"({ends[0]} and {ends[1]} % with half and twice the prior's scale)."
        )

    @property
    def _improvement(self) -> str:
        share, low, high = (number_format.percent(value, 0) for value in self.improvement)
        return f"Probability of improvement, a run against a run: {share} % ({low} to {high} %)."

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the readings of several studies assume."""
        scale = self.measure.margin(self.pooled.scale)
        return (
            "The studies share no runs, and their seed effects are normal.",
            "The mean of these studies is about these settings and no others.",
            "Partial pooling regards the effects as draws of one normal distribution: before the results, it was "
            f"unknown which setting would gain more. Its spread has a half-normal prior of scale {scale}, twice the "
            "smallest effect of interest"
            + (", and two studies provide little evidence against it." if len(self.effects) == 2 else "."),
            "The interval of the probability of improvement is a bootstrap over seeds, which is too short if there "
            "are few seeds.",
            *self.notes,
        )
