"""The tables behind a report: frames with every number, as written to the CSV files and report.json."""

from __future__ import annotations

import pandas as pd

from analysis.findings.study import Findings
from analysis.reading import frames
from analysis.reading.query import summarise
from analysis.report.sweeps import Sweep, sweep
from analysis.statistics import comparison_table
from analysis.statistics.attribution import interactions
from analysis.statistics.attribution import table_of as attribution_table
from analysis.statistics.pairing_gain import pairing_table
from analysis.statistics.searches import winners
from analysis.statistics.variance_sources import source_table


def table_frames(findings: Findings, found: Sweep | None = None) -> dict[str, pd.DataFrame]:
    """Return every table by the stem of its CSV file."""
    results = findings.results
    found = found or sweep(findings)
    return {
        "comparisons": comparison_table(findings.family.comparisons),
        "pairs": _long(findings, "pairs"),
        "sensitivity": _sensitivity(findings),
        "gates": gate_table(findings),
        "arms": arm_table(findings),
        "outcomes": findings.failures,
        "runs": _runs(findings),
        "models": results.models,
        "looks": look_table(findings),
        "missing": results.missing,
        "stale": results.stale,
        **({"ranking": _as_stored(found)} if len(found.ranking) else {}),
        **({"effects": found.effects} if len(found.effects) else {}),
        **_further(findings),
    }


_ROWS, _CHARACTERS = 1000, 300_000
"""A table with more rows or characters than this is compressed, and report.json contains the name of its file instead.
"""


def is_long(frame: pd.DataFrame) -> bool:
    """Return whether a table is so long that its file is compressed."""
    if len(frame) > _ROWS:
        return True
    text = frame.select_dtypes(["object", "str"])
    return sum(int(text[name].str.len().sum()) for name in text.columns) > _CHARACTERS


def csv_name(stem: str, frame: pd.DataFrame) -> str:
    """Return the name of a table's CSV file. Long files are compressed; pandas, R and DuckDB can read them directly."""
    return f"{stem}.csv.gz" if is_long(frame) else f"{stem}.csv"


def _as_stored(found: Sweep) -> pd.DataFrame:
    """Return a ranking with means as stored, so accuracies are fractions as in the other tables."""
    scale, ranking = found.measure.scale, found.ranking
    return ranking.assign(mean=ranking["mean"] / scale, sd=ranking["sd"] / scale)


def _further(findings: Findings) -> dict[str, pd.DataFrame]:
    """Return the tables that only some studies have."""
    found: dict[str, pd.DataFrame] = {}
    if len(findings.audit):
        found["audit"] = findings.audit
    if findings.attributions:
        found["attribution"] = attribution_table(findings.attributions)
        found["interactions"] = interactions(findings.runs_of_look, findings.results.plan)
    if findings.pairing is not None:
        found["pairing"] = pairing_table(findings.pairing)
    if findings.variance_sources:
        found["variance_sources"] = source_table(findings.variance_sources)
    if findings.photos is not None:
        found["classes"] = findings.photos.classes
    if findings.screening is not None:
        found["winners"] = winners(findings.tried, findings.results.runs)
        if len(findings.results.importances):
            found["importances"] = findings.results.importances
    return found


def look_table(findings: Findings) -> pd.DataFrame:
    """Return the comparison, pairs, n, mean, lower, upper, alpha, p and verdict of every look taken."""
    rows = [
        (c.name, look.pairs, i.n, i.mean, i.lower, i.upper, i.alpha, look.p, look.verdict.text)
        for c in findings.family.comparisons
        for look in c.looks
        for i in (look.interval,)
    ]
    types = {"comparison": "str", "pairs": "int64", "n": "int64"}
    types |= dict.fromkeys(("mean", "lower", "upper", "alpha", "p"), "float64") | {"verdict": "str"}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _sensitivity(findings: Findings) -> pd.DataFrame:
    """Return the checks of every comparison; checks that need predictions are only those of the primary comparison."""
    primary = findings.primary
    parts = [
        (findings.checks if c is primary else c.checks).assign(comparison=c.name) for c in findings.family.comparisons
    ]
    return _stacked(parts)


def _long(findings: Findings, attribute: str) -> pd.DataFrame:
    parts = [getattr(c, attribute).assign(comparison=c.name) for c in findings.family.comparisons]
    return _stacked(parts)


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"comparison": pd.Series([], dtype="str")})
    return frame[["comparison", *(name for name in frame if name != "comparison")]]


def gate_table(findings: Findings) -> pd.DataFrame:
    """Return the role, question, comparison and state of every gate."""
    rows = [(g.role, g.question, g.comparison, g.state) for g in findings.family.gates]
    return pd.DataFrame(rows, columns=["role", "question", "comparison", "state"], dtype="str")


def arm_table(findings: Findings) -> pd.DataFrame:
    """Return the role, planned, runs, n, and the stored measure's mean, sd and t interval for each arm of the plan."""
    plan = findings.results.plan
    runs = findings.results.runs
    counted = runs[runs["status"].isin(["finished", "diverged"])]
    found = summarise(counted, ["arm"], value=findings.measure.column, alpha=findings.alpha).set_index("arm")
    frame = pd.DataFrame({"arm": [a.name for a in plan.arms], "role": [a.role for a in plan.arms]}, dtype="str")
    frame["planned"] = frame["arm"].map(plan.runs["arm"].value_counts()).fillna(0).astype("int64")
    for name in ("runs", "n"):
        frame[name] = frame["arm"].map(found[name]).fillna(0).astype("int64")
    for name in ("mean", "sd", "lower", "upper"):
        frame[name] = frame["arm"].map(found[name]).astype("float64")
    return frame


def _runs(findings: Findings) -> pd.DataFrame:
    """Return the runs with their outcomes."""
    judged = findings.judged.set_index("run_id")[["lower_bound", "chance", "outcome"]]
    columns = [column.name for column in frames.TABLES["runs"] if column.name != "traceback"]
    columns += [findings.measure.column] if findings.measure.column not in columns else []
    return findings.results.runs[columns].join(judged, on="run_id")
