"""The report is complete, escaped and deterministic, and states what is missing."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from synthetic_study import ARMS, SCOPE, FakeArm, FakeStudy, write_study

import analysis
from aimlib.errors import StoreError, UsageError
from aimlib.records.escaping import markdown
from analysis.report.content import compose

HOSTILE = [
    FakeArm("<script>alert('base')</script>", "baseline", 0.15),
    FakeArm(']]> --> " onload="alert(1)', "aim", 0.19),
    FakeArm("../../etc/passwd | `x` [l](javascript:alert(1))", "other", 0.17),
]
ORDER = (
    "aim scores",
    "Differences between arms.",
    "All differences",
    "Accuracy by seed",
    "Accuracy by arm, seed by seed.",
    "The claim, statement by statement",
    "Sensitivity of aim − baseline",
    "Accuracy by epoch.",
    "All runs.",
    "Size and cost",
    "What went wrong Runs",
    "Provenance Plan",
    "Methods We trained 4 arms",
)
TABLES = [
    "arms",
    "audit",
    "classes",
    "columns",
    "comparisons",
    "gates",
    "looks",
    "missing",
    "models",
    "outcomes",
    "pairing",
    "pairs",
    "runs",
    "sensitivity",
    "stale",
]
FIGURES = ["by_epoch", "capacity", "classes", "curves", "forest", "patience", "path", "power", "slopegraph", "strip"]
FIGURES += ["variance"]
LATEX = ["arms", "audit", "checks", "comparisons", "differences", "gates", "missing", "models", "outcomes", "pairing"]
LATEX += ["seeds", "troubled"]
VOID = {"meta", "br", "link", "img", "hr", "input", "use", "path"}


class Page(HTMLParser):
    """Collects the tags and attributes in a page; refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A study with two arms, and its report."""
    study = FakeStudy([ARMS[0], ARMS[3]], list(range(5)))
    directory = write_study(tmp_path_factory.mktemp("plain"), study, np.random.default_rng(0))
    analysis.report(directory)
    return directory


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return a study whose names and title contain markup that must not take effect, and its report."""
    status = {(HOSTILE[2].name, 1): "failed"}
    study = FakeStudy(
        HOSTILE, list(range(5)), status=status, name="<img src=x onerror=alert(2)>", failure="rings \x07 a bell"
    )
    directory = write_study(tmp_path_factory.mktemp("hostile"), study, np.random.default_rng(0))
    analysis.report(directory)
    return directory


