"""The figures of a study; each has a module with `summarise` (frames to one frame), `draw` and `caption`.

Each figure of a sweep or search can also be drawn from the results with a single call: ``ranking(results)``,
``marginal_means(results)``, ``heatmap(results, "placement", "batch_size")``, ``interaction(results, "placement",
"batch_size")``, ``parallel_coordinates(results)``, ``slices(results)``, ``curves_by_factor(results, "batch_size")`` and
``pareto(results)``, on the caller's axes with ``ax=``. These functions hide the modules of the same names; import from
a module as in ``from analysis.figures.pareto import summarise``.

Drawing never uses pyplot and does not change matplotlib's settings.
"""

from analysis.figures import (
    budget,
    by_epoch,
    capacity,
    classes,
    curves,
    forest,
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
from analysis.figures.canvas import arranged, inline, png, svg
from analysis.figures.curves_by_factor import curves_by_factor
from analysis.figures.heatmap import heatmap
from analysis.figures.interaction import interaction
from analysis.figures.marginal_means import marginal_means
from analysis.figures.palette import Mark, marks
from analysis.figures.parallel_coordinates import parallel_coordinates
from analysis.figures.pareto import pareto
from analysis.figures.ranking import ranking
from analysis.figures.several_studies import several_studies
from analysis.figures.slices import slices

__all__ = [
    "Mark",
    "arranged",
    "budget",
    "by_epoch",
    "capacity",
    "classes",
    "curves",
    "curves_by_factor",
    "forest",
    "heatmap",
    "inline",
    "interaction",
    "marginal_means",
    "marks",
    "parallel_coordinates",
    "pareto",
    "path",
    "patience",
    "png",
    "power",
    "ranking",
    "several_studies",
    "slices",
    "slopegraph",
    "strip",
    "svg",
    "variance",
    "variance_sources",
    "waterfall",
    "winners",
]
