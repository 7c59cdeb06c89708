"""Figures of a study, one module each with `summarise` (frames to one frame), `draw` and `caption`.

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
    waterfall,
    winners,
)
from analysis.figures.canvas import arranged, inline, png, svg
from analysis.figures.palette import Mark, marks

__all__ = [
    "Mark",
    "arranged",
    "budget",
    "by_epoch",
    "capacity",
    "classes",
    "curves",
    "forest",
    "inline",
    "marks",
    "path",
    "patience",
    "png",
    "power",
    "slopegraph",
    "strip",
    "svg",
    "variance",
    "waterfall",
    "winners",
]
