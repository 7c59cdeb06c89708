"""A comparison of two arms, with all findings about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from aimlib.errors import counted
from analysis.looks import FEWEST_PAIRS, Looks
from analysis.primary_measure import ACCURACY, SCALAR, PrimaryMeasure
from analysis.procedures import FIRST, LATEST
from analysis.statistics.interval import Interval, t_interval, t_p_value, unpaired_prediction
from analysis.statistics.paired import complete, paired_differences, pairing
from analysis.statistics.planned import FamilyName
from analysis.statistics.seeds_needed import SeedsNeeded, seeds_needed
from analysis.statistics.sensitivity import sensitivity
from analysis.statistics.verdict import OPEN, Verdict, decide
from analysis.statistics.withholding import Reason
from analysis.wording import number_format

PROXY = "Proxy: does not test the claim. "
UNBOUNDED = "no bounded interval yet"
"""Text for a confidence sequence with too few pairs to exclude any value."""


@dataclass(frozen=True)
class Look:
    """One look at a comparison.

    Attributes
    ----------
    pairs : number of planned pairs at this look.
    interval : interval from the complete pairs among them, at this look's level.
    p : two-sided p-value of the paired t test of these pairs alone.
    """

    pairs: int
    interval: Interval
    p: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Treatment minus control, in percentage points or in the unit of the study's measure.

    Attributes
    ----------
    family : ``gate`` (tested in order, each at full alpha) or ``variant`` (with Holm's correction across the family).
    pairs : frame from `paired_differences`, one row per planned seed, in the plan's order.
    looks : the looks that were taken, in order.
    next_look : number of pairs at the next look that can lead to a verdict; None after the last one.
    interval : interval from the complete pairs of the deciding look; its alpha is the level of that look, after Holm's
        correction.
    p, p_looks, p_holm : two-sided p-value of the paired t test at the deciding look; joint p-value of the looks up to
        that look; joint p-value adjusted among the variants (NaN for gates).
    survivors, survivors_verdict : the interval and verdict from the pairs in which both runs trained.
    needed : estimated number of pairs to add if the verdict is open; None if it is not open or the number is unknown.
    checks : frame from `sensitivity`.
    reported : reported gains in pp, by source; the verdict uses the first. Empty outside the claim's scope.
    further_pair : limits within which the difference of a single further pair is expected. The two reported runs did
        not share a seed, so procedure 2 uses the interval for an unpaired difference. Procedure 1 used the prediction
        interval for paired differences.
    measure : the measure by which the arms are compared; if lower is better, differences are control minus treatment.
    schedule : the looks at which a verdict is allowed; None: only one look, after all pairs.
    """

    treatment: str
    control: str
    family: FamilyName
    delta: float
    pairs: pd.DataFrame
    looks: tuple[Look, ...]
    next_look: int | None
    interval: Interval
    p: float
    p_looks: float
    p_holm: float
    verdict: Verdict
    survivors: Interval
    survivors_verdict: Verdict
    needed: SeedsNeeded | None
    checks: pd.DataFrame
    reported: dict[str, float]
    further_pair: tuple[float, float] = (float("nan"), float("nan"))
    measure: PrimaryMeasure = ACCURACY
    procedure: int = LATEST
    otherwise: float | None = None
    schedule: Looks | None = None

    @property
    def name(self) -> str:
        """``treatment − control``, or ``control − treatment`` if lower is better."""
        return self.measure.difference_name(self.treatment, self.control)

    @property
    def deciding_pairs(self) -> pd.DataFrame:
        """Complete pairs in the deciding look."""
        return complete(self.pairs[: self._planned])

    @property
    def seeds_of_look(self) -> list[int]:
        """Planned seeds in the deciding look."""
        return [int(seed) for seed in self.pairs["seed"][: self._planned]]

    @property
    def _planned(self) -> int:
        """Number of planned pairs in the deciding look."""
        return next(look.pairs for look in self.looks if look.verdict is self.verdict)

    @property
    def beyond(self) -> int:
        """Number of complete pairs after the deciding look; these do not affect the verdict."""
        return len(complete(self.pairs)) - self.interval.n

    @cached_property
    def with_later_pairs(self) -> Verdict:
        """The verdict from all complete pairs at the level of the deciding look, for information only.

        If a verdict is allowed after any number of pairs, the level is that of the last look taken.
        """
        anytime = self.schedule is not None and self.schedule.anytime
        alpha = self.looks[-1].interval.alpha if anytime else self.interval.alpha
        found = t_interval(complete(self.pairs)["difference"], alpha)
        gain = next(iter(self.reported.values()), self.otherwise)
        margins = _Margins(self.delta, gain, self.measure.difference, self.procedure, self.measure.lower_is_better)
        return margins.verdict(found, found.n)

    @property
    def limits(self) -> tuple[float, ...]:
        """Values with which the ends of the interval are compared: 0, ± δ and, if a gain r was reported, r/2 and r."""
        gains = tuple(self.reported.values())[:1]
        return (0.0, -self.delta, self.delta, *(part for gain in gains for part in (gain / 2, gain)))

    @property
    def ends(self) -> str:
        """The ends of the interval as text, with enough decimals to show on which side of each of `limits` they lie."""
        return self.measure.interval(self.interval.lower, self.interval.upper, self.limits)

    @property
    def unstable(self) -> bool:
        """Whether leaving out runs that did not train changes the verdict."""
        return self.verdict.decided and self.survivors_verdict.kind != self.verdict.kind

    def sentence(self, proxy: bool = False) -> str:
        """Return the comparison in one sentence; `proxy`: whether the study is outside the claim's scope."""
        found, measure = self.interval, self.measure
        prefix = PROXY if proxy else ""
        if found.n == 0:
            lacking = (
                f"{measure.words} in the selected epochs of" if measure.column.startswith(SCALAR) else "a result in"
            )
            return f"{prefix}No verdict on {self.name}: no seed has {lacking} both arms."
        side = "higher" if (found.mean >= 0) != measure.lower_is_better else "lower"
        mean = measure.in_unit(measure.decimal(abs(found.mean)))
        seeds = counted(found.n, "paired seed")
        if found.n > 1:
            ends = measure.in_unit(self.ends)
            of = " of the reduction" if measure.lower_is_better else ""
            what = f"{number_format.level(found.alpha)} interval{of} {ends}" if found.bounded else UNBOUNDED
            seeds = f"{what}, {seeds}"
        gain = f"{self.treatment} scores {mean} {side} than {self.control} on average"
        if not measure.is_accuracy:
            gain = f"The {measure.words} of {self.treatment} is {mean} {side} than that of {self.control} on average"
        return f"{prefix}{gain} ({seeds}): {self._ruling()}."

    def _ruling(self) -> str:
        if self.verdict.kind == "screening only":
            return f"screening only, no verdict with fewer than {self.next_look or FEWEST_PAIRS} pairs"
        if self.unstable and self.survivors.n < FEWEST_PAIRS:
            trained = f"{counted(self.survivors.n, 'pair')} both runs trained"
            left = trained if self.survivors.n else "no pair did both runs train"
            return f"{self.verdict.text}; unstable training: in {left}, and a verdict needs {FEWEST_PAIRS}"
        if self.unstable:
            return (
                f"{self.verdict.text}; unstable training: the pairs in which both runs trained would lead "
                f"to “{self.survivors_verdict.text}”"
            )
        return self.verdict.text


