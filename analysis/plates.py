"""The figures of a report, drawn from its findings."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import curves, forest, marks, slopegraph, strip
from analysis.study import Findings


@dataclass(frozen=True)
class Plate:
    """A figure with its words.

    Attributes
    ----------
    name : file stem.
    figure : None where there is nothing to draw yet; the caption says so.
    summary : the frame that was drawn.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    summary: pd.DataFrame


def plates(findings: Findings) -> dict[str, Plate]:
    """Return every figure by name: forest, slopegraph, curves, strip."""
    drawn = (_forest(findings), _slopegraph(findings), _curves(findings), _strip(findings))
    return {plate.name: plate for plate in drawn}


def _arms(findings: Findings) -> list[str]:
    return [arm.name for arm in findings.results.plan.arms]


def _forest(findings: Findings) -> Plate:
    comparisons = findings.family.comparisons
    summary = forest.summarise(comparisons)
    gain = next(iter(findings.reported.values()), None)
    delta = findings.results.plan.delta_pp
    figure = forest.draw(summary, marks(_arms(findings)), delta, gain) if (summary["n"] > 1).any() else None
    return Plate("forest", forest.TITLE, forest.caption(comparisons), figure, summary)


def _slopegraph(findings: Findings) -> Plate:
    arms = _arms(findings)
    summary = slopegraph.summarise(findings.results.trials, arms)
    caption = slopegraph.caption(summary, findings.family.aim, findings.family.baseline)
    figure = slopegraph.draw(summary, marks(arms)) if len(summary) else None
    return Plate("slopegraph", slopegraph.TITLE, caption, figure, summary)


def _curves(findings: Findings) -> Plate:
    arms, results = _arms(findings), findings.results
    reported = findings.claim.curves if findings.claim is not None and findings.reported else None
    summary = curves.summarise(results.trials, results.epochs, arms, reported, findings.alpha)
    figure = curves.draw(summary, marks(arms)) if len(results.epochs) else None
    return Plate("curves", curves.TITLE, curves.caption(summary, findings.alpha), figure, summary)


def _strip(findings: Findings) -> Plate:
    arms = _arms(findings)
    summary = strip.summarise(findings.judged, findings.results.missing, arms)
    figure = strip.draw(summary, marks(arms)) if summary["accuracy"].notna().any() else None
    return Plate("strip", strip.TITLE, strip.caption(summary), figure, summary)
