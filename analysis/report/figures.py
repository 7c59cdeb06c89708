"""The figures of a report, drawn from its findings."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

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
    waterfall,
    winners,
)
from analysis.findings.photos import Photos
from analysis.findings.study import Findings
from analysis.statistics import Comparison


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its caption.

    Attributes
    ----------
    name : file stem.
    figure : None if there is nothing to draw yet; the caption says so.
    summary : the frame that was drawn.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    summary: pd.DataFrame


_ROWS, _SHOWN = 60, 40
"""With more arms than the first number, a figure shows only the second: the gates and the most extreme arms."""


def drawn_figures(findings: Findings) -> dict[str, ReportFigure]:
    """Return every figure that the study can have, by name, in the order of the report."""
    drawn = [_forest(findings), _slopegraph(findings), _curves(findings), _strip(findings), _capacity(findings)]
    if findings.primary is not None:
        drawn += [_path(findings.primary, findings), _by_epoch(findings.primary, findings), _patience(findings)]
        if findings.primary.interval.n > 1:
            drawn.append(_power(findings.primary, findings))
        if findings.photos is not None:
            drawn += [_variance(findings.primary, findings, findings.photos), _classes(findings.primary, findings)]
    if findings.attributions:
        drawn.append(_waterfall(findings))
    if findings.screening is not None:
        drawn += [_budget(findings), _winners(findings)]
    return {each.name: each for each in drawn}


def _path(primary: Comparison, findings: Findings) -> ReportFigure:
    summary = path.summarise(primary)
    gain = next(iter(findings.reported.values()), None)
    mark = marks(_shown(findings))[primary.treatment]
    figure = path.draw(summary, mark, primary.delta, gain) if len(summary) else None
    return ReportFigure("path", path.TITLE, path.caption(summary, primary), figure, summary)


def _by_epoch(primary: Comparison, findings: Findings) -> ReportFigure:
    seeds = primary.deciding_pairs["seed"].tolist()
    summary = by_epoch.summarise(findings.results.epochs, primary.treatment, primary.control, seeds, findings.alpha)
    mark = marks(_shown(findings))[primary.treatment]
    figure = by_epoch.draw(summary, mark, primary.delta) if len(summary) else None
    return ReportFigure(
        "by_epoch", by_epoch.TITLE, by_epoch.caption(summary, primary.name, findings.alpha), figure, summary
    )


def _patience(findings: Findings) -> ReportFigure:
    shown = _shown(findings)
    every = patience.summarise(findings.results.runs, findings.results.epochs, _arms(findings))
    summary = _among(every, shown)
    figure = patience.draw(summary, marks(shown)) if len(summary) else None
    return ReportFigure("patience", patience.TITLE, patience.caption(every) + _left_out(findings), figure, summary)


def _power(primary: Comparison, findings: Findings) -> ReportFigure:
    plan = findings.results.plan
    gain = next(iter(findings.reported.values()), 5 * primary.delta)
    effects, level = (primary.delta, gain / 2, gain), plan.looks.levels[0]
    sd = primary.interval.cautious_sd
    planned = len(primary.pairs)
    summary = power.summarise(sd, effects, level, max(40, planned + 5))
    figure = power.draw(summary, planned) if sd > 0 else None
    words = (
        power.caption(sd, effects, level, planned)
        if sd > 0
        else "The arms do not differ, so there is no power to compute."
    )
    return ReportFigure("power", power.TITLE, words, figure, summary)


def _variance(primary: Comparison, findings: Findings, photos: Photos) -> ReportFigure:
    summary = variance.summarise(photos.crossed)
    figure = variance.draw(summary, marks(_shown(findings))[primary.treatment])
    return ReportFigure(
        "variance", variance.TITLE, variance.caption(summary, photos.crossed, primary.name), figure, summary
    )


def _classes(primary: Comparison, findings: Findings) -> ReportFigure:
    summary = findings.photos.classes if findings.photos is not None else pd.DataFrame()
    figure = classes.draw(summary, marks(_shown(findings))[primary.treatment])
    return ReportFigure("classes", classes.TITLE, classes.caption(summary, primary.name), figure, summary)


def _capacity(findings: Findings) -> ReportFigure:
    shown = _shown(findings)
    every = capacity.summarise(findings.results.runs, _arms(findings), findings.alpha)
    summary = _among(every, shown)
    figure = capacity.draw(summary, marks(shown)) if len(summary) else None
    return ReportFigure("capacity", capacity.TITLE, capacity.caption(every) + _left_out(findings), figure, summary)


def _waterfall(findings: Findings) -> ReportFigure:
    summary = waterfall.summarise(findings.attributions)
    figure = waterfall.draw(summary) if summary["mean"].notna().all() else None
    return ReportFigure("waterfall", waterfall.TITLE, waterfall.caption(findings.attributions), figure, summary)


def _budget(findings: Findings) -> ReportFigure:
    summary = budget.summarise(findings.tried)
    figure = budget.draw(summary, marks(_arms(findings))) if len(summary) else None
    return ReportFigure("budget", budget.TITLE, budget.caption(summary), figure, summary)


def _winners(findings: Findings) -> ReportFigure:
    summary = winners.summarise(findings.tried, findings.results.runs)
    figure = winners.draw(summary, marks(_arms(findings))) if len(summary) else None
    return ReportFigure("winners", winners.TITLE, winners.caption(summary), figure, summary)


def _arms(findings: Findings) -> list[str]:
    return [arm.name for arm in findings.results.plan.arms]


def _shown(findings: Findings) -> list[str]:
    """Return the arms that figures with a row or a colour per arm show, in the order of the plan."""
    arms = _arms(findings)
    if len(arms) <= _ROWS:
        return arms
    gates = [c for c in findings.family.comparisons if c.family == "gate"]
    further = [c for c in findings.family.comparisons if c.family == "variant" and c.interval.n]
    further.sort(key=lambda c: c.interval.mean)
    ranked = [c for ends in zip(reversed(further), further, strict=True) for c in ends]
    first = [findings.family.baseline, findings.family.treatment]
    first += [arm for c in (*gates, *ranked) for arm in (c.treatment, c.control)]
    kept = set(list(dict.fromkeys([*(arm for arm in first if arm is not None), *arms]))[:_SHOWN])
    return [arm for arm in arms if arm in kept]


def _among(summary: pd.DataFrame, shown: list[str]) -> pd.DataFrame:
    """Return the rows of these arms, with `position` renumbered."""
    rows = summary[summary["arm"].isin(shown)].reset_index(drop=True)
    if "position" in rows:
        rows["position"] = rows["position"].rank(method="dense").astype("int64") - 1
    return rows


def _left_out(findings: Findings) -> str:
    """Return a sentence on the arms that a figure omits, or an empty string if it shows all."""
    shown, every = len(_shown(findings)), len(_arms(findings))
    if shown == every:
        return ""
    return (
        f" The figure shows {shown} of {every} arms: those of the gates, and the further arms with the largest and "
        "the smallest differences. The tables contain all arms."
    )


def _forest(findings: Findings) -> ReportFigure:
    comparisons, shown = findings.family.comparisons, _shown(findings)
    summary = forest.summarise([c for c in comparisons if {c.treatment, c.control} <= set(shown)])
    gain = next(iter(findings.reported.values()), None)
    delta = findings.results.plan.delta_pp
    figure = forest.draw(summary, marks(shown), delta, gain) if (summary["n"] > 1).any() else None
    cut = summary.loc[forest.cut_rows(summary, delta, gain), "comparison"].tolist()
    return ReportFigure("forest", forest.TITLE, forest.caption(comparisons, cut) + _left_out(findings), figure, summary)


def _slopegraph(findings: Findings) -> ReportFigure:
    shown = _shown(findings)
    every = slopegraph.summarise(findings.results.runs, _arms(findings))
    summary = _among(every, shown)
    caption = slopegraph.caption(every, findings.family.treatment, findings.family.baseline)
    figure = slopegraph.draw(summary, marks(shown)) if len(summary) else None
    return ReportFigure("slopegraph", slopegraph.TITLE, caption + _left_out(findings), figure, summary)


def _curves(findings: Findings) -> ReportFigure:
    arms, results = _shown(findings), findings.results
    reported = findings.claim.curves if findings.claim is not None and findings.reported else None
    epochs = results.epochs[results.epochs["arm"].isin(arms)]
    summary = curves.summarise(results.runs, epochs, arms, reported, findings.alpha)
    figure = curves.draw(summary, marks(arms)) if len(epochs) else None
    words = curves.caption(summary, findings.alpha) + _left_out(findings)
    return ReportFigure("curves", curves.TITLE, words, figure, summary)


def _strip(findings: Findings) -> ReportFigure:
    shown = _shown(findings)
    every = strip.summarise(findings.judged, findings.results.missing, _arms(findings))
    summary = _among(every, shown)
    figure = strip.draw(summary, marks(shown)) if summary["accuracy"].notna().any() else None
    return ReportFigure("strip", strip.TITLE, strip.caption(every) + _left_out(findings), figure, summary)
