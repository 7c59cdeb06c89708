"""The figures of a report, drawn from the findings."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from aimlib.errors import counted
from analysis.figures import (
    budget,
    by_epoch,
    capacity,
    classes,
    curves,
    forest,
    marks,
    path,
    patience,
    power,
    slopegraph,
    strip,
    variance,
    variance_sources,
    waterfall,
    winners,
)
from analysis.figures.arm_names import names_explained
from analysis.findings.photos import Photos
from analysis.findings.study import Findings
from analysis.primary_measure import PrimaryMeasure
from analysis.procedures import FIRST
from analysis.report.breadth import figure_shows, gated_arms, many_arms, shown_arms, shown_comparisons
from analysis.report.drawings import ReportFigure
from analysis.report.sweep_figures import sweep_figures
from analysis.report.sweeps import Sweep, sweep
from analysis.statistics import Comparison
from analysis.statistics.replay import within_reach
from analysis.wording.study_words import LARGEST_SHARE

_OF_ARMS = frozenset({"forest", "curves", "strip", "slopegraph", "capacity", "patience", "ranking", "pareto"})
"""Figures that name arms."""


def drawn_figures(findings: Findings, found: Sweep | None = None) -> dict[str, ReportFigure]:
    """Return every figure that the study can have, by name, in the report's order.

    Parameters
    ----------
    found : the ranking and effects; computed if not given.
    """
    found = found or sweep(findings)
    drawn = [_forest(findings), _curves(findings), _strip(findings)]
    if not many_arms(findings):  # many arms are shown in a ranking
        drawn += [_slopegraph(findings), _capacity(findings)]
    drawn += sweep_figures(findings, found)
    if findings.primary is not None:
        drawn += [_path(findings.primary, findings), _by_epoch(findings.primary, findings), _patience(findings)]
        if findings.primary.interval.n > 1:
            drawn.append(_power(findings.primary, findings))
        if findings.photos is not None:
            drawn += [_variance(findings.primary, findings, findings.photos), _classes(findings.primary, findings)]
    if findings.attributions:
        drawn.append(_waterfall(findings))
    if findings.variance_sources:
        drawn.append(_variance_sources(findings))
    if findings.screening is not None:
        drawn += [_budget(findings), _winners(findings)]
    return {each.name: _with_names(each) for each in drawn}


def _with_names(each: ReportFigure) -> ReportFigure:
    """Return a figure whose caption also says how arm names were shortened, if they were."""
    columns = [name for name in ("arm", "treatment", "control") if name in each.summary]
    if each.name not in _OF_ARMS or not columns:
        return each
    arms = pd.concat([each.summary[name] for name in columns]).dropna().unique().tolist()
    return replace(each, caption=each.caption + names_explained(arms))


def _path(primary: Comparison, findings: Findings) -> ReportFigure:
    summary = path.summarise(primary)
    gain = next(iter(findings.reported.values()), None)
    mark = marks(shown_arms(findings))[primary.treatment]
    figure = path.draw(summary, mark, primary.delta, gain, findings.measure) if len(summary) else None
    return ReportFigure("path", path.TITLE, path.caption(summary, primary), figure, summary)


def _by_epoch(primary: Comparison, findings: Findings) -> ReportFigure:
    seeds = primary.deciding_pairs["seed"].tolist()
    measure, sides = findings.measure, (primary.treatment, primary.control)
    summary = by_epoch.summarise(findings.results.epochs, *sides, seeds, findings.alpha, measure)
    mark = marks(shown_arms(findings))[primary.treatment]
    figure = by_epoch.draw(summary, mark, primary.delta, measure) if len(summary) else None
    words = by_epoch.caption(summary, primary.name, findings.alpha, measure)
    return ReportFigure("by_epoch", by_epoch.TITLE, words, figure, summary)


def _patience(findings: Findings) -> ReportFigure:
    shown = shown_arms(findings)
    measure = findings.measure
    runs = within_reach(findings.results.runs, findings.procedure)
    every = patience.summarise(runs, findings.results.epochs, _arms(findings), measure)
    summary = _among(every, shown)
    figure = patience.draw(summary, marks(shown), measure) if len(summary) else None
    words = patience.caption(every, measure) + figure_shows(findings)
    return ReportFigure("patience", patience.TITLE, words, figure, summary)


def _power(primary: Comparison, findings: Findings) -> ReportFigure:
    plan = findings.results.plan
    gain = next(iter(findings.reported.values()), 5 * primary.delta)
    effects, level = (primary.delta, gain / 2, gain), plan.looks.level_to_plan_with(len(primary.pairs))
    sd = primary.interval.cautious_sd
    planned = len(primary.pairs)
    summary = power.summarise(sd, effects, level, max(40, planned + 5))
    figure = power.draw(summary, planned, findings.measure) if sd > 0 else None
    words = (
        power.caption(sd, effects, level, planned, findings.measure)
        if sd > 0
        else "The arms do not differ, so there is no power to compute."
    )
    return ReportFigure("power", power.TITLE, words, figure, summary)


def _variance(primary: Comparison, findings: Findings, photos: Photos) -> ReportFigure:
    summary = variance.summarise(photos.crossed)
    figure = variance.draw(summary, marks(shown_arms(findings))[primary.treatment])
    return ReportFigure(
        "variance", variance.TITLE, variance.caption(summary, photos.crossed, primary.name), figure, summary
    )


def _variance_sources(findings: Findings) -> ReportFigure:
    summary = variance_sources.summarise(findings.variance_sources)
    figure = variance_sources.draw(summary) if summary["share"].notna().any() else None
    words = variance_sources.caption(findings.variance_sources)
    return ReportFigure("variance_sources", variance_sources.TITLE, words, figure, summary)


def _classes(primary: Comparison, findings: Findings) -> ReportFigure:
    summary = findings.photos.classes if findings.photos is not None else pd.DataFrame()
    figure = classes.draw(summary, marks(shown_arms(findings))[primary.treatment])
    return ReportFigure("classes", classes.TITLE, classes.caption(summary, primary.name), figure, summary)


def _capacity(findings: Findings) -> ReportFigure:
    shown = shown_arms(findings)
    measure = findings.measure
    every = capacity.summarise(findings.results.runs, _arms(findings), findings.alpha, measure)
    summary = _among(every, shown)
    figure = capacity.draw(summary, marks(shown), measure) if len(summary) else None
    words = capacity.caption(every, measure) + figure_shows(findings)
    return ReportFigure("capacity", _titled(capacity.TITLE, measure), words, figure, summary)


def _waterfall(findings: Findings) -> ReportFigure:
    summary = waterfall.summarise(findings.attributions)
    figure = waterfall.draw(summary, findings.measure) if summary["mean"].notna().all() else None
    words = waterfall.caption(findings.attributions, findings.measure)
    return ReportFigure("waterfall", waterfall.TITLE, words, figure, summary)


def _budget(findings: Findings) -> ReportFigure:
    summary = budget.summarise(findings.tried)
    figure = budget.draw(summary, marks(_arms(findings))) if len(summary) else None
    return ReportFigure("budget", budget.TITLE, budget.caption(summary), figure, summary)


def _winners(findings: Findings) -> ReportFigure:
    summary = winners.summarise(findings.tried, findings.results.runs)
    figure = winners.draw(summary, marks(_arms(findings))) if len(summary) else None
    return ReportFigure("winners", winners.TITLE, winners.caption(summary), figure, summary)


def _titled(title: str, measure: PrimaryMeasure) -> str:
    """Return a figure's title, with accuracy replaced by the study's measure."""
    return title if measure.is_accuracy else title.replace("Accuracy", measure.name_of_axis)


def _arms(findings: Findings) -> list[str]:
    return [arm.name for arm in findings.results.plan.arms]


def _among(summary: pd.DataFrame, shown: list[str]) -> pd.DataFrame:
    """Return the rows of these arms, with `position` renumbered."""
    rows = summary[summary["arm"].isin(shown)].reset_index(drop=True)
    if "position" in rows:
        rows["position"] = rows["position"].rank(method="dense").astype("int64") - 1
    return rows


def _forest(findings: Findings) -> ReportFigure:
    comparisons, shown, names = findings.family.comparisons, shown_arms(findings), set(shown_comparisons(findings))
    drawn = [c for c in comparisons if {c.treatment, c.control} <= set(shown) and c.name in names]
    summary = forest.summarise(drawn)
    gain = next(iter(findings.reported.values()), None)
    delta = findings.results.plan.delta_pp
    figure = forest.draw(summary, marks(shown), delta, gain, findings.measure) if (summary["n"] > 1).any() else None
    cut = summary.loc[forest.cut_rows(summary, delta, gain), "comparison"].tolist()
    words = forest.caption(comparisons, cut)
    if len(drawn) < len(comparisons):
        words += (
            f" The figure shows {len(drawn)} of {len(comparisons)} comparisons: those of the gates, and those with the "
            "largest and smallest differences."
        )
    return ReportFigure("forest", forest.TITLE, words, figure, summary)


def _slopegraph(findings: Findings) -> ReportFigure:
    shown = shown_arms(findings)
    measure = findings.measure
    every = slopegraph.summarise(findings.results.runs, _arms(findings), measure)
    summary = _among(every, shown)
    caption = slopegraph.caption(every, findings.family.treatment, findings.family.baseline, measure)
    figure = slopegraph.draw(summary, marks(shown), measure) if len(summary) else None
    return ReportFigure(
        "slopegraph", _titled(slopegraph.TITLE, measure), caption + figure_shows(findings), figure, summary
    )


def _curves(findings: Findings) -> ReportFigure:
    results = findings.results
    arms = (gated_arms(findings) if many_arms(findings) else []) or shown_arms(findings)
    reported = findings.claim.curves if findings.claim is not None and findings.reported else None
    epochs = results.epochs[results.epochs["arm"].isin(arms)]
    measure = findings.measure
    summary = curves.summarise(results.runs, epochs, arms, reported, findings.alpha, measure)
    figure = curves.draw(summary, marks(arms), measure) if len(epochs) else None
    words = curves.caption(summary, findings.alpha, measure)
    if many_arms(findings) and gated_arms(findings):
        words += f" The figure shows {len(arms)} of {counted(len(results.plan.arms), 'arm')}: those in the gates."
    else:
        words += figure_shows(findings)
    return ReportFigure("curves", _titled(curves.TITLE, measure), words, figure, summary)


def _strip(findings: Findings) -> ReportFigure:
    shown = shown_arms(findings)
    measure, runs = findings.measure, findings.results.runs
    values = None if measure.is_accuracy else pd.Series(measure.values(runs), index=runs["run_id"])
    every = strip.summarise(findings.judged, findings.results.missing, _arms(findings), values)
    summary = _among(every, shown)
    figure = strip.draw(summary, marks(shown), measure) if summary["accuracy"].notna().any() else None
    words = strip.caption(every, "" if findings.procedure == FIRST else LARGEST_SHARE)
    return ReportFigure("strip", strip.TITLE, words + figure_shows(findings), figure, summary)