def compare_arms(
    runs: pd.DataFrame,
    pairs: pd.DataFrame,
    treatment: str,
    control: str,
    rng: np.random.Generator,
    *,
    looks: Looks | None = None,
    alpha: float | None = None,
    levels: Sequence[float] | None = None,
    delta: float = 1.0,
    reported: dict[str, float] | None = None,
    otherwise: float | None = None,
    measure: PrimaryMeasure = ACCURACY,
    p_holm: Mapping[int, float] | None = None,
    family: FamilyName = "gate",
    withhold: Reason = lambda _number: "",
    procedure: int = LATEST,
) -> Comparison:
    """Return the comparison of two arms.

    The verdict is that of the first look that stops the study. If no look stops it, the verdict is that of the last
    look taken. Pairs after that look do not affect the verdict.

    Parameters
    ----------
    runs : frame from `readings` with the `outcome` of every run; runs of other arms are ignored.
    pairs : frame from `ordered_pairs`; if a planned pair is incomplete, the look that contains it is unbalanced, and
        the verdict at that look is withheld.
    looks : the looks at which a verdict is allowed; None: only one look, after all pairs.
    alpha : overall error rate across all looks; None: that of `looks`.
    levels : level of every look; None: the levels of `looks` for `alpha`.
    otherwise : what replaces the reported gain if `reported` is empty: None, or `verdict.NEVER_REPORTED`.
    measure : the measure to compare; `delta` is in the unit of its differences.
    p_holm : p-value adjusted among the variants, by the look's number of pairs; None for gates.
    withhold : returns a further reason for withholding the verdict at a look; empty if there is none.
    procedure : number of the procedure that determines the verdict; see `procedures`.
    """
    looks = looks or Looks((max(len(pairs), FEWEST_PAIRS),))
    gain = next(iter((reported or {}).values()), otherwise)
    error = looks.alpha if alpha is None else alpha
    margins = _Margins(delta, gain, measure.difference, procedure, measure.lower_is_better)
    taken = _looks_taken(pairs, looks, error, margins, withhold, levels)
    deciding = next((look for look in taken if look.verdict.stops), taken[-1])
    read = pairs[: deciding.pairs]
    main, among = deciding.interval, runs[runs["seed"].isin(read["seed"])]
    surviving = _surviving(among, treatment, control, measure)
    survivors = t_interval(surviving, main.alpha)
    kind = deciding.verdict.kind
    p_looks = _not_below(deciding.p, sequential_p(read, looks), procedure)
    return Comparison(
        treatment=treatment,
        control=control,
        family=family,
        delta=delta,
        pairs=pairs,
        looks=taken,
        next_look=_next_look(looks, taken, deciding),
        interval=main,
        p=deciding.p,
        p_looks=p_looks,
        p_holm=float("nan") if p_holm is None else _not_below(p_looks, _at(p_holm, deciding.pairs), procedure),
        verdict=deciding.verdict,
        survivors=survivors,
        survivors_verdict=margins.verdict(survivors, survivors.n),
        needed=_needed(main, margins, looks, levels) if kind in OPEN | {"screening only"} else None,
        checks=sensitivity(
            among, surviving, read, (treatment, control), delta, gain, rng, main.alpha, measure, procedure
        ),
        reported=reported or {},
        further_pair=_further_pair(read, main, measure, procedure),
        measure=measure,
        procedure=procedure,
        otherwise=otherwise,
        schedule=looks,
    )


