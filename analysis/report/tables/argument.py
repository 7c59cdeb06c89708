"""Tables on the argument: the contribution of each switch, the claim's statements, and the winners of a search."""

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
        f"Parts of the difference between all switches off and all switches on{unit}. Each part is a contrast of arms "
        "within a seed, and a method’s parts add up to its gap. A method uses the seeds for which all its arms were "
        f"run; the {number_format.level(findings.alpha)} level is unadjusted. On a ladder, the contribution of a "
        "switch is that of its step and depends on the order; a Shapley value is the mean over all orders. One at a "
        "time: each switch alone; the remainder is what the switches contribute only in combination."
    )
    columns = ("Method", "Switch", "n", findings.measure.heading("Δ"), "Interval")
    return Table("Contribution of each switch", columns, rows, frozenset(columns[2:]), note=note)


def interacting(findings: Findings) -> Table | None:
    """Return how much the gain from one switch depends on another switch."""
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
        "The contribution of one switch with the other on, minus its contribution with the other off; all further "
        f"switches are off. The {number_format.level(findings.alpha)} level is unadjusted."
    )
    columns = ("Switches", "n", findings.measure.heading("Interaction"), "Interval")
    return Table("Interactions", columns, rows, frozenset(columns[1:]), note=note)


def audited(findings: Findings) -> Table | None:
    """Return every statement of the claim with the corresponding finding."""
    names = ("statement", "source", "said", "found", "verdict", "evidence")
    if findings.audit.empty:
        return None
    rows = tuple(
        tuple(str(row[name]) or number_format.NOTHING for name in names) for row in findings.audit.to_dict("records")
    )
    columns = ("Statement", "Source", "Claimed", "Found", "Verdict", "Evidence")
    return Table("The claim, statement by statement", columns, rows, frozenset({"Claimed", "Found"}))


_METHODS = {"ped_anova": "PED-ANOVA", "fanova": "fANOVA", "mean_decrease_impurity": "Mean decrease in impurity"}
_MOST_PARAMETERS = 12


def searched(findings: Findings) -> Table | None:
    """Return the number of trials of every searched arm, by outcome."""
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
        "The proposed configurations. Pruned: stopped early. Infeasible: not trained, because the configuration "
        "violates a constraint of the search. Infeasible configurations and those that cannot be built do not count "
        "as trials. Repeated: trials with the same configuration as an earlier trial."
    )
    return Table("Trials of the search", columns, tuple(rows), frozenset(columns[1:]), note=note)


def important(findings: Findings) -> Table | None:
    """Return the importance of a search's parameters by each method, the most important parameters first."""
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
        "Optuna’s estimates of how much the accuracies of the search’s complete trials vary with a parameter, as "
        "shares that sum to 1 over an arm’s parameters. The sampler chose the trials, so these shares are "
        "observational. They describe the sampler’s trials on the search’s seeds; they are not effects and do not "
        "have intervals. fANOVA and the decrease in impurity cover only parameters that every trial has. At most "
        f"{_MOST_PARAMETERS} parameters per arm are shown; arms with too few complete trials are left out."
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
    note = "Mean validation accuracy over the seeds of the search that chose the arm, and over the seeds of this study."
    return Table("Winners of the search", columns, rows, frozenset(columns[1:]), note=note)
