"""Expected validation performance: what a search of a given size would have found."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import numerals
from analysis.figures.canvas import rule, sheet, styled, whole_numbers
from analysis.figures.palette import INK
from analysis.statistics.paired import OUTCOMES
from analysis.statistics.searches import expected_best

TITLE = "What a search of a given size finds"
_TYPES: dict[str, Any] = {"trials": "int64", "expected": "float64"}


def summarise(screened: pd.DataFrame) -> pd.DataFrame:
    """Return trials and expected (best validation accuracy, per cent) from the runs of a screening.

    Parameters
    ----------
    screened : frame `trials` of the screening: an arm per trial, its value the mean over seeds.
    """
    rows = screened[screened["status"].isin(OUTCOMES) & screened["validation_accuracy"].notna()]
    values = 100 * rows.groupby("arm")["validation_accuracy"].mean()
    found = expected_best(values.to_numpy())
    return pd.DataFrame({"trials": range(1, len(found) + 1), "expected": found}).astype(_TYPES)


@styled
def draw(summary: pd.DataFrame) -> Figure:
    """Return the figure of a summary that has rows."""
    figure = sheet(2.5)
    axes = figure.subplots()
    axes.plot(summary["trials"], summary["expected"], color=INK, linewidth=1.6, marker="o", markersize=3)
    axes.set(xlabel="Trials", ylabel="Expected best\nvalidation accuracy, %")
    whole_numbers(axes)
    rule(axes, "y")
    return figure


def caption(summary: pd.DataFrame) -> str:
    """Return one sentence: what the first and the last trial are worth."""
    if summary.empty:
        return "The screening has no trial with a result."
    first, last = summary["expected"].iloc[0], summary["expected"].iloc[-1]
    return (
        f"Expected best of so many of the {numerals.count(len(summary), 'trial')} of the screening (unbiased "
        f"estimate): {numerals.decimal(first)} % with one, {numerals.decimal(last)} % with all; a baseline that was "
        "not searched as long is to be read at one trial."
    )
