"""What `ablate plan` prints and draws: the power of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.commands.console_tables import Table, show
from aimlib.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from ablations.estimation.power import PowerAnalysis
    from analysis.primary_measure import PrimaryMeasure


def power(found: PowerAnalysis, console: Console, *, wide: bool = False) -> None:
    """Print the results of a power analysis."""
    measure, looks = found.measure, ", ".join(map(str, found.looks.numbers))
    unit = measure.in_units.removeprefix(", ") or f"in the unit of the {measure.words}"
    console.print(f"looks after {looks} pairs, each at {100 * (1 - found.looks.levels[0]):.4g} %", highlight=False)
    if found.seen is not None:
        console.print(
            f"SD of the differences between seeds: {measure.in_unit(measure.decimal(found.seen))} "
            "(upper 80 % limit in the given results)",
            highlight=False,
        )
    console.print(
        f"seed SD (of either arm) and true gain: {unit}; pairs, 80 %: pairs for 80 % power at one look; "
        "verdict: chance of a stopping verdict with the planned seeds; finally: by the last look, if seeds are added; "
        "shown: chance that the interval is then above 0; mean pairs: pairs until the study stops",
        highlight=False,
    )
    headings = ["seed SD", "true gain", "pairs, 80 %", "verdict", "finally", "shown", "mean pairs"]
    known = [name for name in ("device_hours", "price") if found.table[name].notna().any()]
    headings += [found.unit if name == "device_hours" else name for name in known]
    rows = [
        [
            measure.decimal(row["seed_sd"]),
            measure.decimal(row["effect"]),
            _pairs(row),
            f"{100 * row['verdict']:.0f} %",
            f"{100 * row['finally']:.0f} %",
            f"{100 * row['shown']:.0f} %",
            f"{row['pairs']:.1f}",
            *(f"{row[name]:.2f}" for name in known),
        ]
        for row in found.table.to_dict("records")
    ]
    droppable = ("mean pairs", "shown", "finally")
    show(Table(headings, rows, right=headings, droppable=droppable), console, wide=wide)
    if found.effects is not None:
        _effects(found.effects, console, wide, measure)
    for sentence in found.design:
        console.print(f"- {sentence}", markup=False, highlight=False)
    for warning in found.warnings:
        console.print(f"- {warning}", markup=False, highlight=False)


def _effects(widths: pd.DataFrame, console: Console, wide: bool, measure: PrimaryMeasure) -> None:
    """Print the half-widths of the intervals of effects, with a column per spread."""
    console.print(
        f"half-width of the intervals of the factors' effects ({measure.difference or 'without a unit'}, 95 % "
        "together), by seed SD",
        highlight=False,
    )
    across = widths.pivot(index=["kind", "seeds"], columns="seed_sd", values="half_width").sort_index(
        ascending=[False, True]
    )
    headings = ["effect", "seeds", *(f"SD {measure.decimal(float(sd))}" for sd in across.columns)]
    rows = [
        [kind, str(seeds), *("–" if width == float("inf") else measure.decimal(width) for width in row)]
        for (kind, seeds), row in zip(across.index, across.to_numpy(), strict=True)
    ]
    show(Table(headings, rows, right=headings[1:]), console, wide=wide)


def _pairs(row: Mapping[Any, Any]) -> str:
    if not row["effect"]:
        return "–"
    return "> 10,000" if row["pairs_80"] < 0 else str(row["pairs_80"])


def power_curves(found: PowerAnalysis, path: Path) -> None:
    """Draw the power curves, with a panel per seed SD, into an SVG or PNG file.

    Raises
    ------
    UsageError: the file has another suffix or cannot be written.
    """
    from analysis.figures import png, svg
    from analysis.figures import power as power_figure

    figure = power_figure.draw_by_spread(found.curves, found.looks.numbers[-1], found.measure)
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--figure {path}: not a format of figures; give a file that ends in .svg or .png")
    try:
        path.write_bytes(png(figure) if path.suffix == ".png" else svg(figure, "power").encode())
    except OSError as error:
        raise UsageError(f"--figure {path}: cannot be written ({error}); give another file") from error
