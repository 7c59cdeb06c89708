"""The joint findings of several studies, in words and as a frame."""

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
    """A study that is left out of the joint findings because it has no verdict of its own.

    Attributes
    ----------
    name : the study's name, which states its setting; see `Across.names`.
    study : the study's directory.
    n : number of complete pairs.
    verdict : why the study has no verdict of its own, in words.
    """

    name: str
    study: str
    n: int
    verdict: str


@dataclass(frozen=True)
class Across:
    """The joint findings of several studies; only studies with a verdict of their own are included.

    Attributes
    ----------
    names : names of the studies, formed from the settings in which the studies differ.
    verdicts : verdict on the primary comparison in each study, in words, with its limitations.
    effects : interval for the mean difference in each study, all at the strictest level of any study, in the unit of
        the measure's differences.
    delta, level : smallest effect of interest; overall error rate across all looks in a study.
    mean : interval for the mean effect in these studies, with equal weights.
    of_settings : interval for the mean effect in all settings from which these studies are a sample; None with fewer
        than three studies.
    heterogeneity : whether the effects differ between studies.
    pooled : partially pooled effects; `narrower` and `wider` contain them for half and for twice the prior's scale.
    improvement : probability that a run of the treatment is better than a run of the control, with the limits of its
        interval.
    p, p_holm : each study's joint p-value over its looks; the same p-values, adjusted for the number of studies.
    positive : for each study, whether its interval lies above 0 at the level of the study's deciding look.
    notes : further sentences that the reader needs.
    left_out : studies without a verdict of their own; the other attributes do not include them.
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
        """One row per study: its effect with an interval, the verdict, p-values, and the partially pooled effect.

        Studies that are left out come last, with their verdicts but without numbers.
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
        """Whether every interval lies above 0 at the level of its study's deciding look.

        No correction for the number of studies is needed, because all intervals must lie above 0.
        """
        return all(self.positive)

    @property
    def difference(self) -> Interval:
        """The first effect minus the second; UsageError unless there are two studies."""
        if len(self.effects) != 2:
            number = len(self.effects)
            raise UsageError(f"{number} studies do not have a single difference; use `frame` and `heterogeneity`")
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
        """Which studies are left out and why, without a period; empty if none are left out."""
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
            return f"{'Positive in both settings' if self.all_positive else 'Not positive in both settings'}{which}."
        surely = sum(e.mean > 0 and p <= self.level for e, p in zip(self.effects, self.p_holm, strict=True))
        return f"Positive in {above} of {count} settings, and in {surely} after Holm's correction for their number."

    @property
    def _means(self) -> str:
        count = "two" if len(self.effects) == 2 else str(len(self.effects))
        return f"The mean of the {count} effects is {self._said(self.mean)}."

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
        said = f"The effects have an SD of {spread} between settings"
        if np.isfinite(self.heterogeneity.p):
            said += f" (Welch's test that all effects are equal: p {number_format.probability(self.heterogeneity.p)})"
        if self.of_settings is not None:
            said += f". The mean over all settings of which these are a sample is {self._said(self.of_settings)}"
        return f"{said}."

    @property
    def _pooling(self) -> str:
        below, within, above = (number_format.percent(share, 0) for share in self.pooled.further)
        delta = self.measure.margin(self.delta)
        ends = sorted(number_format.percent(each.further_above_zero, 0) for each in (self.narrower, self.wider))
        return (
            f"By partial pooling, the effect in a further setting like these is above {delta} with probability {above} "
            f"%, within ± {delta} with probability {within} %, and below −{delta} with probability {below} %. It is "
            f"above 0 with probability {number_format.percent(self.pooled.further_above_zero, 0)} % ({ends[0]} and "
            f"{ends[1]} % with half and twice the prior's scale)."
        )

    @property
    def _improvement(self) -> str:
        share, low, high = (number_format.percent(value, 0) for value in self.improvement)
        better = "A run of the treatment is better than a run of the control"
        return f"{better} with probability {share} % ({low} to {high} %)."

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The assumptions behind the findings from several studies."""
        scale = self.measure.margin(self.pooled.scale)
        return (
            "The studies do not share any runs, and their seed effects are normally distributed.",
            "The mean over these studies applies only to these settings.",
            "Partial pooling treats the effects as draws from one normal distribution: before the results, it was "
            f"unknown which setting would gain more. The prior on its spread is half-normal with scale {scale}, twice "
            "the smallest effect of interest"
            + (", and two studies provide little evidence against it." if len(self.effects) == 2 else "."),
            "The interval for the probability that a run of the treatment is better is a bootstrap over seeds, which "
            "is too short with few seeds.",
            *self.notes,
        )
