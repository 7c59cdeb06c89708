"""Tables as a reader sees them: words and rounded numbers, the same for HTML and Markdown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import numerals
from analysis.statistics import Comparison
from analysis.study import Findings
from analysis.tables import arm_table

_SEEDS_ACROSS = 12


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes
    ----------
    columns : headings; those in `numbers` are set flush right.
    note : a sentence below the table; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()
    note: str = ""


def sheets(findings: Findings) -> dict[str, Sheet]:
    """Return every table that has rows, by name."""
    made = {
        "comparisons": _comparisons(findings),
        "gates": _gates(findings),
        "seeds": _seeds(findings),
        "checks": _checks(findings.primary),
        "arms": _arms(findings),
        "models": _models(findings.results.models),
        "differences": _differences(findings.results.models),
        "outcomes": _outcomes(findings),
        "troubled": _troubled(findings),
        "missing": _missing(findings),
        "stale": _stale(findings.results.stale),
    }
    return {name: sheet for name, sheet in made.items() if sheet is not None and sheet.rows}


def _comparisons(findings: Findings) -> Sheet:
    columns = (
        "Comparison",
        "n",
        "Δ, pp",
        "Interval",
        "Prediction",
        "p",
        "p, Holm",
        "Verdict",
        "Pairs to add",
    )
    rows = tuple(_comparison_row(c) for c in findings.family.comparisons)
    note = (
        "Δ: mean paired difference in percentage points (pp), with its "
        f"{numerals.level(findings.alpha)} t interval and the prediction interval of one further pair. Those "
        "with a Holm-adjusted p have their interval at the level at which Holm’s procedure tests them. Pairs to "
        "add: what should settle an open verdict if the mean stays; “no number” where a gain above δ "
        "cannot stop, as no reported size applies."
    )
    return Sheet("All differences", columns, rows, frozenset(columns[1:7]) | {"Pairs to add"}, note=note)


def _comparison_row(c: Comparison) -> tuple[str, ...]:
    verdict = c.verdict.text + ("; unstable training" if c.unstable else "")
    return (
        c.name,
        str(c.interval.n),
        numerals.points(c.interval.mean),
        numerals.interval(c.interval.lower, c.interval.upper),
        numerals.interval(*c.interval.prediction),
        numerals.probability(c.p),
        numerals.probability(c.p_holm),
        verdict,
        c.needed.text if c.needed else numerals.NOTHING,
    )


def _gates(findings: Findings) -> Sheet:
    rows = tuple((g.question, g.comparison or f"no {g.role} arm", g.state) for g in findings.family.gates)
    note = "A gate is passed where the interval lies above 0; the next counts only then. The claim needs all."
    return Sheet("Gates", ("Question", "Comparison", "State"), rows, note=note)


def _seeds(findings: Findings) -> Sheet:
    """Accuracy of every arm by seed, with the primary difference; seeds run across unless they are many."""
    primary, table = findings.primary, arm_table(findings)
    cells = {(row["arm"], row["seed"]): _cell(row) for row in findings.judged.to_dict("records")}
    seeds = sorted(set(findings.results.plan.runs["seed"]))
    rows = [
        [
            arm,
            *(cells.get((arm, seed), "missing") for seed in seeds),
            numerals.percent(mean),
            numerals.percent(sd),
        ]
        for arm, mean, sd in zip(table["arm"], table["mean"], table["sd"], strict=True)
    ]
    if primary is not None:
        known = dict(zip(primary.pairs["seed"], primary.pairs["difference"], strict=True))
        differences = [numerals.points(known.get(seed)) for seed in seeds]
        spread = numerals.decimal(primary.interval.sd)
        rows.append([f"Δ {primary.name}", *differences, numerals.points(primary.interval.mean), spread])
    rows.insert(0, ["Seed", *map(str, seeds), "mean", "SD"])
    if len(seeds) > _SEEDS_ACROSS:
        rows = [list(column) for column in zip(*rows, strict=True)]
    columns, *body = map(tuple, rows)
    note = "Test accuracy of the selected epoch, %; Δ in pp. Means and SDs leave out failed and pruned runs."
    return Sheet("Accuracy by seed", columns, tuple(body), frozenset(columns[1:]), note=note)


def _cell(row: dict[Any, Any]) -> str:
    outcome = str(row["outcome"])
    if outcome in ("failed", "pruned") or pd.isna(row["accuracy"]):
        return outcome
    return numerals.percent(row["accuracy"]) + ("" if outcome == "trained" else f" ({outcome})")


def _checks(primary: Comparison | None) -> Sheet | None:
    if primary is None:
        return None
    rows = tuple(
        (
            str(row["check"]),
            str(row["n"]),
            numerals.points(row["mean"]),
            numerals.interval(row["lower"], row["upper"]),
            numerals.probability(row["p"]),
            str(row["verdict"]) or numerals.NOTHING,
        )
        for row in primary.checks.to_dict("records")
    )
    columns = ("Check", "n", "Δ, pp", "Interval", "p", "Would read")
    note = "Printed beside the paired t interval; none of these decides."
    return Sheet(f"Sensitivity of {primary.name}", columns, rows, frozenset(columns[1:5]), note=note)


def _arms(findings: Findings) -> Sheet:
    rows = tuple(
        (
            str(row["arm"]),
            str(row["role"]),
            f"{row['n']} of {row['planned']}",
            numerals.percent(row["mean"]),
            numerals.percent(row["sd"]),
            _percent_interval(row["lower"], row["upper"]),
        )
        for row in arm_table(findings).to_dict("records")
    )
    columns = ("Arm", "Role", "Runs", "Mean, %", "SD, pp", "Interval, %")
    level = numerals.level(findings.alpha)
    note = f"Test accuracy with the {level} t interval of each arm alone; differences are paired, above."
    return Sheet("Arms", columns, rows, frozenset(columns[2:]), note=note)


def _percent_interval(lower: float, upper: float) -> str:
    return f"{numerals.percent(lower)} to {numerals.percent(upper)}" if lower <= upper else numerals.NOTHING


def _models(models: pd.DataFrame) -> Sheet:
    columns = (
        "Arm",
        "Role",
        "Parameters",
        "Trainable",
        "Multiply-adds",
        "Memory values",
        "Degrees of freedom",
        "Readers",
        "Updates",
    )
    names = [
        "parameters",
        "trainable_parameters",
        "multiply_adds",
        "memory_values",
        "memory_degrees_of_freedom",
    ]
    rows = tuple(
        (
            str(row["arm"]),
            str(row["role"]),
            *(numerals.whole(None if pd.isna(row[name]) else row[name]) for name in names),
            *(numerals.whole(len(parsed(row[name], []))) for name in ("readers", "updates")),
        )
        for row in models.to_dict("records")
    )
    note = (
        "Multiply-adds of one forward pass per image. Degrees of freedom: distinct values that the memory’s "
        "source can hold. Readers and updates: number of layers that read, and of modules that update."
    )
    return Sheet("Size and cost", columns, rows, frozenset(columns[2:]), note=note)


def _differences(models: pd.DataFrame) -> Sheet:
    rows = [
        (str(arm), *(_text(part) for part in _parts(item)))
        for arm, text in zip(models["arm"], models["differences"], strict=True)
        for item in parsed(text, [])
    ]
    columns = ("Arm", "Option", "Baseline", "This arm")
    return Sheet("What differs from the baseline", columns, tuple(rows))


def _parts(item: Any) -> tuple[Any, Any, Any]:
    """Return key path, baseline's and own value of one difference, written as an object or as a list."""
    values = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else [item]
    key, baseline, own = [*values, None, None, None][:3]
    return key, baseline, own


