"""The figures of a sweep: the effects of its factors, and how its many arms compare."""

from __future__ import annotations

from collections.abc import Iterator

from aimlib.errors import UsageError
from analysis.figures.curves_by_factor import TITLE as CURVES
from analysis.figures.curves_by_factor import caption as curves_caption
from analysis.figures.curves_by_factor import draw as draw_curves
from analysis.figures.curves_by_factor import summarise as curves_summary
from analysis.figures.heatmap import TITLE as CELLS
from analysis.figures.heatmap import caption as cells_caption
from analysis.figures.heatmap import draw as draw_cells
from analysis.figures.heatmap import strongest_pair
from analysis.figures.heatmap import summarise as cells_summary
from analysis.figures.interaction import MOST_LINES
from analysis.figures.interaction import TITLE as INTERACTION
from analysis.figures.interaction import caption as interaction_caption
from analysis.figures.interaction import draw as draw_interaction
from analysis.figures.level_means import aliases, interaction_aliases, of_design
from analysis.figures.levels import factor_columns, with_named_levels
from analysis.figures.marginal_means import TITLE as MEANS
from analysis.figures.marginal_means import caption as means_caption
from analysis.figures.marginal_means import draw as draw_means
from analysis.figures.marginal_means import summarise as means_summary
from analysis.figures.parallel_coordinates import TITLE as PARALLEL
from analysis.figures.parallel_coordinates import caption as parallel_caption
from analysis.figures.parallel_coordinates import draw as draw_parallel
from analysis.figures.parallel_coordinates import most_telling
from analysis.figures.parallel_coordinates import summarise as parallel_summary
from analysis.figures.pareto import TITLE as PARETO
from analysis.figures.pareto import caption as pareto_caption
from analysis.figures.pareto import draw as draw_pareto
from analysis.figures.pareto import summarise as pareto_summary
from analysis.figures.ranking import TITLE as RANKING
from analysis.figures.ranking import caption as ranking_caption
from analysis.figures.ranking import draw as draw_ranking
from analysis.figures.ranking import summarise as ranking_summary
from analysis.findings.study import Findings
from analysis.report.breadth import many_arms
from analysis.report.drawings import ReportFigure
from analysis.report.sweeps import Sweep


def sweep_figures(findings: Findings, found: Sweep) -> Iterator[ReportFigure]:
    """Yield the figures that a study has because of its factors, or because of its many arms."""
    if len(found.effects):
        yield from _levels(findings, found)
    if many_arms(findings):
        yield _ranking(findings, found)
        yield _pareto(findings, found)
        yield from _factors(findings, found)


def _levels(findings: Findings, found: Sweep) -> Iterator[ReportFigure]:
    """Yield the factors' effects: their marginal means, and the two factors with the clearest interaction."""
    results, measure, alpha = findings.results, found.measure, findings.alpha
    runs, beside = of_design(results, results.runs)
    try:
        columns = factor_columns(results, runs)
    except UsageError:  # no factor with two levels that were run
        return
    summary = means_summary(runs, columns, measure, alpha)
    if summary.empty:
        return
    words = means_caption(summary, measure, alpha) + aliases(results, *columns) + beside
    yield ReportFigure("marginal_means", MEANS, words, draw_means(summary, measure), summary)
    pair = strongest_pair(runs, columns, measure)
    if pair is None:
        return
    beside = interaction_aliases(results, *pair) + beside
    cells = cells_summary(runs, *pair, measure, alpha)
    lines = pair if cells[pair[1]].nunique() <= cells[pair[0]].nunique() else pair[::-1]
    if cells[lines[1]].nunique() <= MOST_LINES:
        summary = cells_summary(runs, *lines, measure, alpha)
        words = interaction_caption(summary, *lines, measure, alpha) + beside
        title = f"{INTERACTION} of {lines[0]} and {lines[1]}"
        yield ReportFigure("interaction", title, words, draw_interaction(summary, *lines, measure), summary)
    if many_arms(findings):
        words = cells_caption(cells, *pair, measure, alpha) + beside
        title = f"{CELLS}: {pair[0]} and {pair[1]}"
        yield ReportFigure("heatmap", title, words, draw_cells(cells, *pair, measure), cells)


def _ranking(findings: Findings, found: Sweep) -> ReportFigure:
    summary = ranking_summary(findings.results.runs, found.measure, findings.alpha)
    words = ranking_caption(summary, found.measure, findings.alpha)
    figure = draw_ranking(summary, found.measure) if len(summary) > 1 else None
    return ReportFigure("ranking", RANKING, words, figure, summary)


def _pareto(findings: Findings, found: Sweep) -> ReportFigure:
    summary = pareto_summary(findings.results.runs, found.measure, alpha=findings.alpha)
    figure = draw_pareto(summary, found.measure) if len(summary) else None
    return ReportFigure("pareto", PARETO, pareto_caption(summary, found.measure, findings.alpha), figure, summary)


def _factors(findings: Findings, found: Sweep) -> Iterator[ReportFigure]:
    """Yield the arms by their options, and learning curves by the option whose levels differ most."""
    results = findings.results
    runs = with_named_levels(results, results.runs)
    try:
        columns = factor_columns(results, runs)
    except UsageError:  # no option in which arms differ
        return
    summary = parallel_summary(runs, columns, found.measure, findings.alpha)
    if summary.empty:
        return
    shown = most_telling(summary, columns)
    words = parallel_caption(summary, shown, found.measure)
    yield ReportFigure("parallel_coordinates", PARALLEL, words, draw_parallel(summary, shown, found.measure), summary)
    (factor,) = most_telling(summary, columns, most=1)
    curves = curves_summary(runs, results.epochs, factor)
    if len(curves):
        words = curves_caption(curves, runs, factor)
        yield ReportFigure("curves_by_factor", f"{CURVES}: {factor}", words, draw_curves(curves, factor), curves)
