"""What a report says, before it is HTML or Markdown: sentences, tables, figures, provenance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from aimlib.errors import counted
from analysis import number_format
from analysis.findings.deviations import Deviation
from analysis.findings.study import Findings
from analysis.looks import Looks
from analysis.plan import Arm
from analysis.report.figures import ReportFigure, drawn_figures
from analysis.report.methods import methods
from analysis.report.tables.contents import text_tables
from analysis.report.tables.table import Table, parsed
from analysis.results import Results
from analysis.statistics import Comparison


@dataclass(frozen=True)
class Section:
    """A part of the report after the verdict: names of its tables and figures, those that are there."""

    name: str
    title: str
    tables: tuple[str, ...]
    figures: tuple[str, ...]


_SECTIONS = (
    Section("comparisons", "Comparisons", ("comparisons", "gates", "seeds"), ("slopegraph", "path")),
    Section("attribution", "Attribution", ("attribution", "interactions"), ("waterfall",)),
    Section("audit", "Audit", ("audit",), ()),
    Section("sensitivity", "Sensitivity", ("checks",), ("patience", "variance", "classes")),
    Section("curves", "Curves", (), ("curves", "by_epoch")),
    Section("search", "Search", ("winners",), ("budget", "winners")),
    Section("runs", "All runs", ("arms", "outcomes"), ("strip",)),
    Section("models", "Models", ("models", "differences"), ("capacity",)),
    Section("power", "Power", (), ("power",)),
    Section("trouble", "What went wrong", ("troubled", "missing", "stale"), ()),
)
"""In the order of the report; one without content is left out, but for the last."""


@dataclass(frozen=True)
class Document:
    """The content of a report.

    Attributes
    ----------
    question : what the study asks of its claim.
    headline : the verdict in one sentence.
    tone : ``decided``, ``open`` or ``none``: whether the headline carries a stopping verdict.
    remarks : further sentences, the most important first.
    cautions : sentences that limit what may be concluded.
    facts : (term, text) pairs on claim, scope and design.
    sections : what comes after the verdict, in order.
    methods, references : paragraphs to paste into a paper, and what they cite.
    provenance : (term, values) pairs, each value with the number of runs it holds for.
    tracebacks : (arm, seed, text) of failed runs.
    """

    title: str
    question: str
    headline: str
    tone: str
    remarks: tuple[str, ...]
    cautions: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    figures: dict[str, ReportFigure]
    tables: dict[str, Table]
    sections: tuple[Section, ...]
    methods: tuple[str, ...]
    references: tuple[str, ...]
    provenance: tuple[tuple[str, tuple[str, ...]], ...]
    tracebacks: tuple[tuple[str, str, str], ...]


def compose(findings: Findings) -> Document:
    """Return the content of the report on a study."""
    primary = findings.primary
    decided = primary is not None and primary.verdict.decided
    stops = primary is not None and primary.verdict.stops
    runs = findings.results.runs
    failed = runs[runs["traceback"].notna()]
    made, drawn = text_tables(findings), drawn_figures(findings)
    paragraphs, cited = methods(findings)
    return Document(
        title=findings.results.plan.name,
        question=_question(findings),
        headline=findings.headline,
        tone="decided" if stops else "open" if decided else "none",
        remarks=tuple(remarks(findings)),
        cautions=tuple(cautions(findings)),
        facts=tuple(facts(findings)),
        figures=drawn,
        tables=made,
        sections=tuple(_present(made, drawn)),
        methods=paragraphs,
        references=cited,
        provenance=tuple(_provenance(findings)),
        tracebacks=tuple((r["arm"], str(r["seed"]), r["traceback"]) for r in failed.to_dict("records")),
    )


def _question(findings: Findings) -> str:
    """Return which of the two headlines of a claim the study is about."""
    protocol = findings.results.plan.scope.protocol
    if protocol in ("as_run", "as_described"):
        return "Does the reported gap come back? That says whether, not why."
    if protocol == "controlled" and findings.family.treatment is not None:
        return "Does memory cause a gain, all else equal?"
    return ""


def _present(made: dict[str, Table], drawn: dict[str, ReportFigure]) -> Iterator[Section]:
    """Yield every section with the tables and figures that are there."""
    for section in _SECTIONS:
        names = tuple(name for name in section.tables if name in made)
        figures = tuple(name for name in section.figures if name in drawn)
        if names or figures or section.name == "trouble":
            yield Section(section.name, section.title, names, figures)


def remarks(findings: Findings) -> list[str]:
    """Return further sentences beside the verdict, the most important first."""
    primary = findings.primary
    if primary is None or primary.interval.n == 0:
        return []
    causal = findings.causal
    treatment = next((arm for arm in findings.results.plan.arms if arm.name == findings.family.treatment), None)
    if (
        treatment is not None
        and _updates(treatment)
        and not any(gate.role == "permuted" for gate in findings.family.gates)
    ):
        causal += (
            " Its memory depends on the image, and no arm reads the memory of another image: whether the right one "
            "matters is not asked."
        )
    return [*_compatibility(primary), *_outlook(primary), *([causal] if causal else [])]


def _updates(arm: Arm) -> bool:
    """Tell whether an arm's memory is rewritten from features of the image."""
    model = arm.config.get("model") or {}
    update = model.get("update") or {}
    return bool(model.get("memory")) and update.get("name", "none") != "none"


