"""Tables as a reader sees them: words and rounded numbers, the same for HTML and Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aimlib.errors import counted
from analysis.findings.study import Findings
from analysis.primary_measure import PrimaryMeasure
from analysis.report.breadth import KEPT, gated_arms, many_arms, shown_arms, shown_comparisons
from analysis.report.sweeps import Sweep
from analysis.report.tables import Table, shortened
from analysis.report.tables.argument import attribution, audited, important, interacting, searched, won
from analysis.report.tables.models import differences, models
from analysis.report.tables.pairing import by_source, pairing
from analysis.report.tables.runs import missing, outcomes, stale, troubled
from analysis.report.tables.sweep import main_effects, ranked, two_way
from analysis.statistics import Comparison
from analysis.wording import number_format
from analysis.wording.study_words import what

_SEEDS_ACROSS = 12


def text_tables(findings: Findings, frames: dict[str, pd.DataFrame], found: Sweep) -> dict[str, Table]:
    """Return every table that has rows, by name; most rows of long tables are left out.

    Parameters
    ----------
    frames : the tables as frames; see `table_frames`.
    found : the ranking and the effects.
    """
    models_of = findings.results.models
    made = {
        "comparisons": _comparisons(findings),
        "gates": _gates(findings),
        "seeds": _seeds(findings, frames["arms"]),
        "checks": _checks(findings),
        "pairing": pairing(findings),
        "variance_sources": by_source(findings),
        "effects": main_effects(found),
        "effect_interactions": two_way(found),
        "ranking": ranked(found),
        "attribution": attribution(findings),
        "interactions": interacting(findings),
        "audit": audited(findings),
        "winners": won(findings),
        "searched": searched(findings),
        "importances": important(findings),
        "arms": _arms(findings, frames["arms"]),
        "models": models(models_of),
        "differences": differences(models_of),
        "outcomes": outcomes(findings),
        "troubled": troubled(findings),
        "missing": missing(findings),
        "stale": stale(findings.results.stale, findings.results.plan),
    }
    by_arm = dict.fromkeys(("arms", "models", "differences"), tuple(shown_arms(findings)))
    by_arm["outcomes"] = _troubled_arms(findings)
    return {
        name: shortened(table, _WHOLE.get(name, name), by_arm.get(name, ()), _WHICH.get(name, ""))
        for name, table in made.items()
        if table is not None and table.rows
    }


_WHOLE = {"seeds": "runs", "checks": "sensitivity", "troubled": "runs", "differences": "models"}
"""Stems of the CSV files for those tables whose file has a different name."""
_ENDS = "the arms in the gates, and those with the largest and smallest differences"
_WHICH = dict.fromkeys(("arms", "models", "differences"), _ENDS)
_WHICH["outcomes"] = "the arms in the gates, and the arms with the most runs that did not train or failed"


def _troubled_arms(findings: Findings) -> tuple[str, ...]:
    """Return the arms in the gates, and those with the most runs that did not train or have no result."""
    table = findings.failures
    trouble = table[["not_trained", "failed"]].sum(axis="columns")
    worst = table["arm"][trouble.sort_values(ascending=False, kind="stable").index]
    return tuple(list(dict.fromkeys([*gated_arms(findings), *worst]))[:KEPT])


def _comparisons(findings: Findings) -> Table:
    measure = findings.measure
    numbers = (
        "n",
        measure.heading("Δ"),
        "Interval",
        "Level",
        "Prediction",
        "p",
        "p, looks",
        "p, Holm",
        "P(Δ > 0)",
        "P(|Δ| < δ)",
        "Pairs to add",
    )
    columns = ("Comparison", *numbers[:-1], "Verdict", "Pairs to add")
    every, names = findings.family.comparisons, set(shown_comparisons(findings))
    rows = tuple(_comparison_row(c, findings) for c in every if c.name in names)
    omission = (
        ""
        if len(rows) == len(every)
        else (
            f"{len(rows)} of {len(every)} comparisons are shown: those of the gates, and those with the largest and "
            "smallest differences."
        )
    )
    unreachable = "; “no number” if a gain above δ cannot stop the study, because no reported gain applies"
    unreachable = unreachable if findings.otherwise is None else ""
    note = (
        f"Δ: {_difference(measure)}. Interval and Prediction: the t interval of the deciding look, and the prediction "
        "interval at the same level for one further pair with one seed for both arms. p: p-value of the deciding look "
        "alone. p, looks: joint p-value of all looks. p, Holm: the joint p-value adjusted for the number of further "
        "arms by Holm’s procedure, whose step sets the level of their intervals. P(Δ > 0), P(|Δ| < δ): probabilities "
        "under a flat prior. Pairs to add: estimated number of further pairs that would settle an open verdict if the "
        f"mean stays the same{unreachable}. A verdict is called exploratory if the study departs from the frozen "
        "analysis plan."
    )
    title = "Differences" if omission else "All differences"
    return Table(title, columns, rows, frozenset(numbers), note, omission, "comparisons" if omission else "")


def _difference(measure: PrimaryMeasure) -> str:
    """Return what the differences in a study are, for use within a sentence."""
    if measure.is_accuracy:
        return "mean paired difference in percentage points (pp)"
    unit = {"": "", "pp": " in percentage points (pp)"}.get(measure.difference, f" in {measure.difference}")
    side = " (control − treatment, so a gain is positive)" if measure.lower_is_better else ""
    return f"mean paired difference in the {measure.words}{unit}{side}"


def _comparison_row(c: Comparison, findings: Findings) -> tuple[str, ...]:
    verdict = c.verdict.text + ("; unstable training" if c.unstable else "")
    if low := findings.far_below.get(c.name):
        verdict += f"; {counted(len(low), 'run')} collapsed"
    verdict += "; exploratory" if findings.exploratory(c.treatment, c.control) else ""
    return (
        c.name,
        str(c.interval.n),
        c.measure.points(c.interval.mean),
        c.ends,
        number_format.level(c.interval.alpha),
        c.measure.interval(*c.interval.prediction),
        number_format.probability(c.p, c.interval.alpha),
        number_format.probability(c.p_looks, findings.alpha),
        number_format.probability(c.p_holm, findings.alpha),
        number_format.decimal(c.interval.probability_above(0.0), 3),
        number_format.decimal(c.interval.probability_above(-c.delta) - c.interval.probability_above(c.delta), 3),
        verdict,
        c.needed.text if c.needed else number_format.NOTHING,
    )


def _gates(findings: Findings) -> Table:
    rows = tuple((g.question, g.comparison or f"no {g.role} arm", g.state) for g in findings.family.gates)
    claimed = "The claim" if findings.results.plan.what is None else f"A gain from {what(findings.results.plan)}"
    note = (
        "A gate is passed if the interval lies above 0; only then does the next gate count. "
        f"{claimed} is supported only if all gates are passed."
    )
    return Table("Gates", ("Question", "Comparison", "State"), rows, note=note)


def _seeds(findings: Findings, table: pd.DataFrame) -> Table:
    """Return each arm's accuracy by seed, with the primary difference; seeds are columns unless there are many.

    With many arms, only the arms in the gates are shown.
    """
    primary, every = findings.primary, len(table)
    if many_arms(findings):
        table = table[table["arm"].isin(gated_arms(findings) or shown_arms(findings))]
    measure = findings.measure
    values = dict(zip(findings.results.runs["run_id"], findings.results.runs[measure.column], strict=True))
    cells = {
        (row["arm"], row["seed"]): _cell(row, values[row["run_id"]], measure)
        for row in findings.judged.to_dict("records")
    }
    seeds = sorted(set(findings.results.plan.runs["seed"]))
    rows = [
        [
            arm,
            *(cells.get((arm, seed), "missing") for seed in seeds),
            measure.value(mean),
            measure.value(sd),
        ]
        for arm, mean, sd in zip(table["arm"], table["mean"], table["sd"], strict=True)
    ]
    if primary is not None:
        known = dict(zip(primary.pairs["seed"], primary.pairs["difference"], strict=True))
        differences = [measure.points(known.get(seed)) for seed in seeds]
        spread = measure.decimal(primary.interval.sd)
        rows.append([f"Δ {primary.name}", *differences, measure.points(primary.interval.mean), spread])
    rows.insert(0, ["Seed", *map(str, seeds), "mean", "SD"])
    if len(seeds) > _SEEDS_ACROSS:
        rows = [list(column) for column in zip(*rows, strict=True)]
    columns, *body = map(tuple, rows)
    in_unit = f"; Δ in {measure.difference}" if measure.difference else ""
    note = f"{measure.axis('at the selected epoch')}{in_unit}. Means and SDs exclude failed and pruned runs."
    if primary is not None and primary.beyond:
        note += f" Those of Δ include only the {counted(primary.interval.n, 'pair')} of the deciding look."
    omission = f"{len(table)} of {every} arms are shown: the arms in the gates." if len(table) < every else ""
    whole = "runs" if omission else ""
    name = "Accuracy" if measure.is_accuracy else measure.name_of_axis
    return Table(f"{name} by seed", columns, tuple(body), frozenset(columns[1:]), note, omission, whole)


def _cell(row: dict[Any, Any], value: Any, measure: PrimaryMeasure) -> str:
    outcome = str(row["outcome"])
    if outcome in ("failed", "pruned") or pd.isna(value):
        return outcome
    return measure.value(value) + ("" if outcome == "trained" else f" ({outcome})")


def _checks(findings: Findings) -> Table | None:
    primary = findings.primary
    if primary is None:
        return None
    rows = tuple(
        (
            str(row["check"]),
            str(row["n"]),
            findings.measure.points(row["mean"]),
            findings.measure.interval(row["lower"], row["upper"], primary.limits),
            number_format.probability(row["p"], primary.interval.alpha),
            str(row["verdict"]) or number_format.NOTHING,
        )
        for row in findings.checks.to_dict("records")
    )
    columns = ("Check", "n", findings.measure.heading("Δ"), "Interval", "p", "Verdict of the check")
    note = "These checks are shown in addition to the paired t interval; they do not affect the verdict."
    return Table(f"Sensitivity of {primary.name}", columns, rows, frozenset(columns[1:5]), note=note)


def _arms(findings: Findings, table: pd.DataFrame) -> Table:
    measure = findings.measure
    rows = tuple(
        (
            str(row["arm"]),
            str(row["role"]),
            f"{row['n']} of {row['planned']}",
            measure.value(row["mean"]),
            measure.value(row["sd"]),
            _value_interval(row["lower"], row["upper"], measure),
        )
        for row in table.to_dict("records")
    )
    of_values = [measure.heading(name, of_values=True) for name in ("Mean", "Interval")]
    columns = ("Arm", "Role", "Runs", of_values[0], measure.heading("SD"), of_values[1])
    level = number_format.level(findings.alpha)
    note = f"{measure.name_of_axis} with the {level} t interval for each arm alone; a verdict is based on pairs."
    return Table("Arms", columns, rows, frozenset(columns[2:]), note=note)


def _value_interval(lower: float, upper: float, measure: PrimaryMeasure) -> str:
    return f"{measure.value(lower)} to {measure.value(upper)}" if lower <= upper else number_format.NOTHING
