"""Tables on the argument: the contribution of each switch, the statements of the claim, and the winners of a search."""

from __future__ import annotations

from analysis.findings.searches import read_ranking
from analysis.findings.study import Findings
from analysis.report.tables import Table
from analysis.statistics.attribution import interactions, table_of
from analysis.statistics.searches import winners
from analysis.wording import number_format


def attribution(findings: Findings) -> Table | None:
    """Return the contribution of each switch, by every ladder and by Shapley values."""
    if not findings.attributions:
        return None
    rows = tuple(
        (
            row["method"],
            row["switch"],
            str(row["n"]),
            findings.measure.points(row["mean"]),
            findings.measure.interval(row["lower"], row["upper"]),
        )
        for row in table_of(findings.attributions).to_dict("records")
    )
    unit = {"": "", "pp": ", in percentage points"}.get(
        findings.measure.difference, f", in {findings.measure.difference}"
    )
    note = (
        f"Parts of the difference between all switches off and on{unit}, each a contrast of arms within a seed; the "
        "parts of a method add up to its gap. The seeds are those that have all arms of a method; the "
        f"{number_format.level(findings.alpha)} level is unadjusted. On a ladder the contribution of a switch is that "
        "of its step, which depends on the order; a Shapley value is the mean over all orders. One at a time: each "
        "switch alone; the remainder is what the switches contribute only together."
    )
    columns = ("Method", "Switch", "n", findings.measure.heading("Δ"), "Interval")
    return Table("Contribution of each switch", columns, rows, frozenset(columns[2:]), note=note)


def interacting(findings: Findings) -> Table | None:
    """Return how much the gain of one switch depends on another."""
    found = interactions(findings.runs_of_look, findings.results.plan)
    rows = tuple(
        (
            f"{row['first']} × {row['second']}",
            str(row["n"]),
            findings.measure.points(row["mean"]),
            findings.measure.interval(row["lower"], row["upper"]),
        )
        for row in found.to_dict("records")
    )
    note = (
        "The contribution of a switch with the other on, minus its contribution with the other off; all further "
        f"switches off. The {number_format.level(findings.alpha)} level is unadjusted."
    )
    columns = ("Switches", "n", findings.measure.heading("Interaction"), "Interval")
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


_METHODS = {"ped_anova": "PED-ANOVA", "fanova": "fANOVA", "mean_decrease_impurity": "Mean decrease in impurity"}
_MOST_PARAMETERS = 12


def searched(findings: Findings) -> Table | None:
    """Return the number of trials of every searched arm by what became of them."""
    ranking = None if findings.screening is None else read_ranking(findings.screening.directory)
    if ranking is None:
        return None
    states = ("complete", "pruned", "failed", "unbuildable", "infeasible")
    rows = []
    for arm, own in ranking.groupby("arm", sort=False):
        counts = [int((own["state"] == state).sum()) for state in states]
        rows.append(
            (str(arm), *map(str, counts), str(int((own["repeats"] != "").sum())), str(int(own["epochs"].sum())))
        )
    columns = ("Arm", "Complete", "Pruned", "Failed", "Not buildable", "Infeasible", "Repeated", "Epochs")
    note = (
        "Configurations that were proposed. Pruned: stopped early. Infeasible: violates a constraint of the search, so "
        "it was not trained; neither these nor those that cannot be built count as trials. Repeated: of the trials, "
        "those that equal an earlier one."
    )
    return Table("Trials of the search", columns, tuple(rows), frozenset(columns[1:]), note=note)


def important(findings: Findings) -> Table | None:
    """Return the importance of the parameters of a search by each method, the most important parameters first."""
    frame = findings.results.importances
    if frame.empty:
        return None
    rows: list[tuple[str, ...]] = []
    for arm, own in frame.groupby("searched", sort=False):
        table = own.pivot_table(index="parameter", columns="method", values="importance", dropna=False, sort=False)
        table = table.reindex(columns=list(_METHODS)).sort_values("ped_anova", ascending=False, kind="stable")
        counted = own.drop_duplicates("parameter")
        counts = dict(zip(counted["parameter"], zip(counted["drawn"], counted["trials"], strict=True), strict=True))
        for name, row in table.head(_MOST_PARAMETERS).iterrows():
            count = "{} of {}".format(*counts[str(name)])
            rows.append((str(arm), str(name), count, *(number_format.decimal(value) for value in row)))
    columns = ("Arm", "Parameter", "Drawn in", *_METHODS.values())
    note = (
        "Optuna’s estimates of how much the accuracies of the search’s complete trials vary with a parameter; shares "
        "that sum to 1 over the parameters of an arm. The sampler chose the trials, so these shares are observational: "
        "they describe its trials on the seeds of the search, are not effects, and have no intervals. fANOVA and the "
        f"impurity only assess parameters that every trial has. At most {_MOST_PARAMETERS} parameters of each arm are "
        "shown; arms with too few complete trials are left out."
    )
    return Table("Importance of the searched parameters", columns, tuple(rows), frozenset(columns[2:]), note=note)


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
