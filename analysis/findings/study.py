"""All findings about a study, computed once and shared by the report, the tables and the command line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from aimlib.errors import StoreError
from aimlib.records import ANALYSIS_PLAN, STUDY_FILE
from analysis.claims import Claim, in_scope, stored
from analysis.claims.audit import audit
from analysis.findings import contradicted
from analysis.findings.alike_runs import alike_runs
from analysis.findings.collapses import (
    Collapse,
    NotExcluded,
    collapses,
    failed_runs,
    failed_words,
    far_below,
    not_excluded,
    of_arms,
)
from analysis.findings.deviations import Deviation, deviations
from analysis.findings.photos import Photos, photos
from analysis.findings.robust_readings import robust_of
from analysis.findings.searches import tried
from analysis.findings.unlike_arms import unlike_arms, unlike_pairs
from analysis.load import load
from analysis.primary_measure import SCALAR, PrimaryMeasure
from analysis.procedures import FIRST, LATEST, procedure_of
from analysis.reading import ledger
from analysis.reading.consistency import Contradiction
from analysis.reading.measured import frames_with, scalar_names
from analysis.reading.predictions import Selected, selected
from analysis.reading.study_proofs import prove
from analysis.results import Results
from analysis.statistics.attribution import Attribution, attributions
from analysis.statistics.comparison import PROXY, Comparison
from analysis.statistics.family import Family, compare_all
from analysis.statistics.gates import conclusion
from analysis.statistics.outcomes import failure_table, outcomes
from analysis.statistics.pairing_gain import Pairing, pairing_gain
from analysis.statistics.planned import gated_arms
from analysis.statistics.robust import RobustReading
from analysis.statistics.sensitivity import check_row
from analysis.statistics.variance_sources import Variances, series_of, variance_sources
from analysis.statistics.verdict import NEVER_REPORTED, OPEN, Verdict, decide
from analysis.wording.study_words import what

_SEED = 20210301


@dataclass(frozen=True, repr=False)
class Findings:
    """The findings of a study.

    Attributes
    ----------
    claim : the claim that the plan names; None if it does not name a claim.
    reasons : why the study does not test the claim; empty if it does, or if there is no claim.
    judged : the frame from `statistics.outcomes`.
    deviations : what makes the study or the comparisons of some arms exploratory; see `findings.deviations`.
    alpha : 1 minus the confidence level of descriptive intervals (arms, curves); comparisons have their own levels.
    otherwise : what replaces the reported gain if none applies; see `statistics.compare_arms`.
    contradictions : how stored rows contradict themselves or each other; verdicts on the affected arms are withheld.
    """

    results: Results
    claim: Claim | None
    reasons: tuple[str, ...]
    family: Family
    judged: pd.DataFrame
    deviations: tuple[Deviation, ...]
    alpha: float
    otherwise: float | None = None
    contradictions: tuple[Contradiction, ...] = ()

    @property
    def proxy(self) -> bool:
        """Whether the study names a claim but is outside the claim's scope."""
        return self.claim is not None and bool(self.reasons)

    @property
    def reported(self) -> dict[str, float]:
        """Reported gains in pp, by source; empty outside the claim's scope."""
        return {} if self.claim is None or self.reasons else self.claim.gains_pp

    @property
    def measure(self) -> PrimaryMeasure:
        """The measure that the verdict is about."""
        return self.results.plan.measure

    @property
    def primary(self) -> Comparison | None:
        """Treatment − baseline; None if the study lacks either."""
        return self.family.primary

    @cached_property
    def failures(self) -> pd.DataFrame:
        """Counts of outcomes per arm; see `statistics.failure_table`."""
        return failure_table(self.judged, [arm.name for arm in self.results.plan.arms], self.family.baseline)

    @cached_property
    def attributions(self) -> tuple[Attribution, ...]:
        """Contribution of each switch; empty if the study does not have factors with two levels each.

        Procedure 2 uses the seeds of the deciding look, like the verdict.
        """
        return attributions(self.runs_of_look, self.results.plan)

    @cached_property
    def runs_of_look(self) -> pd.DataFrame:
        """Runs with the seeds of the deciding look; all runs in procedure 1 and without a decided verdict."""
        primary, runs = self.primary, self.results.runs
        if self.procedure == FIRST or primary is None or not primary.verdict.stops:
            return runs
        return runs[runs["seed"].isin(primary.seeds_of_look)]

    @cached_property
    def screening(self) -> Results | None:
        """Results of the screening in which arms of this study were chosen; None if there was no screening."""
        folder = self.results.directory.absolute().parent / "screening"
        if self.results.directory.absolute().name != "confirmation" or not (folder / STUDY_FILE).exists():
            return None
        return load(folder)

    @cached_property
    def tried(self) -> pd.DataFrame:
        """The trials of the screening, one row each (see `searches.tried`); empty without a screening."""
        if self.screening is None:
            return pd.DataFrame({name: [] for name in ("searched", "arm", "status", "validation_accuracy")})
        return tried(self.screening)

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Every statement of the claim with the finding (see `claims.audit`); empty without a claim."""
        if self.claim is None:
            return pd.DataFrame()
        return audit(self.claim, self.results, self.reasons)

    @cached_property
    def photos(self) -> Photos | None:
        """The primary comparison image by image, only for accuracy; None if fewer than two pairs have predictions."""
        if self.primary is None or not self.measure.is_accuracy:
            return None
        return photos(self.results, self.primary)

    @cached_property
    def gated(self) -> tuple[Comparison, ...]:
        """The gated comparisons, in order."""
        return tuple(c for c in self.family.comparisons if c.family == "gate")

    @cached_property
    def collapses(self) -> tuple[Collapse, ...]:
        """The failed runs in gated comparisons, among the pairs of the deciding look."""
        return collapses(self.results, self.gated, self.judged, self.selected)

    @cached_property
    def later_collapses(self) -> tuple[Collapse, ...]:
        """The failed runs in gated comparisons after the deciding look."""
        return collapses(self.results, self.gated, self.judged, self.selected, later=True)

    @cached_property
    def far_below(self) -> dict[str, list[tuple[str, int]]]:
        """Arm and seed of the runs that are far below their arm, by the name of a comparison outside the gates."""
        further = [each for each in self.family.comparisons if each.family != "gate"]
        return {each.name: found for each in further if (found := far_below(each))}

    @cached_property
    def selected(self) -> dict[str, Selected]:
        """What is known about the predictions at the selected epoch, by run id, for the runs in gated comparisons."""
        arms = {arm for each in self.gated for arm in (each.treatment, each.control)}
        runs = self.results.runs
        wanted = runs.loc[runs["arm"].isin(arms), "run_id"]
        return selected(self.results.directory, wanted) if len(wanted) else {}

    @cached_property
    def not_excluded(self) -> NotExcluded | None:
        """The failure rate that the primary comparison does not exclude; None if a run failed, or without a verdict."""
        return not_excluded(self.primary, self.collapses, self.judged, self.later_collapses)

    @cached_property
    def pairing(self) -> Pairing | None:
        """What pairing by seed saved in the primary comparison's deciding pairs; None if this cannot be determined."""
        primary = self.primary
        if primary is None:
            return None
        pairs, unit = primary.deciding_pairs, self.measure.scale
        treated, control = (unit * pairs[side].to_numpy(float) for side in ("treatment", "control"))
        return pairing_gain(treated, control, primary.interval.alpha)

    @cached_property
    def variance_sources(self) -> tuple[Variances, ...]:
        """Variance by source for the arms and their difference, from all seeds; empty if no arm fixes streams."""
        if not series_of(self.results.plan):
            return ()
        return variance_sources(self.results.runs, self.results.plan, self.measure)

    @cached_property
    def robust(self) -> dict[str, RobustReading]:
        """The robust intervals, by the name of the gated comparison; they do not affect the verdict."""
        found = {each.name: robust_of(each) for each in self.gated}
        return {name: reading for name, reading in found.items() if reading is not None}

    @property
    def failed(self) -> str:
        """A sentence on which runs in the primary comparison collapsed or did not train; empty if none did."""
        return failed_words(self._failures_of_primary)

    @property
    def failed_runs(self) -> str:
        """The content of `failed`, for use within a sentence."""
        return failed_runs(self._failures_of_primary)

    @property
    def _failures_of_primary(self) -> list[Collapse]:
        if self.primary is None:
            return []
        arms = (self.primary.treatment, self.primary.control)
        return of_arms(self.collapses, arms, self.primary.deciding_pairs["seed"])

    @property
    def oracle(self) -> bool:
        """Whether test data were used to choose the epoch of any run."""
        return bool(self.results.runs["selection_oracle"].fillna(False).any())

    @cached_property
    def checks(self) -> pd.DataFrame:
        """Sensitivity checks of the primary comparison, some from predictions; they do not affect the verdict."""
        primary = self.primary
        if primary is None or self.photos is None:
            return primary.checks if primary is not None else pd.DataFrame()
        gain = next(iter(primary.reported.values()), self.otherwise)
        new = self.photos.crossed.interval
        balanced = check_row(
            "balanced accuracy", self.photos.balanced, primary.delta, gain, new.alpha, procedure=self.procedure
        )
        more = [
            {**balanced, "verdict": ""},
            {
                "check": "new photos: seeds × images",
                **{name: getattr(new, name) for name in ("n", "mean", "lower", "upper")},
                "p": float("nan"),
                "verdict": self._of_new_photos.text if self._of_new_photos is not None else "",
            },
        ]
        return pd.concat([primary.checks, pd.DataFrame(more).astype(primary.checks.dtypes)], ignore_index=True)

    @property
    def procedure(self) -> int:
        """The number of the procedure that determines the verdict; see `procedures`."""
        return self.results.plan.procedure

    @cached_property
    def _of_new_photos(self) -> Verdict | None:
        """The verdict for new photos, from crossed seeds × images; None if there is none."""
        primary = self.primary
        if primary is None or not primary.verdict.decided or self.photos is None:
            return None
        new = self.photos.crossed.interval
        gain = next(iter(primary.reported.values()), self.otherwise)
        return decide(new.lower, new.upper, new.sd, new.n, primary.delta, gain, procedure=self.procedure)

    @property
    def new_photos(self) -> str:
        """The verdict for new photos, if it differs from the verdict on the test images; otherwise empty."""
        primary, other = self.primary, self._of_new_photos
        if primary is None or other is None or other.kind == primary.verdict.kind:
            return ""
        return f"For new photos: {other.text}"

    @cached_property
    def newer(self) -> Verdict | None:
        """The verdict by the latest procedure, if the study froze an earlier one; None if it froze the latest."""
        if self.procedure == LATEST or self.primary is None:
            return None
        plan = replace(self.results.plan, procedure=LATEST)
        rng = np.random.default_rng(_SEED)
        primary = compare_all(
            self.results.runs,
            self.results.epochs,
            plan,
            rng,
            reported=self.reported or None,
            otherwise=self.otherwise,
            further=False,
            images=self.results.images,
            contradicted=contradicted.by_arm(self.contradictions, self.results.plan),
        ).primary
        return None if primary is None else primary.verdict

    @cached_property
    def cautions(self) -> tuple[str, ...]:
        """Sentences to read before the verdict: which rows contradict themselves, and how arms differ."""
        runs, plan = self.results.runs, self.results.plan
        return (
            *contradicted.sentences(self.contradictions),
            *alike_runs(self.gated, runs, self.selected),
            *unlike_arms(runs, plan),
            *unlike_pairs(self.gated, runs),
        )

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Names of the open gated comparisons that further pairs may settle.

        Comparisons after a gate that is not passed do not count. Further pairs cannot settle a positive comparison for
        which there is no stopping verdict, as for a gain above δ outside the claim's scope.
        """
        found = []
        for comparison in self.gated:
            reachable = comparison.needed is None or comparison.needed.reachable
            lower = comparison.interval.lower
            if comparison.verdict.kind in OPEN and (reachable or not lower > 0):
                found.append(comparison.name)
            if not comparison.verdict.decided or not lower > 0:
                break
        return tuple(found)

    @property
    def headline(self) -> str:
        """The verdict in one sentence, or why there is none; and the verdict's limitations.

        The limitations are whether test data were used to choose the epochs and, in studies with procedure 2, which
        runs failed. If no run failed, the failure rate that the pairs do not exclude is included instead.
        """
        beside = "" if self.procedure == FIRST else self._beside
        return self._ruling + beside + (" Oracle: test data chose the epochs." if self.oracle else "") + self._standing

    @property
    def _beside(self) -> str:
        """Sentences that procedure 2 adds to the verdict, each preceded by a space."""
        photos = f"{self.new_photos}." if self.new_photos else ""
        rate = self.not_excluded.text if self.not_excluded is not None else ""
        return "".join(f" {said}" for said in (photos, self.failed, rate) if said)

    @property
    def short(self) -> str:
        """The headline, with the runs that failed; for a console that does not show cautions."""
        return f"{self.headline} {self.failed}".rstrip() if self.procedure == FIRST else self.headline

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"<Findings: {self.headline}>"

    def _repr_html_(self) -> str:
        from analysis.findings.findings_html import of_findings  # noqa: PLC0415

        return of_findings(self)

    @property
    def _standing(self) -> str:
        primary = self.primary
        reasons = self.exploratory(primary.treatment, primary.control) if primary else ()
        return f" Exploratory: {reasons[0]}." if reasons else ""

    @property
    def causal(self) -> str:
        """Whether the treatment causes a gain, in a sentence with its limitations; empty without a treatment arm."""
        said = conclusion(self.family.gates, what(self.results.plan))
        if not said:
            return ""
        limits = self.exploratory(*{arm for c in self.gated for arm in (c.treatment, c.control)})
        own = {each.run_id for each in self._failures_of_primary}
        controls = [each for each in self.collapses if each.run_id not in own]
        if self.procedure != FIRST and controls:
            far = "if runs fail" if self.measure.is_accuracy else "with such outliers"
            said += f" But a t interval is not valid {far}. {failed_words(controls)}"
        shaken = next((c for c in self.gated if c.unstable), None)
        if shaken is not None:
            said += f" Unstable training: {shaken.name} gets a different verdict without the runs that did not train."
        return (PROXY if self.proxy else "") + said + (f" Exploratory: {limits[0]}." if limits else "")

    def exploratory(self, *arms: str) -> tuple[str, ...]:
        """Return what makes a comparison of these arms exploratory; empty if it is confirmatory."""
        return tuple(deviation.text for deviation in self.deviations if deviation.touches(*arms))

    @property
    def _ruling(self) -> str:
        if self.primary is not None and self.primary.interval.n:
            return self.primary.sentence(self.proxy)
        if not len(self.results.runs[self.measure.column].dropna()) and len(self.results.epochs):
            reason = f"no run has a value for this study’s measure, {self.measure.words}"
            return f"No verdict: {reason}.{self._reported_scalars()}"
        planned, settled = len(self.results.plan.runs), int((self.judged["outcome"] != "failed").sum())
        if not settled:
            return f"None of {planned} planned runs has a result yet, so no conclusion is possible."
        if self.primary is not None:
            return self.primary.sentence(self.proxy)
        lacking = [
            name
            for name, arm in (("baseline", self.family.baseline), ("treatment", self.family.treatment))
            if arm is None
        ]
        return f"No verdict: the study has no arm with the role {' or '.join(lacking)}."

    def _reported_scalars(self) -> str:
        """Return which scalars the runs report, if they do not report the measure; otherwise empty."""
        if not self.measure.column.startswith(SCALAR):
            return ""
        names = scalar_names(self.results.runs)
        if self.measure.column.removeprefix(SCALAR) in names:
            return " Runs report it, but not as a finite number at the selected epoch, as required."
        if names:
            return f" Runs report: {', '.join(names)}."
        return " Runs do not report any scalars; report one under this name."


def examine(results: Results, *, further: bool = True, unproven: bool = False) -> Findings:
    """Return the findings from the results, after proving the stored rows of the compared arms.

    Parameters
    ----------
    further : whether to compare the arms outside the gates as well; the verdict does not need them.
    unproven : whether to trust the stored rows without proof, for a quick answer.

    Raises
    ------
    StoreError: a stored row contradicts its predictions or the ledger; see `analysis.reading.study_proofs`.
    UsageError: the plan names a claim that does not exist or is not valid.
    """
    results = _by_frozen_procedure(results)
    plan = results.plan
    wrong = () if unproven else tuple(prove(results, None if further else gated_arms(plan)))
    claim = stored.claim_of(results.plan.claim, results.directory)
    reasons = in_scope(claim, plan.scope) if claim else []
    if claim and not plan.measure.is_accuracy:
        reasons.append(f"the study's measure is {plan.measure.name}; the claim is about accuracy")
    elif claim and not min(claim.gains_pp.values()) > 2 * plan.delta_pp:
        reasons.append(f"the study's δ = {plan.delta_pp:g} pp is not less than half the reported gain")
    results = _measured(results, None if further else gated_arms(plan))
    images = None if plan.procedure == FIRST else results.images
    judged = outcomes(results.runs, images)
    gains = claim.gains_pp if claim and not reasons else None
    # One fixed stream, so the same store produces the same report. Only sign-flip tests with more than 16 pairs
    # draw from it.
    rng = np.random.default_rng(_SEED)
    otherwise = NEVER_REPORTED if _has_no_claim(results) else None
    family = compare_all(
        results.runs,
        results.epochs,
        plan,
        rng,
        reported=gains,
        otherwise=otherwise,
        further=further,
        images=images,
        contradicted=contradicted.by_arm(wrong, plan),
    )
    departed = deviations(
        results.frozen, plan, claim.gains_pp if claim else {}, results.runs, claim.scope if claim else None
    )
    if not unproven:
        departed = [*_planned_twice(results), *departed]
    return Findings(results, claim, tuple(reasons), family, judged, tuple(departed), plan.looks.alpha, otherwise, wrong)


def _planned_twice(results: Results) -> list[Deviation]:
    """Return whether the ledger contains several frozen plans, from which whoever merged the studies could choose."""
    number = len(ledger.read(results.directory).plans)
    if number < 2:
        return []
    text = f"the ledger contains {number} frozen analysis plans, as if separately planned studies had been merged"
    return [Deviation(text)]


def _by_frozen_procedure(results: Results) -> Results:
    """Return results whose plan has the frozen procedure, even if the current plan has a different one."""
    if results.frozen is None:
        return results
    try:
        procedure = procedure_of(results.frozen.content)
    except ValueError as error:
        raise StoreError(
            f"{results.directory / ANALYSIS_PLAN}: {error}; read it with the version of this package that wrote it"
        ) from None
    return replace(results, plan=replace(results.plan, procedure=procedure))


def _measured(results: Results, arms: Collection[str] | None) -> Results:
    """Return the results with the column of the study's measure, if it is not a stored column.

    A value that overflowed counts as missing and is not part of any mean or interval.
    """
    column = results.plan.measure.column
    runs, epochs = results.runs, results.epochs
    if column not in runs:
        runs, epochs = frames_with(results, results.plan.measure, arms)
    if any(np.isinf(each[column].astype("float64")).any() for each in (runs, epochs)):
        runs, epochs = (
            each.assign(**{column: each[column].astype("float64").replace([np.inf, -np.inf], np.nan)})
            for each in (runs, epochs)
        )
    return replace(results, runs=runs, epochs=epochs) if runs is not results.runs else results


def _has_no_claim(results: Results) -> bool:
    """Return whether a study declares its subject and does not name a claim, now and when its plan was frozen.

    Plans from earlier versions do not declare a subject: their verdicts are determined as before, even if the study
    continues.
    """
    frozen = results.plan.what if results.frozen is None else results.frozen.content.get("what")
    return results.plan.claim is None and results.plan.what is not None and frozen is not None
