"""One question in several settings: each study's verdict, the mean, whether the studies differ, and partial pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import NamedTuple

import numpy as np

from aimlib.errors import UsageError, counted
from analysis.claims.stored import name_of
from analysis.findings.study import Findings
from analysis.plan import Plan
from analysis.reading.factors import options
from analysis.statistics.across import Across, LeftOut
from analysis.statistics.comparison import Comparison
from analysis.statistics.interval import Interval, t_interval
from analysis.statistics.multiplicity import holm
from analysis.statistics.pooling import (
    equal_weight_mean,
    heterogeneity,
    partial_pooling,
    probability_of_improvement,
    random_effects_mean,
)
from analysis.wording import number_format
from analysis.wording.study_words import what

_SEED = 20210301
_SCALE = 2.0
"""Scale of the prior on the spread between settings, as a multiple of the smallest effect of interest."""
_WORDS = {"dataset": "data set", "classes": "classes", "image_size": "image size", "backbone": "backbone"}


def across(*studies: Findings) -> Across:
    """Return the primary comparisons of several studies together.

    A study is left out if its own verdict is withheld, screening only or an error; the result names the studies left
    out.

    Raises
    ------
    UsageError: there are fewer than two studies, or fewer than two with a verdict of their own; a study lacks a
        treatment or a baseline; two studies have the same setting or share runs; or the studies ask different
        questions. Questions differ if the claim, the protocol, the subject, the treatment's options, the measure, the
        smallest effect of interest or the level differs.
    """
    if len(studies) < 2:
        raise UsageError(
            f"{counted(len(studies), 'study')} given; give at least two studies that ask the same question"
        )
    primaries = [_primary(findings) for findings in studies]
    _refuse_other_questions(studies)
    _refuse_what_is_not_independent(studies)
    named = [_Named(*each) for each in zip(_names([s.results.plan for s in studies]), studies, primaries, strict=True)]
    decided = [each for each in named if each.primary.verdict.decided]
    left_out = tuple(each.left_out for each in named if not each.primary.verdict.decided)
    if len(decided) < 2:
        raise UsageError(_nothing_to_pool(named, len(decided)))
    return _together(decided, left_out)


class _Named(NamedTuple):
    """A study with its name in the findings, and its primary comparison."""

    name: str
    findings: Findings
    primary: Comparison

    @property
    def study(self) -> str:
        return str(self.findings.results.directory)

    @property
    def left_out(self) -> LeftOut:
        return LeftOut(self.name, self.study, self.primary.interval.n, self.primary.verdict.text)


def _nothing_to_pool(named: Sequence[_Named], decided: int) -> str:
    said = "; ".join(f"{each.name} ({each.study}): {each.primary.verdict.text}" for each in named)
    return (
        f"there is nothing to pool: {decided or 'none'} of {len(named)} studies has its own verdict. {said}. Run "
        "more seeds where pairs are missing, and see `ablate report` for the other studies"
    )


def _together(decided: Sequence[_Named], left_out: tuple[LeftOut, ...]) -> Across:
    """Return the joint findings of the studies that have a verdict of their own."""
    studies, primaries = [each.findings for each in decided], [each.primary for each in decided]
    levels = [each.interval.alpha for each in primaries if each.interval.bounded]
    alpha = min(levels, default=studies[0].results.plan.looks.alpha)
    effects = tuple(_at_level(each, alpha) for each in primaries)
    delta = primaries[0].delta
    narrow, middle, wide = (partial_pooling(effects, delta, factor * _SCALE * delta) for factor in (0.5, 1.0, 2.0))
    p = tuple(each.p_looks for each in primaries)
    return Across(
        names=tuple(each.name for each in decided),
        studies=tuple(each.study for each in decided),
        verdicts=tuple(map(_verdict, studies, primaries)),
        effects=effects,
        mean=equal_weight_mean(effects),
        of_settings=random_effects_mean(effects),
        heterogeneity=heterogeneity(effects),
        pooled=middle,
        narrower=narrow,
        wider=wide,
        improvement=_improvement(primaries, alpha),
        p=p,
        p_holm=tuple(holm(p)),
        positive=tuple(each.interval.lower > 0 for each in primaries),
        delta=delta,
        level=studies[0].results.plan.looks.alpha,
        notes=(*_of_levels(levels), *_notes(decided)),
        measure=studies[0].measure,
        left_out=left_out,
    )


def _of_levels(levels: Sequence[float]) -> list[str]:
    """Return a note if the looks that decided the studies have different levels."""
    if len(set(levels)) < 2:
        return []
    return [
        "Every verdict, and whether a study is positive, is read at the level of its own look. The intervals here are "
        f"all at the strictest of these levels, {number_format.level(min(levels))}, so they may include 0 in a study "
        "that is positive."
    ]


def _at_level(comparison: Comparison, alpha: float) -> Interval:
    return t_interval(comparison.deciding_pairs["difference"], alpha)


def _improvement(primaries: Sequence[Comparison], alpha: float) -> tuple[float, float, float]:
    sign = -1 if primaries[0].measure.lower_is_better else 1
    treated, control = (
        [sign * each.deciding_pairs[side].to_numpy(float) for each in primaries] for side in ("treatment", "control")
    )
    return probability_of_improvement(treated, control, alpha, np.random.default_rng(_SEED))


def _refuse_other_questions(studies: Sequence[Findings]) -> None:
    plans = [findings.results.plan for findings in studies]
    for about, question in _QUESTIONS.items():
        said = [question(plan) for plan in plans]
        if any(each != said[0] for each in said):
            listed = number_format.listing([f"{plan.name}: {each}" for plan, each in zip(plans, said, strict=True)])
            raise UsageError(
                f"these studies differ in their {about}: {listed}; give studies that ask the same question"
            )
    switched = [_switched(findings) for findings in studies]
    for findings, changes in zip(studies[1:], switched[1:], strict=True):
        if other := sorted(_question(switched[0]) ^ _question(changes)):
            raise UsageError(
                f"the treatments of {plans[0].name} and {findings.results.plan.name} differ from their baselines in "
                f"different options: {number_format.listing(other[:6])}; give studies that ask the same question"
            )


_QUESTIONS: dict[str, Callable[[Plan], object]] = {
    "claim": lambda plan: name_of(plan.claim),
    "protocol": lambda plan: plan.scope.protocol,
    "subject": what,
    "measure": lambda plan: plan.measure.name,
    "smallest effect of interest": lambda plan: plan.delta_pp,
    "level": lambda plan: plan.looks.alpha,
}


def _switched(findings: Findings) -> dict[str, tuple[object, object]]:
    """Return the options in which the treatment and the baseline differ: both values, by key path."""
    plan, primary = findings.results.plan, findings.primary
    if primary is None:
        return {}
    baseline, treatment = options(plan.arm(primary.control).config), options(plan.arm(primary.treatment).config)
    return {
        path: (baseline.get(path), treatment.get(path))
        for path in sorted({*baseline, *treatment} - {"seed"})
        if baseline.get(path) != treatment.get(path)
    }


def _question(switched: Mapping[str, tuple[object, object]]) -> set[str]:
    """Return what a treatment changes: key paths, with values except for sizes, which may depend on the setting."""
    return {
        path if _is_size(values[1]) else f"{path} = {number_format.option(values[1])}"
        for path, values in switched.items()
    }


def _is_size(value: object) -> bool:
    """Return whether a value is a size, which may depend on the setting."""
    return str(value).startswith("[") or (isinstance(value, int | float) and not isinstance(value, bool))


def _refuse_what_is_not_independent(studies: Sequence[Findings]) -> None:
    for one, other in combinations(studies, 2):
        first, second = one.results.plan, other.results.plan
        if shared := set(first.runs["run_id"]) & set(second.runs["run_id"]):
            raise UsageError(
                f"{first.name} and {second.name} share {counted(len(shared), 'run')}, so they are not independent; "
                "give each study once"
            )
        if _setting(first) == _setting(second):
            raise UsageError(
                f"both {one.results.directory} and {other.results.directory} have the backbone {first.scope.backbone}, "
                "the same data and the same baseline, so they have the same setting; give studies with different "
                "settings, or run more seeds of one study"
            )


def _setting(plan: Plan) -> object:
    """Return a study's setting: its scope, and its baseline's options."""
    config = next((options(arm.config) for arm in plan.arms if arm.role == "baseline"), {})
    return asdict(plan.scope), {path: value for path, value in config.items() if path != "seed"}


def _names(plans: Sequence[Plan]) -> tuple[str, ...]:
    """Return the studies' names in the findings: the values in which their scopes differ, or else their own names."""
    scopes = [asdict(plan.scope) for plan in plans]
    varied = [key for key in _WORDS if any(scope[key] != scopes[0][key] for scope in scopes)]
    found = [_name(scope, varied) for scope in scopes]
    if len(set(found)) == len(found):
        return tuple(found)
    named = [plan.name for plan in plans]
    if len(set(named)) == len(named):
        return tuple(named)
    return tuple(f"{name} ({number})" for number, name in enumerate(named, 1))