def _compatibility(primary: Comparison) -> list[str]:
    low, high = primary.interval.prediction
    if primary.interval.n < 2 or not primary.reported:
        return []
    fits = {source: low <= gain <= high for source, gain in primary.reported.items()}
    gains = [f"{number_format.points(gain)} pp ({source})" for source, gain in primary.reported.items()]
    words = {True: "is compatible", False: "is not compatible"}
    if len(set(fits.values())) == 1:
        said = f"{number_format.listing(gains)}, {words[next(iter(fits.values()))]}"
    else:
        said = number_format.listing([f"{gain} {words[fit]}" for gain, fit in zip(gains, fits.values(), strict=True)])
    return [
        f"The one reported pair of runs, {said} with these: one further pair would fall between "
        f"{number_format.points(low)} and {number_format.points(high)} pp "
        f"({number_format.level(primary.interval.alpha)})."
    ]


def _outlook(primary: Comparison) -> list[str]:
    if primary.needed is None:
        return []
    planned = "no look is left in the plan"
    if primary.next_look is not None:
        planned = f"the next look is planned after {primary.next_look} pairs"
    if primary.needed.reachable:
        return [f"Pairs to add until a stopping verdict is to be expected: {primary.needed.text}; {planned}."]
    return ["More pairs cannot stop the study: there is no reported size to hold a gain above δ against."]


_ALIKE = (
    ("epochs_planned", "the number of epochs", ""),
    ("selection", "the rule that chooses the epoch", ""),
    ("test_images", "the number of test images", ""),
    ("git_commit", "the commit that computed them", ", so in more than their configuration"),
)
"""Columns that all arms should share."""


def _unequal(results: Results) -> list[str]:
    """Return what makes runs less alike than a fixed design has them."""
    cautions = []
    runs = results.runs
    for column, what, of in _ALIKE:
        if runs[column].nunique() < 2:
            continue
        by_arm = runs[runs[column].notna()].groupby("arm", sort=False)[column].agg(lambda values: sorted(set(values)))
        if len({tuple(values) for values in by_arm}) > 1:
            each = "; ".join(
                f"{arm}: {number_format.listing([str(v) for v in values])}" for arm, values in by_arm.items()
            )
            cautions.append(f"Arms differ in {what}{of}: {each}.")
    known = runs[(runs["status"] == "finished") & runs["test_loss"].notna()]
    copies = known[known.duplicated(["arm", "test_loss", "test_accuracy"], keep=False)]
    for arm, rows in copies.groupby("arm", sort=False):
        seeds = number_format.listing([str(seed) for seed in rows["seed"]])
        cautions.append(f"{arm}: seeds {seeds} have the same accuracy and loss to the last digit: are they seeds?")
    machines = results.runs[["device", "device_name", "threads"]].drop_duplicates()
    if len(machines) > 1:
        kinds = "; ".join(f"{row.device}, {row.device_name}, {row.threads} threads" for row in machines.itertuples())
        cautions.append(f"Runs were computed on unlike devices or numbers of threads, which adds noise: {kinds}.")
    return cautions


def cautions(findings: Findings) -> list[str]:
    """Return the sentences that limit what may be concluded."""
    results, judged = findings.results, findings.judged
    found = ["Outside the scope of the claim: " + "; ".join(findings.reasons) + "."] if findings.proxy else []
    if findings.claim is not None and findings.claim.delta_pp != results.plan.delta_pp:
        own, declared = (number_format.decimal(d) for d in (results.plan.delta_pp, findings.claim.delta_pp))
        found.append(f"The study’s smallest effect of interest is {own} pp, the claim file’s {declared} pp.")
    oracle = int(results.runs["selection_oracle"].fillna(False).sum())
    if oracle:
        found.append(f"In {counted(oracle, 'run')} the reported epoch was chosen on test data.")
    found += [f"Exploratory: {_whom(deviation)}{deviation.text}." for deviation in findings.deviations]
    found += _unequal(results)
    if findings.primary is not None and findings.primary.beyond:
        beyond = findings.primary.beyond
        pairs = counted(beyond, "complete pair")
        shown = "is shown and decides" if beyond == 1 else "are shown and decide"
        look = "the look that decides" if findings.primary.verdict.stops else "the last look"
        found.append(f"{pairs} beyond {look} {shown} nothing.")
    for row in findings.failures.to_dict("records"):
        if row["not_trained"]:
            among = counted(row["judged"], "run")
            found.append(f"{row['arm']}: {row['not_trained']} of {among} did not train.")
    if findings.primary is not None and findings.primary.interval.n > 1 and findings.photos is None:
        found.append(
            "No interval for new photos: fewer than two pairs have predictions of the same, listed test images."
        )
    failed = int((judged["outcome"] == "failed").sum())
    if failed:
        again = "“ablate run” tries again with the same seed" + ("s" if failed > 1 else "")
        found.append(f"{counted(failed, 'run')} failed; {again}.")
    if len(results.missing):
        planned = counted(len(results.plan.runs), "planned run")
        found.append(f"{len(results.missing)} of {planned}: no result yet.")
    if len(results.stale):
        found.append(f"{counted(len(results.stale), 'row')} of runs outside the plan are left out.")
    return found


