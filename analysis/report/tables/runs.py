"""Tables on the runs' outcomes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.collapses import Collapse
from analysis.findings.study import Findings
from analysis.plan import Plan
from analysis.procedures import FIRST
from analysis.report.tables import Table
from analysis.wording import number_format
from analysis.wording.study_words import LARGEST_SHARE


def outcomes(findings: Findings) -> Table:
    """Return the number of runs of every arm by outcome."""
    kinds = ["trained", "at chance", "diverged", "failed", "pruned"]
    absent = findings.results.missing["arm"].value_counts()
    rows = tuple(
        (
            str(row["arm"]),
            *(str(row[kind]) for kind in kinds),
            str(int(absent.get(str(row["arm"]), 0))),
            number_format.probability(row["fisher_p"]),
        )
        for row in findings.failures.to_dict("records")
    )
    columns = ("Arm", *(kind.capitalize() for kind in kinds), "Missing", "p, Fisher")
    chance = "1 / classes" if findings.procedure == FIRST else LARGEST_SHARE
    note = (
        "At chance: the exact one-sided 99 % lower bound (Clopper–Pearson) on the accuracy does not exceed "
        f"{chance}. Diverged runs and runs at chance level are outcomes and stay in every comparison; Fisher’s "
        "exact test compares their share with the baseline’s. Failed, pruned and missing runs leave their "
        "pairs incomplete."
    )
    return Table("Outcomes", columns, rows, frozenset(columns[1:]), note=note)


def troubled(findings: Findings) -> Table:
    """Return every run that failed, did not train or, in the gated comparisons, collapsed, with the reason."""
    runs = findings.results.runs.merge(findings.judged[["run_id", "outcome", "lower_bound", "chance"]], on="run_id")
    rows = tuple(
        (row["arm"], str(row["seed"]), row["outcome"], _reason(row), row["run_id"])
        for row in runs[runs["outcome"] != "trained"].to_dict("records")
    )
    known = {row[-1] for row in rows}
    collapsed = {
        each.run_id: (each.arm, str(each.seed), _fallen(each), each.text.removeprefix("is "), each.run_id)
        for each in (*findings.collapses, *findings.later_collapses)
        if each.run_id not in known
    }
    rows += tuple(collapsed.values())
    return Table(
        "Runs that failed, collapsed or did not train",
        ("Arm", "Seed", "Outcome", "Reason", "Run"),
        rows,
        frozenset({"Seed"}),
    )


def _fallen(run: Collapse) -> str:
    """Return the outcome of a run that trained; if the measure is not the accuracy, the run need not have failed."""
    return "collapsed" if run.of_accuracy or run.why == "one class" else "far from its arm"


def _reason(row: dict[Any, Any]) -> str:
    if isinstance(row["reason"], str):
        return row["reason"]
    if row["outcome"] == "at chance":
        bound = number_format.percent(row["lower_bound"])
        return f"lower bound on the accuracy {bound} %, chance level {number_format.percent(row['chance'])} %"
    return number_format.NOTHING


def missing(findings: Findings) -> Table:
    """Return the planned runs that do not have a row."""
    rows = tuple((r["arm"], str(r["seed"]), r["run_id"]) for r in findings.results.missing.to_dict("records"))
    note = "These runs are planned but have no row: they have not started, or are still running."
    return Table("Missing runs", ("Arm", "Seed", "Run"), rows, frozenset({"Seed"}), note=note)


def stale(table: pd.DataFrame, plan: Plan) -> Table:
    """Return the rows of runs that are not in the plan, and why."""
    planned = set(plan.runs[["arm", "seed"]].itertuples(index=False, name=None))
    arms = {arm.name for arm in plan.arms}

    def why(arm: str, seed: int) -> str:
        if arm not in arms:
            return "the study no longer contains this arm"
        if (arm, seed) not in planned:
            return "the study no longer contains this seed"
        return f"the options, code or data of {arm} were changed, so a different run replaces it"

    rows = tuple(
        (str(r["arm"]), str(r["seed"]), str(r["status"]), r["run_id"], why(r["arm"], r["seed"]))
        for r in table.to_dict("records")
    )
    note = "Rows of runs that are no longer in the plan. They are kept, but this report does not use them."
    return Table("Stale runs", ("Arm", "Seed", "Status", "Run", "Why"), rows, frozenset({"Seed"}), note=note)
