"""The overview page: one complete file, safe with any name, and without test accuracies."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from progress_cases import Clock, WatchedStore, document, large, outline, record, row, run_id

from ablations.execution.events import EpochEnded, Notice, RunEnded, RunRetried, RunStarted
from ablations.progress import Progress
from ablations.progress.history import History
from ablations.progress.monitor import watch
from ablations.progress.snapshot import Snapshot, snapshot_of
from ablations.progress.study_state import StudyState
from ablations.progress.views import html, html_content
from aimlib.errors import StoreError
from analysis.figures import palette

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\x1b[31m\u202e'


class Page(HTMLParser):
    """The elements, ids and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Settled(History):
    """A history of settled runs with fixed times."""

    def __init__(self, arms: dict[str, str] | None = None) -> None:
        self.settled, self.failed, self._arms = {}, {}, arms or {}


def drawn(seen: Snapshot, history: History | None = None, report: str | None = None) -> tuple[str, Page]:
    text = html.render(seen, history or Settled(), report, 5.0, now=1e9)
    return text, Page(text)


def hostile() -> Snapshot:
    told = Progress(outline([HOSTILE, "aim"], name=HOSTILE), (), clock=Clock(), totals={HOSTILE: 1.0})
    told.handle(RunStarted(run_id(0), HOSTILE))
    told.handle(EpochEnded(run_id(0), row(1)))
    told.handle(RunEnded(run_id(1), "failed", HOSTILE))
    told.handle(Notice(HOSTILE))
    told.handle(RunStarted(run_id(2), HOSTILE))
    told.handle(RunRetried(run_id(2), HOSTILE, 3))
    seen = snapshot_of(told, arm_curves=True, run_curves=True)
    failures = tuple(replace(failure, traceback=f"{HOSTILE}\n  {HOSTILE}") for failure in seen.failures)
    return replace(seen, failures=failures, alerts=(HOSTILE,))


def test_names_are_shown_as_text() -> None:
    text, found = drawn(hostile())
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert not found.all("img")
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert found.text.count('<img src=x onerror="alert(1)">') >= 7, "the text is shown unchanged wherever it occurs"