def _whom(deviation: Deviation) -> str:
    return f"comparisons of {number_format.listing(sorted(deviation.arms))}, for " if deviation.arms else ""


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Return (term, text) pairs on claim, scope and design."""
    plan = findings.results.plan
    scope = plan.scope
    arms, seeds = counted(len(plan.arms), "arm"), counted(len(plan.seeds), "seed")
    return [
        *_claim_facts(findings),
        (
            "This study",
            f"data set {scope.dataset}, {scope.classes} classes, {scope.image_size} px, "
            f"backbone {scope.backbone}, protocol {scope.protocol}",
        ),
        ("Smallest effect of interest δ", f"{number_format.decimal(plan.delta_pp)} pp"),
        ("Design", f"{arms} × {seeds}, {counted(len(plan.runs), 'run')} planned, paired by seed"),
        ("Looks", _looks(plan.looks)),
        ("Analysis plan", _freeze(findings)),
    ]


def _looks(looks: Looks) -> str:
    """Return when the verdict is read, and at which level."""
    if len(looks.numbers) == 1:
        return f"one, after {looks.numbers[0]} pairs: paired t interval, {number_format.level(looks.levels[0])}"
    return (
        f"{looks.text} of the paired t interval, so that all looks together err in at most "
        f"{number_format.decimal(100 * looks.alpha)} %"
    )


def _freeze(findings: Findings) -> str:
    found = findings.results.frozen
    if found is None:
        return "not frozen"
    agreed = "departed from, see above" if findings.deviations else "followed"
    return f"frozen {found.at:%Y-%m-%d %H:%M:%S} UTC, SHA-256 {found.sha256}, {agreed}"


def _claim_facts(findings: Findings) -> list[tuple[str, str]]:
    claim = findings.claim
    if claim is None:
        return [("Claim", "none named")]
    gains = ", ".join(f"{number_format.points(gain)} pp ({source})" for source, gain in claim.gains_pp.items())
    return [
        ("Claim", f"{claim.statement} ({claim.source})"),
        ("Reported gain r", gains + ("; not applicable here" if findings.proxy else "")),
    ]


def _provenance(findings: Findings) -> list[tuple[str, tuple[str, ...]]]:
    results, runs = findings.results, findings.results.runs
    commit = runs["git_commit"].fillna("outside a checkout")
    dirty = (", with uncommitted changes " + runs["git_dirty"]).fillna("")
    device = runs["device"].fillna("?") + ": " + runs["device_name"].fillna("?")
    rows = [
        ("Plan written", (results.plan.created_at,)),
        ("Package that planned", (f"aim-ablations {results.plan.package_version}",)),
        ("Code", _with_counts(commit + dirty)),
        ("Libraries", _with_counts(runs["versions"].map(_listed))),
        ("Plugins", _plugins(runs["plugins"])),
        ("Device", _with_counts(device)),
        ("CPU threads", _with_counts(runs["threads"])),
        ("Host", _with_counts(runs["host"])),
        ("Data fingerprint, plan", (results.plan.scope.data_fingerprint,)),
        ("Data fingerprint, runs", _with_counts(runs["data_fingerprint"])),
        ("Selection rule", _with_counts(runs["selection"])),
        ("Schema version", _with_counts(runs["schema_version"])),
        ("Runs started", _span(runs["started_at"])),
        ("Rows written", _span(runs["finished_at"])),
        ("Wall time, summed", (f"{number_format.decimal(runs['seconds'].sum() / 3600)} h",)),
    ]
    return [(term, values) for term, values in rows if values]


def _with_counts(values: pd.Series) -> tuple[str, ...]:
    counts = values.dropna().astype("str").value_counts(sort=False).sort_index()
    if len(counts) == 1 and counts.iloc[0] == len(values):
        return (str(counts.index[0]),)
    return tuple(f"{value} ({counted(int(number), 'run')})" for value, number in counts.items())


def _plugins(column: pd.Series) -> tuple[str, ...]:
    """Return every distribution with the components that any run took from it."""
    origins: dict[str, set[str]] = {}
    for text in column.dropna().unique():
        for name, distribution in parsed(text, {}).items():
            origins.setdefault(str(distribution), set()).add(str(name))
    return tuple(f"{distribution}: {', '.join(sorted(names))}" for distribution, names in sorted(origins.items()))


def _listed(text: object) -> str | None:
    found = parsed(text, None)
    if isinstance(found, dict):
        return ", ".join(f"{name} {value}" for name, value in sorted(found.items()))
    return text if isinstance(text, str) else None


def _span(times: pd.Series) -> tuple[str, ...]:
    known = times.dropna()
    if known.empty:
        return ()
    return (f"{known.min():%Y-%m-%d %H:%M} to {known.max():%Y-%m-%d %H:%M} UTC",)
