"""Output of `ablate plan`: tables and a figure that show a study's power."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.commands.console_tables import Table, show
from aimlib.errors import UsageError
from analysis.wording import number_format

if TYPE_CHECKING:
    import pandas as pd

    from ablations.estimation.power import PowerAnalysis
    from analysis.primary_measure import PrimaryMeasure


def power(found: PowerAnalysis, console: Console, *, wide: bool = False) -> None:
    """Print the results of a power analysis."""
    measure = found.measure
    unit = measure.in_units.removeprefix(", ") or f"in the unit of the {measure.words}"
    console.print(_when(found), highlight=False)
    for line in _spread(found):
        console.print(line, highlight=False)
    console.print(
        f"seed SD (of either arm) and true gain: {unit}; pairs, 80 %: pairs for 80 % power at one look; verdict: "
        "chance of a stopping verdict with the planned seeds; finally: chance by the last look, if seeds are added; "
        "shown: chance that the interval is then above 0; mean pairs: mean number of pairs until the study stops",
        highlight=False,
    )
    averaged = bool(found.table["finally_averaged"].notna().any())
    if averaged:
        console.print(
            "averaged: the same chance, averaged over all spreads compatible with the given results instead of "
            "computed at the limit",
            highlight=False,
        )
    headings = ["seed SD", "true gain", "pairs, 80 %", "verdict", "finally", "shown", "mean pairs"]
    known = [name for name in ("device_hours", "price") if found.table[name].notna().any()]
    headings += [found.unit if name == "device_hours" else name for name in known]
    headings += ["finally, averaged", "mean pairs, averaged"] if averaged else []
    rows = [
        [
            _sd(measure, row["seed_sd"]),
            number_format.exact(row["effect"], measure.digits),
            _pairs(row),
            f"{100 * row['verdict']:.0f} %",
            f"{100 * row['finally']:.0f} %",
            f"{100 * row['shown']:.0f} %",
            f"{row['pairs']:.1f}",
            *(f"{row[name]:.2f}" for name in known),
            *((f"{100 * row['finally_averaged']:.0f} %", f"{row['pairs_averaged']:.1f}") if averaged else ()),
        ]
        for row in found.table.to_dict("records")
    ]
    droppable = ("mean pairs", "shown", "finally")
    show(Table(headings, rows, right=headings, droppable=droppable), console, wide=wide)
    _by_look(found, console, wide)
    _prices(found, console, wide)
    if found.half_widths is not None:
        _half_widths(found.half_widths, console, wide, measure)
    if found.effects is not None:
        _effects(found.effects, console, wide, measure)
    for sentence in found.design:
        console.print(f"- {sentence}", markup=False, highlight=False)
    for warning in found.warnings:
        console.print(f"- {warning}", markup=False, highlight=False)


def _sd(measure: PrimaryMeasure, sd: float) -> str:
    """Return a standard deviation as text, with significant digits if two decimal places would round it to zero."""
    text = measure.decimal(sd)
    return text if float(text) else number_format.significant(sd)


def _when(found: PowerAnalysis) -> str:
    """Return after how many pairs the verdict can be determined, and at which confidence levels."""
    looks = found.looks
    if looks.anytime:
        return (
            f"read after any number of pairs from {looks.numbers[0]} to {found.most}, using a confidence sequence "
            f"of width {looks.mixture_width:g}"
        )
    levels = [f"{100 * (1 - level):.4g}" for level in looks.levels]
    at = f"each at {levels[0]} %" if len(set(levels)) == 1 else f"at {', '.join(levels)} % ({looks.spending})"
    return f"looks after {', '.join(map(str, looks.numbers))} pairs, {at}"


def _spread(found: PowerAnalysis) -> Iterator[str]:
    """Yield what is known about the spread that is used for planning."""
    measure, spread = found.measure, found.spread
    if found.seen is None or spread is None:
        return
    low, high = (measure.decimal(end) for end in spread.interval())
    yield (
        f"SD of the differences between seeds: {measure.in_unit(measure.decimal(found.seen))} "
        "(upper 80 % limit in the given results)"
    )
    yield (
        f"the SD in the given results is {measure.in_unit(measure.decimal(spread.sd))} over "
        f"{spread.freedom + 1:.0f} pairs, 95 % interval {low} to {high} (χ²)"
    )


def _by_look(found: PowerAnalysis, console: Console, wide: bool) -> None:
    """Print the chances that a verdict is reached by each look, with one row per spread and true gain."""
    measure = found.measure
    console.print(
        "by each look: chance that no question is open, so --until-verdict ends / chance that an interval was above 0"
        + (", averaged over all spreads compatible with the given results" if found.seen is not None else ""),
        highlight=False,
    )
    numbers = sorted(found.by_look["pairs"].unique().tolist())
    headings = ["seed SD", "true gain", *(f"{number} pairs" for number in numbers)]
    rows = [
        [
            _sd(measure, sd),
            number_format.exact(effect, measure.digits),
            *(_chances(row) for row in group.to_dict("records")),
        ]
        for (sd, effect), group in _groups(found.by_look)
    ]
    show(Table(headings, rows, right=headings, droppable=tuple(headings[3:-1])), console, wide=wide)


def _groups(frame: pd.DataFrame) -> Iterator[tuple[tuple[float, float], pd.DataFrame]]:
    """Yield the rows for each spread and true gain, in order."""
    for key in frame[["seed_sd", "effect"]].drop_duplicates().itertuples(index=False, name=None):
        yield key, frame[(frame["seed_sd"] == key[0]) & (frame["effect"] == key[1])]


def _chances(row: Mapping[Any, Any]) -> str:
    return f"{100 * row['settled']:.0f} / {100 * row['shown']:.0f} %"


def _prices(found: PowerAnalysis, console: Console, wide: bool) -> None:
    """Print how many more pairs a verdict after any number of pairs costs, compared with planned looks."""
    measure, most = found.measure, int(found.prices["most"].iloc[0])
    planned = "four equally spaced planned looks" if found.looks.anytime else "the planned looks"
    console.print(
        f"price of looks: any is compared with {planned}, up to {most} pairs, by the chance that no question is "
        "open and the mean number of pairs until then; equal chance: maximum number of pairs that any needs to "
        "reach the chance of the planned looks, and its mean number of pairs in that case; price: additional mean "
        "number of pairs with any",
        highlight=False,
    )
    headings = ["seed SD", "true gain", "planned", "pairs", "any", "pairs, any", "equal chance", "mean then", "price"]
    rows = [
        [
            _sd(measure, row["seed_sd"]),
            number_format.exact(row["effect"], measure.digits),
            f"{100 * row['settled']:.0f} %",
            f"{row['pairs']:.1f}",
            f"{100 * row['any_settled']:.0f} %",
            f"{row['any_pairs']:.1f}",
            _number(row["any_most"], 0),
            _number(row["any_pairs_at_equal_chance"], 1),
            _number(row["any_pairs_at_equal_chance"] - row["pairs"], 1),
        ]
        for row in found.prices.to_dict("records")
    ]
    show(Table(headings, rows, right=headings, droppable=("pairs, any", "any", "mean then")), console, wide=wide)


def _half_widths(widths: pd.DataFrame, console: Console, wide: bool, measure: PrimaryMeasure) -> None:
    """Print how many pairs are needed for the requested half-width of the last interval."""
    wanted = measure.in_unit(f"{widths['half_width'].iloc[0]:g}")
    console.print(
        f"pairs needed for a half-width of the last interval of at most {wanted}: on average, and for 80 and 90 % "
        "of studies",
        highlight=False,
    )
    headings = ["seed SD", "expected", "80 %", "90 %"]
    rows = [
        [_sd(measure, row["seed_sd"]), *(_pairs_or_more(row[n]) for n in ("expected", "assured_80", "assured_90"))]
        for row in widths.to_dict("records")
    ]
    show(Table(headings, rows, right=headings), console, wide=wide)


def _number(value: float, digits: int) -> str:
    return "–" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 -- NaN differs from itself


def _pairs_or_more(value: float) -> str:
    return "> 10,000" if value != value else f"{value:.0f}"  # noqa: PLR0124 -- NaN differs from itself


def _effects(widths: pd.DataFrame, console: Console, wide: bool, measure: PrimaryMeasure) -> None:
    """Print the half-widths of the intervals for effects, with one column per spread."""
    console.print(
        f"half-width of the intervals for the factors' effects ({measure.difference or 'without a unit'}, joint "
        "level 95 %), by seed SD",
        highlight=False,
    )
    across = widths.pivot(index=["kind", "seeds"], columns="seed_sd", values="half_width").sort_index(
        ascending=[False, True]
    )
    headings = ["effect", "seeds", *(f"SD {_sd(measure, float(sd))}" for sd in across.columns)]
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
    """Draw the power curves, with one panel per seed SD, and write them to an SVG or PNG file.

    Raises
    ------
    UsageError: the file has a different suffix or cannot be written.
    """
    from analysis.figures import png, svg
    from analysis.figures import power as power_figure

    figure = power_figure.draw_by_spread(found.curves, found.most, found.measure)
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--figure {path}: unknown figure format; give a file name that ends in .svg or .png")
    try:
        path.write_bytes(png(figure) if path.suffix == ".png" else svg(figure, "power").encode())
    except OSError as error:
        raise UsageError(f"--figure {path}: cannot be written ({error}); give a different file") from error