def _text(value: Any) -> str:
    return numerals.NOTHING if value is None else value if isinstance(value, str) else json.dumps(value)


def parsed(text: Any, otherwise: Any) -> Any:
    """Return the JSON in a cell; `otherwise` where it is empty or no JSON."""
    if not isinstance(text, str):
        return otherwise
    try:
        return json.loads(text)
    except ValueError:
        return otherwise


def _outcomes(findings: Findings) -> Sheet:
    kinds = ["trained", "at chance", "diverged", "failed", "pruned"]
    missing = findings.results.missing["arm"].value_counts()
    rows = tuple(
        (
            str(row["arm"]),
            *(str(row[kind]) for kind in kinds),
            str(int(missing.get(str(row["arm"]), 0))),
            numerals.probability(row["fisher_p"]),
        )
        for row in findings.failures.to_dict("records")
    )
    columns = ("Arm", *(kind.capitalize() for kind in kinds), "Missing", "p, Fisher")
    note = (
        "At chance: the exact one-sided 99 % lower bound (Clopper–Pearson) of the accuracy does not exceed "
        "1 / classes. Diverged runs and runs at chance are outcomes and stay in every comparison; Fisher’s "
        "exact test compares their share with the baseline’s. Failed, pruned and missing runs leave their "
        "pair incomplete."
    )
    return Sheet("Outcomes", columns, rows, frozenset(columns[1:]), note=note)


def _troubled(findings: Findings) -> Sheet:
    trials = findings.results.trials.merge(findings.judged[["run_id", "outcome", "lower_bound"]], on="run_id")
    rows = tuple(
        (row["arm"], str(row["seed"]), row["outcome"], _reason(row), row["run_id"])
        for row in trials[trials["outcome"] != "trained"].to_dict("records")
    )
    return Sheet(
        "Runs that failed or did not train",
        ("Arm", "Seed", "Outcome", "Reason", "Run"),
        rows,
        frozenset({"Seed"}),
    )


def _reason(row: dict[Any, Any]) -> str:
    if isinstance(row["reason"], str):
        return row["reason"]
    if row["outcome"] == "at chance":
        bound = numerals.percent(row["lower_bound"])
        return f"lower bound of the accuracy {bound} %, guessing {numerals.percent(1 / row['classes'])} %"
    return numerals.NOTHING


def _missing(findings: Findings) -> Sheet:
    rows = tuple((r["arm"], str(r["seed"]), r["run_id"]) for r in findings.results.missing.to_dict("records"))
    note = "Planned, without any row: not started yet, or still running."
    return Sheet("Missing runs", ("Arm", "Seed", "Run"), rows, frozenset({"Seed"}), note=note)


def _stale(stale: pd.DataFrame) -> Sheet:
    rows = tuple((str(r["arm"]), str(r["seed"]), str(r["status"]), r["run_id"]) for r in stale.to_dict("records"))
    note = "Rows of runs that are no longer in the plan; nothing above uses them."
    return Sheet("Stale runs", ("Arm", "Seed", "Status", "Run"), rows, frozenset({"Seed"}), note=note)
