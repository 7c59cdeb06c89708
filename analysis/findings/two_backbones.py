"""One question on two backbones: a verdict for each, their mean, and whether they differ."""

from __future__ import annotations

from dataclasses import dataclass

from aimlib.errors import UsageError
from analysis import number_format
from analysis.findings.study import Findings
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.backbones import Combined, two_backbones
from analysis.statistics.comparison import Comparison


@dataclass(frozen=True)
class Across:
    """Two studies together.

    Attributes
    ----------
    names : of the studies' backbones.
    verdicts : of the primary comparison of each, in words.
    combined : their mean and their difference.
    measure : what they are of.
    """

    names: tuple[str, str]
    verdicts: tuple[str, str]
    combined: Combined
    measure: PrimaryMeasure = ACCURACY

    @property
    def sentence(self) -> str:
        """Both findings in a sentence."""
        mean, difference = self.combined.mean, self.combined.difference
        both = "positive on both" if self.combined.both_positive else "not positive on both"
        each = number_format.listing([f"{name}: {text}" for name, text in zip(self.names, self.verdicts, strict=True)])
        measure = self.measure
        return (
            f"{each}; {both}. Mean of the two {measure.in_unit(measure.points(mean.mean))} "
            f"({number_format.level(mean.alpha)} interval {measure.interval(mean.lower, mean.upper)}); "
            f"{self.names[0]} − {self.names[1]} {measure.in_unit(measure.points(difference.mean))} "
            f"({measure.interval(difference.lower, difference.upper)})."
        )


def across(first: Findings, second: Findings) -> Across:
    """Return the primary comparisons of two studies together.

    Without random effects, because two backbones are not a sample.

    UsageError if one of them has no primary comparison of two pairs, both have the same backbone, or they ask
    different questions: claim, data set, protocol, level or smallest effect differ.
    """
    names = (first.results.plan.scope.backbone, second.results.plan.scope.backbone)
    if names[0] == names[1]:
        raise UsageError(f"both studies have the backbone {names[0]}; give two studies with different backbones")
    for what, (one, other) in _questions(first, second).items():
        if one != other:
            raise UsageError(
                f"these studies differ in their {what}: {one} and {other}; give two studies that ask the same question"
            )
    primaries = tuple(_primary(findings) for findings in (first, second))
    return Across(
        names,
        (_verdict(first, primaries[0]), _verdict(second, primaries[1])),
        two_backbones(primaries[0].interval, primaries[1].interval),
        first.measure,
    )


def _questions(first: Findings, second: Findings) -> dict[str, tuple[object, object]]:
    one, other = first.results.plan, second.results.plan
    return {
        "claim": (one.claim, other.claim),
        "data set": (one.scope.dataset, other.scope.dataset),
        "number of classes": (one.scope.classes, other.scope.classes),
        "protocol": (one.scope.protocol, other.scope.protocol),
        "measure": (one.measure.name, other.measure.name),
        "smallest effect of interest": (one.delta_pp, other.delta_pp),
        "level": (one.looks.alpha, other.looks.alpha),
    }


def _verdict(findings: Findings, primary: Comparison) -> str:
    """Return a verdict with its limits."""
    limits = ["unstable training"] if primary.unstable else []
    limits += ["a proxy, which does not test the claim"] if findings.proxy else []
    limits += ["exploratory"] if findings.exploratory(primary.treatment, primary.control) else []
    return primary.verdict.text + (f" ({', '.join(limits)})" if limits else "")


def _primary(findings: Findings) -> Comparison:
    primary = findings.primary
    if primary is None or primary.interval.n < 2:
        raise UsageError(
            f"{findings.results.directory}: fewer than two complete pairs of treatment and baseline; run more seeds"
        )
    return primary