def _needed(found: Interval, margins: _Margins, looks: Looks, levels: Sequence[float] | None) -> SeedsNeeded | None:
    """Return how many further pairs would settle a comparison; each look uses its own level if levels differ."""
    levels = looks.levels if levels is None else tuple(levels)

    def level_after(total: int) -> float:
        return next((level for n, level in zip(looks.numbers, levels, strict=True) if n >= total), levels[-1])

    return seeds_needed(found, margins.delta, margins.gain, margins.procedure, None if looks.planned else level_after)


class _Margins(NamedTuple):
    """The values with which an interval is compared for a verdict, and the rules for the comparison."""

    delta: float
    gain: float | None
    unit: str
    procedure: int
    lower_is_better: bool = False

    def verdict(self, found: Interval, count: int, withhold: str = "") -> Verdict:
        return decide(
            found.lower,
            found.upper,
            found.sd,
            count,
            self.delta,
            self.gain,
            withhold=withhold,
            unit=self.unit,
            lower_is_better=self.lower_is_better,
            procedure=self.procedure,
        )


def _at(p_values: Mapping[int, float], number: int) -> float:
    """Return the p-value at a look; before the first look, the p-value of all pairs."""
    return p_values[number] if number in p_values else p_values[max(p_values)]


def _not_below(unadjusted: float, adjusted: float, procedure: int) -> float:
    """Return a p-value adjusted for multiplicity; in procedure 2, it is never smaller than the unadjusted p-value."""
    return adjusted if procedure == FIRST else float(np.fmax(unadjusted, adjusted))


def _further_pair(pairs: pd.DataFrame, found: Interval, measure: PrimaryMeasure, procedure: int) -> tuple[float, float]:
    """Return the limits between which the difference between one further run of each arm is expected."""
    if procedure == FIRST or found.n < 2:
        return found.prediction
    known = complete(pairs)
    unit = abs(float(measure.gains(np.ones(1), np.zeros(1))[0]))
    return unpaired_prediction(found, unit * known["treatment"].to_numpy(), unit * known["control"].to_numpy())


