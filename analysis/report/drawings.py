"""A figure of a report."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its caption.

    Attributes
    ----------
    name : file stem.
    figure : None if there is nothing to draw yet; the caption then says so.
    summary : the frame that the figure shows.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    summary: pd.DataFrame