def read(directory):
    return (directory / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
def test_a_complete_report_has_all_parts(make_study):
    status = {("matched", 2): "chance", ("aim", 3): "diverged", ("frozen", 1): "failed", ("frozen", 4): "missing"}
    directory = make_study(status=status, epochs=9)
    path = analysis.report(directory)
    assert path == directory / "report" / "report.html"
    page = Page(read(directory))
    text = page.text[page.text.index("aim scores") :]  # below the table of contents, which contains the same names
    order = [text.index(words) for words in ORDER]
    assert order == sorted(order)
    for words in ("CUDA out of memory", "loss is not finite", "Missing runs", "torch 2.7.0", "50 176"):
        assert words in page.text
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 11
    names = sorted(p.relative_to(directory / "report").as_posix() for p in (directory / "report").rglob("*.*"))
    figures = [f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png", "csv")]
    tables = [f"tables/{name}.csv" for name in TABLES]
    latex = [f"latex/{name}.tex" for name in LATEX]
    assert names == sorted([*figures, *tables, *latex, "checklist.md", "report.html", "report.json", "report.md"])


def test_the_page_is_self_contained_and_reachable_by_keyboard(plain):
    text, page = read(plain), Page(read(plain))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/[\w/.]+", "", text)
    targets = {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")}
    targets |= {value[1:] for name, value in page.attributes if name == "xlink:href" and value.startswith("#")}
    assert targets <= set(page.ids)
    scrolling = sum(1 for name, value in page.attributes if (name, value) == ("class", "scroll"))
    assert scrolling == sum(1 for name, value in page.attributes if (name, value) == ("tabindex", "0"))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_all_numbers_are_also_in_json_and_csv_files(plain):
    directory = plain
    numbers = json.loads((directory / "report" / "report.json").read_text(encoding="utf-8"))
    findings = analysis.examine(analysis.load(directory))
    row = numbers["tables"]["comparisons"][0]
    assert row["lower"] == findings.primary.interval.lower
    assert numbers["headline"] == findings.headline
    assert numbers["in_scope"] is True
    table = pd.read_csv(directory / "report" / "tables" / "pairs.csv")
    assert table["difference"].tolist() == pytest.approx(findings.primary.pairs["difference"].tolist())
    runs = pd.read_csv(directory / "report" / "tables" / "runs.csv")
    assert list(runs["outcome"]) == ["trained"] * 10


def test_the_same_results_give_the_same_bytes(plain, tmp_path):
    first, second = plain / "report", tmp_path / "second"
    analysis.report(plain, out=str(second))
    files = [p.relative_to(first) for p in first.rglob("*.*")]
    assert len(files) > 15
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_hostile_names_and_reasons_are_shown_as_text(hostile):
    directory = hostile
    page = Page(read(directory))
    assert not {"script", "img", "passwd"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert('base')</script>" in page.text
    assert '" onload="alert(1)' in page.text
    assert "rings \ufffd a bell" in page.text
    assert "\x07" not in read(directory), "names cannot contain one, but the reason for a failure can"
    markdown = (directory / "report" / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "[l](javascript" not in markdown
    with (directory / "report" / "tables" / "runs.csv").open(newline="", encoding="utf-8") as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {arm.name for arm in HOSTILE}


def test_markdown_tables_keep_their_columns(hostile):
    lines = (hostile / "report" / "report.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in rows]
    starts = [i for i, line in enumerate(rows) if set(line) <= set("|-: ")]
    assert len(starts) >= 5
    for start, end in zip(starts, [*(s - 1 for s in starts[1:]), len(rows)], strict=True):
        assert len(set(widths[start - 1 : end])) == 1


def test_markdown_is_escaped():
    assert markdown("a|b\nc <d> & `e` [f](g)") == r"a\|b c &lt;d&gt; &amp; \`e\` \[f\](g)"


@pytest.mark.usefixtures("undrawn")
def test_the_report_on_a_proxy_starts_with_the_scope(make_study):
    directory = make_study([ARMS[0], ARMS[3]], seeds=5, scope={**SCOPE, "dataset": "digits"})
    document = compose(analysis.examine(analysis.load(directory)))
    assert document.headline.startswith("Proxy: does not test the claim. aim scores")
    assert document.cautions[0] == "Outside the scope of the claim: data set digits, not stanford_dogs."
    assert (document.figures["curves"].summary["kind"] != "reported").all()
    assert document.tone == "open"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("what", ["nothing", "one arm", "all failed"])
def test_reports_can_be_written_with_few_results(make_study, what):
    if what == "nothing":
        status = {(arm.name, seed): "missing" for arm in ARMS for seed in range(2)}
        directory = make_study(seeds=2, status=status, models=False, write_images=False)
        expected = "None of 8 planned runs has a result yet, so no conclusion is possible."
    elif what == "one arm":
        directory = make_study([ARMS[0]], seeds=1)
        expected = "No verdict: the study has no arm with the role treatment."
    else:
        directory = make_study(seeds=2, status={(arm.name, seed): "failed" for arm in ARMS for seed in range(2)})
        expected = "None of 8 planned runs has a result yet, so no conclusion is possible."
    analysis.report(directory)
    assert expected in Page(read(directory)).text


@pytest.mark.usefixtures("undrawn")
def test_a_second_report_replaces_the_first(make_study):
    directory = make_study([ARMS[0]], seeds=1, status={("baseline", 0): "missing"})
    analysis.report(directory)
    stray = directory / "report" / "figures" / "old.png"
    stray.touch()
    kept = directory / "report" / "notes.txt"
    kept.touch()
    analysis.report(directory)
    assert not stray.exists()
    assert kept.exists()


def test_the_cause_of_a_failed_report_is_stated(make_study, tmp_path):
    directory = make_study([ARMS[0]], seeds=1, claim="stanford_dgs_aim", frozen="")
    with pytest.raises(UsageError, match="did you mean 'stanford_dogs_aim'"):
        analysis.report(directory)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match="cannot be written"):
        analysis.report(make_study([ARMS[0]], seeds=1, status={("baseline", 0): "missing"}), out=blocked)


@pytest.mark.parametrize("protocol", ["as_run", "as_run_exact", "as_described"])
def test_a_study_with_the_reported_pair_asks_whether_the_gap_can_be_reproduced(make_study, protocol, undrawn):
    directory = make_study(scope={**SCOPE, "protocol": protocol})
    assert compose(analysis.examine(analysis.load(directory))).question.startswith("Is the reported gap reproduced?")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("seeds", [48, 49, 60])
def test_a_report_on_many_seeds_states_where_all_seeds_are_listed(make_study, seeds):
    directory = make_study([*ARMS[:2]], seeds=seeds, looks=[seeds], epochs=1)
    analysis.report(directory)
    text = (directory / "report" / "report.md").read_text(encoding="utf-8")
    assert ("All rows: [tables/runs.csv](tables/runs.csv)" in text) == (seeds > 48)
