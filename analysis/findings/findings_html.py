"""How a notebook shows findings: the verdict and every comparison, with all text escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aimlib.records.html_tables import paragraph, table
from analysis.primary_measure import PrimaryMeasure
from analysis.wording.number_format import level, probability

if TYPE_CHECKING:
    from analysis.findings.study import Findings


def _differences(measure: PrimaryMeasure) -> str:
    if measure.is_accuracy:
        return "Differences in percentage points of test accuracy"
    return f"{measure.gain_words}{f', {measure.difference}' if measure.difference else ''}"


def of_findings(findings: Findings) -> str:
    """Return the verdict and every comparison, with its interval at the level of the deciding look."""
    rows = [
        (
            each.name,
            each.interval.n,
            each.measure.points(each.interval.mean),
            each.ends,
            level(each.interval.alpha),
            probability(each.p_looks if each.family == "gate" else each.p_holm, findings.alpha),
            each.verdict.text,
        )
        for each in findings.family.comparisons
    ]
    headings = ("comparison", "n", "mean", "interval", "level", "p", "verdict")
    return "".join(
        [
            *map(paragraph, findings.cautions),
            paragraph(findings.headline, bold=True),
            paragraph(findings.causal) if findings.causal else "",
            table(headings, rows, numbers=("n", "mean", "p")),
            paragraph(f"{_differences(findings.measure)}, paired by seed; p over the looks so far."),
        ]
    )
