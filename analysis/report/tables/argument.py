"""Tables on the argument: the contribution of each switch, the statements of the claim, and the winners of a search."""

from __future__ import annotations

from analysis import number_format
from analysis.findings.study import Findings
from analysis.report.tables import Table
from analysis.statistics.attribution import interactions, table_of
from analysis.statistics.searches import winners


def attribution(findings: Findings) -> Table | None:
    """Return the contribution of each switch, by every ladder and by Shapley values."""
    if not findings.attributions:
        return None
    rows = tuple(
        (
            row["method"],
            row["switch"],
            str(row["n"]),
            number_format.points(row["mean"]),
            number_format.interval(row["lower"], row["upper"]),
        )
        for row in table_of(findings.attributions).to_dict("records")
    )
    note = (
        "Parts of the difference between all switches off and on, in percentage points, each a contrast of arms "
        "within a seed; the parts of a method add up to its gap. From the seeds that have all arms of a method, at "
        f"the {number_format.level(findings.alpha)} level, unadjusted. On a ladder the contribution of a switch is "
        "that of its step, which depends on the order; a Shapley value is the mean over all orders. One at a time: "
        "each switch alone; the remainder is what the switches contribute only together."
    )
    columns = ("Method", "Switch", "n", "Δ, pp", "Interval")
    return Table("Contribution of each switch", columns, rows, frozenset(columns[2:]), note=note)


def interacting(findings: Findings) -> Table | None:
    """Return how much the gain of one switch depends on another."""
    found = interactions(findings.results.runs, findings.results.plan)
    rows = tuple(
        (
            f"{row['first']} × {row['second']}",
            str(row["n"]),
            number_format.points(row["mean"]),
            number_format.interval(row["lower"], row["upper"]),
        )
        for row in found.to_dict("records")
    )
    note = "The contribution of a switch with the other on, minus its contribution with the other off; all further "
    "switches off."
    columns = ("Switches", "n", "Interaction, pp", "Interval")
    return Table("Interactions", columns, rows, frozenset(columns[1:]), note=note)


def audited(findings: Findings) -> Table | None:
    """Return every statement of the claim with what was found."""
    names = ("statement", "source", "said", "found", "verdict", "evidence")
    if findings.audit.empty:
        return None
    rows = tuple(
        tuple(str(row[name]) or number_format.NOTHING for name in names) for row in findings.audit.to_dict("records")
    )
    columns = ("Statement", "Source", "Said", "Found", "Verdict", "Evidence")
    return Table("The claim, statement by statement", columns, rows, frozenset({"Said", "Found"}))


def won(findings: Findings) -> Table | None:
    """Return the accuracy of the screening's winners on fresh seeds."""
    if findings.screening is None:
        return None
    rows = tuple(
        (
            row["arm"],
            number_format.decimal(row["screening"]),
            number_format.decimal(row["confirmation"]),
            number_format.points(-row["shrinkage"]),
        )
        for row in winners(findings.tried, findings.results.runs).to_dict("records")
    )
    columns = ("Arm", "Screening, %", "Fresh seeds, %", "Change, pp")
    note = (
        "Validation accuracy, mean over seeds: on the seeds of the search, which chose the arm, and on those of this "
        "study."
    )
    return Table("Winners of the search", columns, rows, frozenset(columns[1:]), note=note)