def test_the_page_is_a_single_file() -> None:
    text, found = drawn(hostile())
    for tag, attributes in found.tags:
        for name in ("src", "href", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    assert "url(" not in text
    assert "@import" not in text
    policy = next(meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_the_page_is_accessible_with_a_keyboard_and_a_screen_reader() -> None:
    _, found = drawn(hostile())
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for link in found.all("a"):
        assert str(link["href"])[1:] in ids
    for figure in (attributes for _, attributes in found.tags if attributes.get("role") == "img"):
        assert figure.get("aria-label")
    assert all(svg.get("aria-hidden") == "true" for svg in found.all("svg"))
    assert all(attributes.get("scope") for attributes in found.all("th"))
    assert [name for name, _ in found.tags if re.fullmatch(r"h\d", name)][:2] == ["h1", "h2"]
    assert found.all("html")[0]["lang"] == "en"
    assert found.all("button")[0]["aria-pressed"] == "false", "updates can be paused"


def test_the_page_reloads_until_the_study_is_complete() -> None:
    told = Progress(outline(["a"]), (), clock=Clock())
    _, found = drawn(snapshot_of(told))
    assert found.all("body")[0]["data-refresh"] == "5.0"
    assert {"http-equiv": "refresh", "content": "5"} in found.all("meta"), "also without scripts"
    for each in told.runs:
        told.handle(RunStarted(each))
        told.handle(RunEnded(each, "finished"))
    _, found = drawn(replace(snapshot_of(told), state="complete"), report="report/report.html")
    assert found.all("body")[0]["data-refresh"] == "0"
    assert not found.all("button")
    assert "report/report.html" in [link["href"] for link in found.all("a")]
    assert "All 2 runs are settled." in found.text


def test_parts_of_a_large_study_are_collapsed() -> None:
    told, _ = large()
    seen = snapshot_of(told, arm_curves=True, run_curves=True)
    text, found = drawn(seen)
    assert len(text) < 1_000_000
    folds = {fold.get("id"): fold for fold in found.all("details")}
    assert {"more-arms", "more-running", "more-curves", "more-failures"} <= folds.keys()
    assert found.text.count("variant 079") >= 2, "collapsed parts are not omitted"
    assert re.search(r"1,5\d\d of 4,000 runs settled, about", found.text)


def test_drawings_contain_their_data() -> None:
    text = str(html_content.curves([[0.5, None, 1.0]], [0.5, 0.75, 1.0], 3, 1.0))
    lines = re.findall(r'class="(run|mean)" d="M([^"]*)"', text)
    assert [(kind, len(points.split("L"))) for kind, points in lines] == [("run", 2), ("mean", 3)]
    assert lines[1][1].split("L")[-1] == "238.0 8.0", "the top right corner is epoch 3 at 100 %"
    text = str(html_content.done_over_time([0.0, 10.0], 4, 20.0))
    assert "2.0 88.0L2.0 68.0L120.0 68.0L120.0 48.0L238.0 48.0" in text, (
        "a quarter from time 0 and a half from time 10, up to time 20"
    )
    bars, width, most = html_content.throughput([0.0, 1.0, 2.0, 23.0], 24.0)
    assert (width, most, str(bars).count("<rect")) == (1.0, 1, 4)
    assert html_content.throughput([], 1.0)[1:] == (0.0, 0)
    assert "<circle" in str(html_content.curves([], [0.5], 3, 1.0)), "a single value is drawn as a point"


def test_the_page_has_the_same_colors_as_the_figures() -> None:
    style = html._file("overview.css")
    used = dict(re.findall(r"--(done|work|failed|ink|paper|muted|grid): (#\w+)", style.split("@media")[0]))
    colours = {mark.colour for mark in palette.marks(list("abcdefg")).values()}
    assert {used["done"], used["work"], used["failed"]} <= colours
    assert (used["ink"], used["muted"], used["grid"], used["paper"]) == (
        palette.INK,
        palette.MUTED,
        palette.GRID,
        palette.PAPER,
    )


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    opened = WatchedStore(tmp_path / "a study")
    opened.write_plan(document(outline(["baseline", "aim"], seeds=2)))
    return opened


def test_the_page_is_written_to_the_study_directory(store: WatchedStore, tmp_path: Path) -> None:
    for number in range(3):
        store.commit(record(run_id(number), at=1e9 + 60 * number))
    store.record_failure(record(run_id(3), "failed", at=1e9))
    target = tmp_path / "page.html"
    from rich.console import Console

    watch(store.directory, Console(quiet=True), once=True, html=target, store=store)
    text = target.read_text(encoding="utf-8")
    found = Page(text)
    for words in ("3 of 4 runs settled; nothing is running.", "RuntimeError: <b>boom</b>", "Over time", "20.0 %"):
        assert words in found.text, words
    assert '<script>alert(1)</script>"\ufffd[31m' in found.text, "the traceback, as text"
    assert "98.7" not in text
    assert "0.98" not in text
    store.commit(record(run_id(3)))
    (store.directory / "report").mkdir()
    (store.directory / "report" / "report.html").write_text("")
    watch(store.directory, Console(quiet=True), html=target, store=store)
    assert 'href="a%20study/report/report.html"' in target.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a study", "page.html"], (
        "no temporary file is left behind"
    )


def test_a_page_that_cannot_be_written_is_reported(store: WatchedStore, tmp_path: Path) -> None:
    watched = StudyState(store.directory, store, document(outline(["baseline", "aim"], seeds=2)))
    with pytest.raises(StoreError, match=r"--html .*cannot be written .*give another file"):
        html.write(tmp_path / "nowhere" / "page.html", watched.poll(), watched.history, store.directory, 2.0)