def _surviving(runs: pd.DataFrame, treatment: str, control: str, measure: PrimaryMeasure) -> npt.NDArray[np.float64]:
    """Return the differences of the pairs in which both runs trained, in the order of their seeds."""
    trained = runs[runs["outcome"] == "trained"]
    values = trained[measure.column].to_numpy(dtype="float64", na_value=np.nan)
    treated, held = pairing(trained, treatment, control)
    found: npt.NDArray[np.float64] = measure.gains(values[treated], values[held])
    return found[~np.isnan(found)]


def sequential_p(pairs: pd.DataFrame, looks: Looks) -> float:
    """Return a comparison's joint p-value over all looks that its pairs reach; see `Looks.p_value`.

    Parameters
    ----------
    pairs : frame from `paired_differences`, in the plan's order.
    """
    differences = pairs["difference"].to_numpy(dtype="float64")
    tested = [differences[:number] for number in looks.reached(len(pairs))]
    return looks.p_value([np.nan if np.isnan(known).any() else t_p_value(known) for known in tested])


def ordered_pairs(
    runs: pd.DataFrame, treatment: str, control: str, seeds: Sequence[int], measure: PrimaryMeasure = ACCURACY
) -> pd.DataFrame:
    """Return `paired_differences` in the order of the planned seeds; seeds that are not in the plan come last."""
    pairs = paired_differences(runs, treatment, control, value=measure.column, pairs=seeds, measure=measure)
    position = {seed: number for number, seed in enumerate(seeds)}
    order = pairs["seed"].map(lambda seed: position.get(seed, len(position)))
    return pairs.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)


def _looks_taken(
    pairs: pd.DataFrame,
    looks: Looks,
    alpha: float,
    margins: _Margins,
    withhold: Reason,
    levels: Sequence[float] | None = None,
) -> tuple[Look, ...]:
    """Return the looks that the pairs reach, or a single look without a verdict if they do not reach any look.

    A look with pairs that are not yet computed has not been reached; if a pair is missing for a different reason, the
    look's verdict is withheld.
    """
    level = dict(zip(looks.numbers, levels or looks.levels_at(alpha), strict=True))
    numbers = looks.reached(len(pairs))
    differences = pairs["difference"].to_numpy(dtype="float64")
    lost, pending = np.isnan(differences), _pending(pairs)
    come = tuple(number for number in numbers if not pending[:number].any()) or numbers[:1]
    taken: list[Look] = []
    for number in come or (len(pairs),):
        known = differences[:number][~lost[:number]]
        found = t_interval(known, _level_at(number, level))
        reason = withhold(number)
        if not reason and (absent := int(lost[:number].sum())):
            reason = f"unbalanced: {absent} of {counted(number, 'pair')} incomplete"
            last = next((look for look in reversed(taken) if look.verdict.decided), None)
            reason += f"; after {last.pairs} pairs: {last.verdict.text}" if last is not None else ""
        # Before the first look, there is no verdict, however many pairs there are; at a look, the verdict is withheld
        # if a pair is lost.
        count = (number if reason and not pending[:number].any() else found.n) if numbers else 0
        taken.append(Look(number, found, t_p_value(known), margins.verdict(found, count, reason)))
    return tuple(taken)


def _level_at(number: int, level: Mapping[int, float]) -> float:
    """Return the level at a look; before the first look, the level of the first look."""
    return level[number] if number in level else next(iter(level.values()))


def _next_look(looks: Looks, taken: tuple[Look, ...], deciding: Look) -> int | None:
    """Return the number of pairs at the next look that can lead to a verdict."""
    read = [look.pairs for look in taken if look.verdict.kind not in ("withheld", "screening only")]
    after = deciding.pairs if deciding.pairs in read else max(read, default=0)
    return next((number for number in looks.numbers if number > after), None)


def _pending(pairs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return, for every pair, whether at least one of its two runs does not have a row yet."""
    waiting = pairs["treatment_status"].eq("missing") | pairs["control_status"].eq("missing")
    return waiting.to_numpy(dtype=bool)
