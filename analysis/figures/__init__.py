"""Figures of a study, one module each with `summarise` (frames to one frame), `draw` and `caption`.

Drawing never touches pyplot and leaves matplotlib's settings as they were.
"""

from analysis.figures import curves, forest, slopegraph, strip
from analysis.figures.canvas import inline, png, svg
from analysis.figures.palette import Mark, marks

__all__ = ["Mark", "curves", "forest", "inline", "marks", "png", "slopegraph", "strip", "svg"]
