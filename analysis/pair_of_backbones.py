"""One question on two backbones: a verdict each, the mean of both, and whether they differ."""

from __future__ import annotations

from dataclasses import dataclass

from aimlib.errors import UsageError
from analysis import numerals
from analysis.statistics.backbones import Combined, two_backbones
from analysis.statistics.comparison import Comparison
from analysis.study import Findings


@dataclass(frozen=True)
class Across:
    """Two studies together.

    Attributes
    ----------
    names : of the studies' backbones.
    verdicts : of the primary comparison of each, in words.
    combined : their mean and their difference.
    """

    names: tuple[str, str]
    verdicts: tuple[str, str]
    combined: Combined

    @property
    def sentence(self) -> str:
        """What both say, in a sentence."""
        mean, difference = self.combined.mean, self.combined.difference
        both = "positive on both" if self.combined.both_positive else "not positive on both"
        each = numerals.listing([f"{name}: {text}" for name, text in zip(self.names, self.verdicts, strict=True)])
        return (
            f"{each}; {both}. Mean of the two {numerals.points(mean.mean)} pp "
            f"({numerals.level(mean.alpha)} interval {numerals.interval(mean.lower, mean.upper)}); {self.names[0]} − "
            f"{self.names[1]} {numerals.points(difference.mean)} pp "
            f"({numerals.interval(difference.lower, difference.upper)})."
        )


def across(first: Findings, second: Findings) -> Across:
    """Return the primary comparisons of two studies together; no random effects, as two backbones are no sample.

    UsageError where one of them has no primary comparison with two pairs, or both have the same backbone.
    """
    names = (first.results.plan.scope.backbone, second.results.plan.scope.backbone)
    if names[0] == names[1]:
        raise UsageError(f"both studies are of the backbone {names[0]}; give studies of two")
    primaries = tuple(_primary(findings) for findings in (first, second))
    return Across(
        names,
        (primaries[0].verdict.text, primaries[1].verdict.text),
        two_backbones(primaries[0].interval, primaries[1].interval),
    )


def _primary(findings: Findings) -> Comparison:
    primary = findings.primary
    if primary is None or primary.interval.n < 2:
        raise UsageError(f"{findings.results.directory}: no two pairs of an AiM and a baseline arm")
    return primary
