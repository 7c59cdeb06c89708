"""Tables on a sweep: its arms in order, and the effects of its factors."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.report.sweeps import Sweep
from analysis.report.tables import Table
from analysis.wording import number_format

_FIRST, _LAST = 20, 5
_STRONGEST = 12


def ranked(found: Sweep) -> Table | None:
    """Return the arms from the best to the worst; if there are many, only the best and the worst arms."""
    table = found.ranking
    if table.empty:
        return None
    cut = len(table) > _FIRST + _LAST + 5
    shown = pd.concat([table[:_FIRST], table[-_LAST:]]) if cut else table
    rows = tuple(_ranked_row(row, found.measure.best) for row in shown.to_dict("records"))
    measure = found.measure
    mean = f"Mean, {measure.unit}" if measure.unit else "Mean"
    side = "downwards" if measure.lower_is_better else "upwards"
    headings = (mean, measure.heading("SD"), measure.heading("Behind"))
    columns = ("Rank", "Arm", "Role", "n", *headings, "Interval", "Best?")
    own, whole = number_format.level(table["alpha"].iloc[0]), number_format.level(found.alpha)
    note = (
        f"Mean {found.measure.short} over seeds. Behind: paired difference from the first arm, with its {own} t "
        "interval. This level is adjusted for all pairs of arms, because any arm may come first; the intervals hold "
        f"jointly at the {whole} level (Bonferroni). “Possibly” means that the interval contains 0 or is not known. "
        f"The mean of the first arm is biased {side}, because it is the best of many."
    )
    ends = ("lowest", "highest") if measure.lower_is_better else ("highest", "lowest")
    omission = f"Of {len(table)} arms, the {_FIRST} {ends[0]} and the {_LAST} {ends[1]} are shown." if cut else ""
    numbers = frozenset({"Rank", *columns[3:-1]})
    return Table("Arms in order", columns, rows, numbers, note, omission, "ranking")


def _ranked_row(row: dict[Any, Any], best: str) -> tuple[str, ...]:
    first = row["rank"] == 1
    return (
        str(row["rank"]),
        str(row["arm"]),
        str(row["role"]),
        str(row["n"]),
        number_format.decimal(row["mean"]),
        number_format.decimal(row["sd"]),
        number_format.NOTHING if first else number_format.decimal(row["behind"]),
        number_format.NOTHING if first else number_format.interval(row["behind_lower"], row["behind_upper"]),
        f"{best} mean" if first else "possibly" if row["tied"] else "no",
    )


def main_effects(found: Sweep) -> Table | None:
    """Return the main effects of the factors, in the study's order."""
    table = found.effects[found.effects["kind"] == "main"]
    if table.empty:
        return None
    rows = tuple(
        (
            str(row["factor"]),
            str(row["level"]),
            str(row["reference"]),
            *_numbers(row),
            *(row["aliased"] or number_format.NOTHING for _ in _aliased(table)),
        )
        for row in table.to_dict("records")
    )
    columns = (
        "Factor",
        "Level",
        "Instead of",
        "n",
        found.measure.heading("Effect"),
        "Interval",
        "p, adjusted",
        "Size",
        "Balanced",
        *_aliased(table),
    )
    note = (
        f"Effect on the {found.measure.short}: mean over seeds of the paired difference, averaged over the "
        "combinations of the other factors in which both levels were run. Intervals and p-values are adjusted for all "
        f"{len(found.effects)} contrasts of the study, including interactions, so they hold jointly at the "
        f"{number_format.level(found.alpha)} level (Bonferroni). Size: mean divided by the standard deviation over "
        "seeds. Not balanced: a combination or a seed is missing."
    )
    return Table("Main effects", columns, rows, frozenset(columns[3:8]), note, "", "effects")


def two_way(found: Sweep) -> Table | None:
    """Return the strongest interactions of two factors."""
    table = found.interactions
    if table.empty:
        return None
    rows = tuple(
        (
            f"{row['factor']}: {row['level']} instead of {row['reference']}",
            f"{row['other']}: {row['other_level']} instead of {row['other_reference']}",
            *_numbers(row),
            *(row["aliased"] or number_format.NOTHING for _ in _aliased(table)),
        )
        for row in table[:_STRONGEST].to_dict("records")
    )
    columns = (
        "Factor",
        "With",
        "n",
        found.measure.heading("Interaction"),
        "Interval",
        "p, adjusted",
        "Size",
        "Balanced",
        *_aliased(table),
    )
    omission = ""
    if len(table) > _STRONGEST:
        omission = f"Of {len(table)} interactions, the {_STRONGEST} with the smallest p-values are shown."
    note = "Interaction: by how much the effect of the first factor changes with the level of the second factor."
    return Table("Interactions of two factors", columns, rows, frozenset(columns[2:7]), note, omission, "effects")


def _aliased(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the heading for the aliases in a fractional design; empty for a design without aliases."""
    return ("Cannot be distinguished from",) if table["aliased"].ne("").any() else ()


def _numbers(row: dict[Any, Any]) -> tuple[str, ...]:
    return (
        str(row["n"]),
        number_format.points(row["effect"]),
        number_format.interval(row["lower"], row["upper"]),
        number_format.probability(row["p_adjusted"]),
        number_format.decimal(row["effect_size"]),
        "yes" if row["balanced"] else "no",
    )
