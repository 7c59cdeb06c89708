"""The content of a report, independent of HTML and Markdown: sentences, tables, figures, provenance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.findings.study import Findings
from analysis.report.breadth import many_arms
from analysis.report.cautions import Caution, cautions
from analysis.report.drawings import ReportFigure
from analysis.report.figures import drawn_figures
from analysis.report.methods import methods
from analysis.report.provenance import facts, provenance
from analysis.report.sentences import remarks
from analysis.report.sweeps import answers, sweep
from analysis.report.tables import Table
from analysis.report.tables.contents import text_tables
from analysis.report.tables.frames import csv_name, table_frames
from analysis.wording.study_words import what


@dataclass(frozen=True)
class Section:
    """A part of the report after the verdict, with the names of its tables and figures.

    Attributes
    ----------
    folded : the tables that stay closed until the reader opens them; used for studies with many arms.
    """

    name: str
    title: str
    tables: tuple[str, ...]
    figures: tuple[str, ...]
    folded: frozenset[str] = frozenset()


_SECTIONS = (
    Section("comparisons", "Comparisons", ("comparisons", "gates", "seeds"), ("slopegraph", "path")),
    Section(
        "factors",
        "What each factor does",
        ("effects", "effect_interactions"),
        ("marginal_means", "interaction", "heatmap"),
    ),
    Section("ranking", "Ranking", ("ranking",), ("ranking", "pareto", "parallel_coordinates")),
    Section("attribution", "Attribution", ("attribution", "interactions"), ("waterfall",)),
    Section("audit", "Audit", ("audit",), ()),
    Section("variance_sources", "Variance by source", ("variance_sources",), ("variance_sources",)),
    Section("sensitivity", "Sensitivity", ("checks", "pairing"), ("patience", "variance", "classes")),
    Section("curves", "Curves", (), ("curves", "curves_by_factor", "by_epoch")),
    Section("search", "Search", ("winners", "searched", "importances"), ("budget", "winners")),
    Section("runs", "All runs", ("arms", "outcomes"), ("strip",)),
    Section("models", "Models", ("models", "differences"), ("capacity",)),
    Section("power", "Power", (), ("power",)),
    Section("trouble", "What went wrong", ("troubled", "missing", "stale"), ()),
)
"""Sections in the report's order; those without content are omitted, except the last one."""
_DETAILS = frozenset({"seeds", "arms", "outcomes", "models", "differences", "troubled", "missing", "stale"})
"""Tables that are folded in the report of a study with many arms. The tables behind the verdict are never folded."""


@dataclass(frozen=True)
class Document:
    """The content of a report.

    Attributes
    ----------
    question : the question that the study asks about its claim.
    headline : the verdict in one sentence.
    tone : ``decided``, ``open`` or ``none``: whether the headline carries a stopping verdict.
    remarks : further sentences, the most important first.
    answers : (section, sentence) pairs: what a sweep's ranking and effects show.
    first : what to know before reading the verdict; see `Findings.cautions`.
    limits : further sentences that limit the conclusions, with the arms that the sentences leave out.
    facts : (term, text) pairs on the claim, the scope and the design.
    frames : every table with all its rows, by the stem of its CSV file.
    sections : the parts after the verdict, in order.
    methods, references : paragraphs to paste into a paper, and the works that the paragraphs cite.
    provenance : (term, values) pairs; each value comes with the number of runs to which it applies.
    tracebacks : (arm, seed, text) of failed runs.
    """

    title: str
    question: str
    headline: str
    tone: str
    remarks: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
    first: tuple[str, ...]
    limits: tuple[Caution, ...]
    facts: tuple[tuple[str, str], ...]
    figures: dict[str, ReportFigure]
    tables: dict[str, Table]
    frames: dict[str, pd.DataFrame]
    sections: tuple[Section, ...]
    methods: tuple[str, ...]
    references: tuple[str, ...]
    provenance: tuple[tuple[str, tuple[str, ...]], ...]
    tracebacks: tuple[tuple[str, str, str], ...]

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that limit the conclusions, beginning with those in `first`."""
        return (*self.first, *(limit.text for limit in self.limits))

    def file_of(self, stem: str) -> str:
        """Return the path of a table's CSV file inside the report."""
        return f"tables/{csv_name(stem, self.frames[stem])}"


def compose(findings: Findings) -> Document:
    """Return the content of the report on a study."""
    primary = findings.primary
    decided = primary is not None and primary.verdict.decided
    stops = primary is not None and primary.verdict.stops
    runs = findings.results.runs
    failed = runs[runs["traceback"].notna()]
    found = sweep(findings)
    frames = table_frames(findings, found)
    made, drawn = text_tables(findings, frames, found), drawn_figures(findings, found)
    paragraphs, cited = methods(findings)
    return Document(
        title=findings.results.plan.name,
        question=_question(findings),
        headline=findings.headline,
        tone="decided" if stops else "open" if decided else "none",
        remarks=tuple(remarks(findings)),
        answers=tuple(answers(found)),
        first=findings.cautions,
        limits=tuple(cautions(findings)[len(findings.cautions) :]),
        facts=tuple(facts(findings)),
        figures=drawn,
        tables=made,
        frames=frames,
        sections=tuple(_present(made, drawn, _DETAILS if many_arms(findings) else frozenset())),
        methods=paragraphs,
        references=cited,
        provenance=tuple(provenance(findings)),
        tracebacks=tuple((r["arm"], str(r["seed"]), r["traceback"]) for r in failed.to_dict("records")),
    )


def _question(findings: Findings) -> str:
    """Return the question that the study asks about its claim."""
    protocol = findings.results.plan.scope.protocol
    if protocol in ("as_run", "as_run_exact", "as_described"):
        return "Is the reported gap reproduced? This study shows whether it is, not why."
    if protocol == "controlled" and findings.family.treatment is not None:
        return f"Does {what(findings.results.plan)} cause a gain, all else equal?"
    if findings.results.plan.what is not None and findings.family.treatment is not None:
        return f"Does {what(findings.results.plan)} cause a gain?"
    return ""


def _present(made: dict[str, Table], drawn: dict[str, ReportFigure], folded: frozenset[str]) -> Iterator[Section]:
    """Yield every section with its existing tables and figures."""
    for section in _SECTIONS:
        names = tuple(name for name in section.tables if name in made)
        figures = tuple(name for name in section.figures if name in drawn)
        if names or figures or section.name == "trouble":
            yield Section(section.name, section.title, names, figures, folded.intersection(names))
