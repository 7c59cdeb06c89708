"""What a study was and where its rows come from: claim, scope, design, software and machines."""

from __future__ import annotations

import pandas as pd

from aimlib.errors import counted
from aimlib.records import SETTLED
from analysis.findings.study import Findings
from analysis.looks import Looks
from analysis.reading.frames import parsed_json
from analysis.report import training_code
from analysis.statistics.paired import complete
from analysis.wording import number_format
from analysis.wording.study_words import what


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Return (term, text) pairs on the claim, the scope and the design."""
    plan = findings.results.plan
    scope = plan.scope
    # A study of something other than memory does not follow a named protocol, unless its arms say so.
    protocol = "" if plan.what is not None and scope.protocol == "custom" else f", protocol {scope.protocol}"
    arms, seeds = counted(len(plan.arms), "arm"), counted(len(plan.seeds), "seed")
    return [
        *_claim_facts(findings),
        (
            "This study",
            f"data set {scope.dataset}, {scope.classes} classes, {scope.image_size} px, "
            f"{training_code.network_words(plan)}{protocol}",
        ),
        *([] if plan.measure.is_accuracy else [("Measure", f"{plan.measure.words}; {plan.measure.better} is better")]),
        ("Smallest effect of interest δ", plan.measure.margin(plan.delta_pp)),
        ("Design", f"{arms} × {seeds}, {counted(len(plan.runs), 'run')} planned, paired by seed"),
        ("Looks", _looks(plan.looks)),
        *_decided(findings),
        ("Analysis plan", _freeze(findings)),
    ]


def _looks(looks: Looks) -> str:
    """Return after how many pairs a verdict is allowed, and at which confidence level."""
    if looks.anytime:
        return (
            f"{looks.text}, from a t confidence sequence (Gaussian mixture of width {looks.mixture_width:g}), so the "
            f"overall error rate across all numbers of pairs is at most {number_format.decimal(100 * looks.alpha)} %"
        )
    if len(looks.numbers) == 1:
        return f"one look, after {looks.numbers[0]} pairs: paired t interval, {number_format.level(looks.levels[0])}"
    return (
        f"{looks.text} of the paired t interval, so the overall error rate across all looks is at most "
        f"{number_format.decimal(100 * looks.alpha)} %"
    )


def _decided(findings: Findings) -> list[tuple[str, str]]:
    """Return the look on which the verdict is based, if further pairs were computed after that look."""
    primary = findings.primary
    if primary is None or not primary.verdict.decided:
        return []
    later = len(complete(primary.pairs)) - primary.interval.n
    if later <= 0:
        return []
    said = f"the look after {counted(primary.interval.n, 'pair')}; {counted(later, 'later pair')} did not count"
    return [("Verdict from", said)]


def _freeze(findings: Findings) -> str:
    found = findings.results.frozen
    if found is None:
        return "not frozen"
    agreed = "not followed in every respect; see the verdict for the deviations" if findings.deviations else "followed"
    return f"frozen {found.at:%Y-%m-%d %H:%M:%S} UTC, SHA-256 {found.sha256}, {agreed}"


def _claim_facts(findings: Findings) -> list[tuple[str, str]]:
    claim = findings.claim
    if claim is None:
        return [
            ("Claim", "none named")
            if findings.results.plan.what is None
            else ("Under study", what(findings.results.plan))
        ]
    gains = ", ".join(f"{number_format.points(gain)} pp ({source})" for source, gain in claim.gains_pp.items())
    return [
        ("Claim", f"{claim.statement} ({claim.source})"),
        ("Reported gain r", gains + ("; not applicable here" if findings.proxy else "")),
    ]


def provenance(findings: Findings) -> list[tuple[str, tuple[str, ...]]]:
    """Return (term, values) pairs; a value that not all runs share is followed by the number of runs that have it."""
    results, runs = findings.results, findings.results.runs
    commit = runs["git_commit"].fillna("outside a checkout")
    dirty = (", with uncommitted changes " + runs["git_dirty"]).fillna("")
    device = runs["device"].fillna("?") + ": " + runs["device_name"].fillna("?")
    rows = [
        ("Plan written", (results.plan.created_at,)),
        ("Planning package", (f"aim-ablations {results.plan.package_version}",)),
        ("Code", _with_counts(commit + dirty)),
        ("Libraries", _with_counts(runs["versions"].map(_listed))),
        ("Plugins", _plugins(runs["plugins"])),
        ("Device", _with_counts(device)),
        ("CPU threads", _with_counts(runs["threads"])),
        ("Host", _with_counts(runs["host"])),
        ("Copied from other studies", _copied(runs["reused_from"])),
        ("Data fingerprint (plan)", (results.plan.scope.data_fingerprint,)),
        ("Data fingerprint (runs)", _with_counts(runs["data_fingerprint"])),
        ("Selection rule", _with_counts(runs["selection"])),
        ("Schema version", _with_counts(runs["schema_version"])),
        ("Runs started", _span(runs["started_at"])),
        ("Rows written", _span(runs["finished_at"])),
        ("Ledger head", _ledger(findings)),
        ("Total wall time", (_duration(runs["seconds"].sum()),)),
    ]
    return [(term, values) for term, values in rows if values]


def _duration(seconds: float) -> str:
    """Return a time in the largest unit in which it is at least 1."""
    unit, length = next(((u, n) for u, n in (("h", 3600), ("min", 60)) if seconds >= n), ("s", 1))
    return f"{number_format.decimal(seconds / length)} {unit}"


def _ledger(findings: Findings) -> tuple[str, ...]:
    """Return the ledger's head with the number of settled runs that it covers; empty without a ledger."""
    head, covered = findings.results.ledger_head
    settled = int(findings.results.runs["status"].isin(SETTLED).sum())
    return (f"{head}, which covers {covered} of {counted(settled, 'settled run')}",) if head else ()


def _copied(origins: pd.Series) -> tuple[str, ...]:
    """Return every study from which rows were copied, with the number of rows; empty if no rows were copied."""
    counts = origins.dropna().value_counts(sort=False).sort_index()
    return tuple(f"{origin} ({counted(int(number), 'run')})" for origin, number in counts.items())


def _with_counts(values: pd.Series) -> tuple[str, ...]:
    counts = values.dropna().astype("str").value_counts(sort=False).sort_index()
    if len(counts) == 1 and counts.iloc[0] == len(values):
        return (str(counts.index[0]),)
    return tuple(f"{value} ({counted(int(number), 'run')})" for value, number in counts.items())


def _plugins(column: pd.Series) -> tuple[str, ...]:
    """Return every distribution with those of its components that any run used."""
    origins: dict[str, set[str]] = {}
    for text in column.dropna().unique():
        for name, distribution in parsed_json(text, {}).items():
            origins.setdefault(str(distribution), set()).add(str(name))
    return tuple(f"{distribution}: {', '.join(sorted(names))}" for distribution, names in sorted(origins.items()))


def _listed(text: object) -> str | None:
    found = parsed_json(text, None)
    if isinstance(found, dict):
        return ", ".join(f"{name} {value}" for name, value in sorted(found.items()))
    return text if isinstance(text, str) else None


def _span(times: pd.Series) -> tuple[str, ...]:
    known = times.dropna()
    if known.empty:
        return ()
    return (f"{known.min():%Y-%m-%d %H:%M} to {known.max():%Y-%m-%d %H:%M} UTC",)