def _name(scope: Mapping[str, object], varied: Sequence[str]) -> str:
    units = {"classes": "{} classes", "image_size": "{} px"}
    return ", ".join(units.get(key, "{}").format(scope[key]) for key in varied)


def _notes(decided: Sequence[_Named]) -> list[str]:
    studies = [each.findings for each in decided]
    plans = [findings.results.plan for findings in studies]
    notes = []
    if len({plan.scope.classes for plan in plans}) > 1 or len({plan.scope.dataset for plan in plans}) > 1:
        notes.append("A difference of one point means different things on different data, so the means mix units.")
    if sizes := _sizes(studies):
        notes.append(f"The treatments differ in {number_format.listing(sizes)}.")
    if len({plan.procedure for plan in plans}) > 1:
        notes.append("The studies were frozen with different procedures; each verdict uses its own.")
    if any(len(plan.looks.pairs) > 1 for plan in plans):
        notes.append(
            "Studies with several looks stop when their mean is large, so means over studies are slightly too far "
            "from 0."
        )
    notes += [f"{each.name}: {caution}" for each in decided for caution in each.findings.cautions]
    return notes


def _sizes(studies: Sequence[Findings]) -> list[str]:
    """Return which of the treatment's sizes differ between studies, with their values."""
    switched = [_switched(findings) for findings in studies]
    found = []
    for path in switched[0]:
        values = [number_format.option(changes[path][1]) for changes in switched if path in changes]
        if len(set(values)) > 1:
            found.append(f"{path} ({', '.join(values)})")
    return found


def _verdict(findings: Findings, primary: Comparison) -> str:
    """Return a verdict with its limitations."""
    limits = ["unstable training"] if primary.unstable else []
    limits += [findings.failed_runs] if findings.failed_runs else []
    limits += ["test data chose the epochs"] if findings.oracle else []
    limits += ["a proxy, which does not test the claim"] if findings.proxy else []
    limits += ["exploratory"] if findings.exploratory(primary.treatment, primary.control) else []
    return primary.verdict.text + (f" ({'; '.join(limits)})" if limits else "")


def _primary(findings: Findings) -> Comparison:
    if findings.primary is None:
        raise UsageError(
            f"{findings.results.directory}: no comparison of a treatment with a baseline; give studies that have both"
        )
    return findings.primary
