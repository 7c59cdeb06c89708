"""Expected validation performance: the accuracy that a search of a given size would have reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import new_figure, rule, styled, whole_numbers
from analysis.figures.palette import Mark, marks
from analysis.statistics.paired import OUTCOMES
from analysis.statistics.searches import expected_best
from analysis.wording import number_format

TITLE = "What a search of a given size finds"
_TYPES: dict[str, Any] = {"searched": "str", "trials": "int64", "expected": "float64", "stopped": "int64"}


def summarise(tried: pd.DataFrame) -> pd.DataFrame:
    """Return searched, trials, expected (best validation accuracy, percent) and stopped for a search's trials.

    A trial that was stopped early counts with the accuracy that it had reached. Further training would hardly have
    lowered that accuracy, so the expected best is not overstated. If only completed trials counted, it would be.
    `stopped` is the number of trials that were stopped early.

    Parameters
    ----------
    tried : frame from `analysis.findings.searches.tried`, or `trials` of a screening, with one arm per trial and the
        mean as its value.
    """
    tried = tried if "searched" in tried else tried.assign(searched="")
    rows = tried[tried["status"].isin((*OUTCOMES, "pruned")) & tried["validation_accuracy"].notna()]
    parts = []
    for searched, own in rows.groupby("searched", sort=False):
        found = expected_best(100 * own.groupby("arm")["validation_accuracy"].mean().to_numpy())
        stopped = own.loc[own["status"] == "pruned", "arm"].nunique()
        columns = {"searched": searched, "trials": range(1, len(found) + 1), "expected": found, "stopped": stopped}
        parts.append(pd.DataFrame(columns).astype(_TYPES))
    empty = pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in _TYPES.items()})
    return pd.concat(parts, ignore_index=True) if parts else empty


@styled
def draw(summary: pd.DataFrame, known: Mapping[str, Mark] | None = None) -> Figure:
    """Return the figure for a summary that has rows: one line per searched arm.

    Parameters
    ----------
    known : marks of the study's arms; if a searched arm is not among them, all searched arms get new marks.
    """
    figure = new_figure(2.5)
    axes = figure.subplots()
    names = list(dict.fromkeys(summary["searched"]))
    looks = marks(names) if not known or set(names) - set(known) else known
    for name, own in summary.groupby("searched", sort=False):
        look = looks[str(name)]
        axes.plot(
            own["trials"],
            own["expected"],
            color=look.colour,
            linewidth=1.6,
            marker=look.marker,
            markersize=3,
            dashes=look.dashes or (1, 0),
        )
    axes.set(xlabel="Trials", ylabel="Expected best\nvalidation accuracy, %")
    whole_numbers(axes)
    rule(axes, "y")
    if len(names) > 1:
        short = arm_labels(names, 24)
        handles = [Line2D([], [], color=looks[n].colour, marker=looks[n].marker, markersize=3) for n in names]
        figure.legend(handles, [short[name] for name in names], loc="outside right upper")
    return figure


def caption(summary: pd.DataFrame) -> str:
    """Return the expected best accuracy with one trial and with all trials, and how to compare arms fairly."""
    if summary.empty:
        return "No trial in the screening has a result."
    searches = {str(name): own for name, own in summary.groupby("searched", sort=False)}
    each = "; ".join(
        f"{f'{name}: ' if name else ''}{number_format.decimal(own['expected'].iloc[0])} % with one trial, "
        f"{number_format.decimal(own['expected'].iloc[-1])} % with all trials"
        for name, own in searches.items()
    )
    count = counted(int(summary.groupby("searched")["trials"].max().sum()), "trial")
    text = f"Expected best validation accuracy by number of trials (unbiased; {count} in the screening): {each}."
    if len(searches) > 1:
        text += " Compare arms at the same number of trials."
    else:
        text += " Compare a baseline that was not searched with the value for one trial."
    stopped = int(summary.groupby("searched")["stopped"].max().sum())
    if stopped:
        verb = (
            "was stopped early and is included with the accuracy that it"
            if stopped == 1
            else ("were stopped early and are included with the accuracy that they")
        )
        text += f" {counted(stopped, 'trial')} {verb} had reached, which is a lower bound."
    return text
