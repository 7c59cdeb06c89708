"""Variance by source: the variance of each random stream alone, as a share of the variance with all streams varied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aimlib.errors import counted
from analysis.figures.canvas import new_figure, styled
from analysis.figures.palette import MUTED, PAPER, marks
from analysis.statistics.variance_sources import WIDEST, Variances, determines, enough_seeds, source_name
from analysis.wording import number_format

TITLE = "Variance by source"
_LEAST_END = 3.0
"""Smallest share at which the axis may end."""


def summarise(found: Sequence[Variances]) -> pd.DataFrame:
    """Return of, source, share, lower and upper (of the variance with all sources varied) for every series."""
    rows = [(each.of, s.source, s.share, s.share_lower, s.share_upper) for each in found for s in each.sources]
    types = {"of": "str", "source": "str"} | dict.fromkeys(("share", "lower", "upper"), "float64")
    return pd.DataFrame(rows, columns=list(types)).astype(types)


@styled
def draw(summary: pd.DataFrame) -> Figure:
    """Return the figure for a summary: for each source, points with intervals for each arm and their difference."""
    sources, subjects = list(dict.fromkeys(summary["source"])), list(dict.fromkeys(summary["of"]))
    figure = new_figure(0.8 + 0.22 * len(sources) * max(2, len(subjects)))
    axes = figure.subplots()
    drawn, end = marks(subjects), _end(summary)
    for number, of in enumerate(subjects):
        colour = drawn[of].colour
        rows = summary[summary["of"] == of]
        shift = 0.6 * ((number + 0.5) / len(subjects) - 0.5)
        places = np.array([sources.index(source) for source in rows["source"]]) + shift
        axes.hlines(places, 100 * rows["lower"], 100 * rows["upper"].clip(upper=end), color=colour, linewidth=1.4)
        cut = rows["upper"].to_numpy() > end
        axes.scatter(np.full(cut.sum(), 100 * end), places[cut], color=[colour], marker=">", s=22, clip_on=False)
        inside = [colour if filled else PAPER for filled in _filled(rows)]
        axes.scatter(100 * rows["share"], places, facecolors=inside, edgecolors=[colour], s=18, zorder=3)
        axes.scatter([], [], color=[colour], s=18, label=of)
    axes.set_yticks(range(len(sources)), [source_name(source) for source in sources])
    axes.set_ylim(len(sources) - 0.5, -0.5)
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(0, 100 * end)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("Share of the variance with all sources varied, %")
    axes.axvline(100, color=MUTED, linewidth=0.8, linestyle=":")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _end(summary: pd.DataFrame) -> float:
    """Return the share at which the axis ends and intervals are cut off; it is beyond every point."""
    return max(_LEAST_END, 1.25 * float(summary["share"].max()))


def _filled(rows: pd.DataFrame) -> list[bool]:
    """Return whether each row's point is drawn filled: if its share is determined or is 0."""
    ends = rows[["share", "lower", "upper"]].to_numpy(float)
    return [not share or determines(float(lower), float(upper)) for share, lower, upper in ends]


def caption(found: Sequence[Variances]) -> str:
    """Return the largest source of variance for each arm and difference, and what the intervals are."""
    said = [_largest(each) for each in found]
    return " ".join(
        [
            *filter(None, said),
            "Points: variance with one source varied, as a share of the variance with all sources varied (dotted: 100 "
            "%). Lines: 95 % intervals for two correlated series (Pitman and Morgan), which assume normally "
            "distributed values.",
            *_marked(summarise(found)),
        ]
    )


def _marked(summary: pd.DataFrame) -> list[str]:
    """Return what hollow points and arrows mean, if there are any."""
    end = _end(summary)
    said = []
    if not all(_filled(summary[summary["share"].notna()])):
        said.append(
            "Hollow: the seeds do not determine the share, because its interval is missing or covers more than "
            f"{100 * WIDEST:.0f} of the percentage points from 0 to 100 %; {enough_seeds()} seeds are enough for "
            "every share."
        )
    if (summary["upper"] > end).any():
        said.append(f"Arrow: the interval extends beyond {100 * end:.0f} %, where it is cut off.")
    return said


def _largest(found: Variances) -> str:
    known = [each for each in found.sources if each.share == each.share]
    if not known:
        return ""
    most = max(known, key=lambda each: each.share)
    ends = f"{number_format.percent(most.share_lower, 0)} to {number_format.percent(most.share_upper, 0)} %"
    share = number_format.percent(most.share, 0)
    if not most.determined and most.share:
        return f"{found.of}: {counted(most.n, 'seed')} do not determine the largest share."
    return f"{found.of}: the largest share is that of the {source_name(most.source)}, {share} % ({ends})."
