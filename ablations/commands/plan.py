"""`ablate plan`: estimate whether a study can reach a verdict, and at what cost. In Python: `ablations.plan`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Overrides, Reuse, Study, TimedAt, TrustedCode, Wide, console
from aimlib.errors import UsageError
from aimlib.paths import Place

if TYPE_CHECKING:
    from ablations.estimation.power import PowerAnalysis
    from ablations.planning.approval import Trust
    from ablations.spec.study import StudySource
    from analysis.primary_measure import PrimaryMeasure


def command(
    study: Study,
    overrides: Overrides = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Plan with the spread observed in this study directory.", show_default=False),
    ] = None,
    seed_sd: Annotated[
        float | None,
        typer.Option(
            help="Plan with this standard deviation between seeds of either arm (e.g. a published one), in the "
            "unit of the measure.",
            show_default=False,
        ),
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option(
            help="Also show how many seeds are needed for the last interval to have this half-width.",
            show_default=False,
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            help="Price of a GPU hour (or of a CPU hour, if the study does not use GPUs).", show_default=False
        ),
    ] = None,
    timing: Annotated[bool, typer.Option(help="Time a few steps of every arm to estimate the hours.")] = True,
    address: TimedAt = None,
    figure: Annotated[
        Path | None, typer.Option(help="Write the power curves to this .svg or .png file.", show_default=False)
    ] = None,
    wide: Wide = False,
    reuse: Reuse = None,
    trust: TrustedCode = None,
) -> None:
    """Estimate whether a study can reach a verdict, how many seeds it needs, and what the seeds cost."""
    from ablations.commands import plan_tables

    found = plan(
        study,
        overrides or (),
        results=results,
        seed_sd=seed_sd,
        half_width=half_width,
        price=price,
        timing=timing,
        address=address,
        figure=figure,
        reuse=reuse or (),
        trust=trust or (),
    )
    plan_tables.power(found, console(), wide=wide)


def plan(
    study: StudySource,
    overrides: str | Iterable[str] = (),
    *,
    results: str | Path | None = None,
    seed_sd: float | None = None,
    half_width: float | None = None,
    price: float | None = None,
    timing: bool = True,
    address: str | None = None,
    figure: str | Path | None = None,
    reuse: str | Place | Iterable[str | Place] = (),
    trust: Trust = (),
) -> PowerAnalysis:
    """Return the power of a study, estimated by simulating its looks and its verdict table.

    Parameters
    ----------
    study, overrides : as in `ablations.check`.
    results : study directory whose primary comparison provides the spread of the differences. The study is planned with
        the upper 80 % limit of the spread and, in addition, averaged over all spreads compatible with these results.
    seed_sd : standard deviation between the seeds of either arm, such as a published value, to use instead of
        `results`; in pp or in the unit of the measure. The arms are assumed to be uncorrelated. If neither `results`
        nor `seed_sd` is given, a table of plausible values is used.
    half_width : also compute the number of pairs after which the last interval has at most this half-width, in the same
        unit.
    price : price of a GPU hour, or of a CPU hour if the study runs on CPUs, in any currency.
    timing : time a few steps of every arm to estimate the hours.
    address : Ray cluster on whose devices the steps are timed; see `ablations.check`.
    figure : also write the power curves to this .svg or .png file.
    reuse : as in `ablations.run`: a warning states how many runs would be reused. The hours in the table cover all
        runs.
    trust : as in `ablations.run`.

    Raises
    ------
    ConfigError: the study has problems.
    UsageError: the price is negative, the spread or the half-width is not positive, the spread is larger than a share
        can have, both results and a spread are given, or the results have no primary comparison with at least two
        pairs.
    """
    from ablations.commands.check import check
    from ablations.estimation.power import analyse

    if price is not None and price < 0:
        raise UsageError(f"--price {price:g}: a price per hour cannot be negative; give 0 or more")
    if results is not None and seed_sd is not None:
        raise UsageError("--seed-sd: the spread is already taken from --results; give only one of the two options")
    for option, value in (("--seed-sd", seed_sd), ("--half-width", half_width)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{option} {value:g}: give a number greater than 0, in the unit of the measure")
    found = check(study, overrides, timing=timing or price is not None, address=address, reuse=reuse, trust=trust)
    doubts = tuple(_doubts(found.plan.study.spec.primary_measure, seed_sd))
    about_reuse = tuple(note for note in found.notes if note.startswith("reuse"))
    analysed = analyse(
        found.plan,
        found.costs,
        found.untimed,
        results=results,
        price=price,
        seed_sd=seed_sd,
        half_width=half_width,
    )
    analysed = replace(analysed, warnings=(*analysed.warnings, *doubts, *about_reuse))
    if figure is not None:
        from ablations.commands import plan_tables

        plan_tables.power_curves(analysed, Path(figure))
    return analysed


_MOST_PP, _FEWEST_PP = 50.0, 0.05
"""Limits on standard deviations of shares, in pp: a share cannot have a standard deviation above the first limit; a
value below the second limit is probably meant as a fraction of 1."""


def _doubts(measure: PrimaryMeasure, seed_sd: float | None) -> Iterator[str]:
    """Yield a warning about a standard deviation that looks like a fraction.

    Raises
    ------
    UsageError: the standard deviation is greater than a share can have.
    """
    if seed_sd is None or measure.difference != "pp":
        return
    if seed_sd > _MOST_PP:
        raise UsageError(
            f"--seed-sd {seed_sd:g}: {measure.words} lies between 0 and 100 %, so its standard deviation is at most "
            f"{_MOST_PP:g} pp; give percentage points"
        )
    if seed_sd < _FEWEST_PP:
        yield (
            f"--seed-sd {seed_sd:g} is in percentage points, which is very small; if you mean a fraction of 1, "
            f"give {100 * seed_sd:g}"
        )
