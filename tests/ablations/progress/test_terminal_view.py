"""The view on a terminal with any size and encoding, for any names."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from progress_cases import Clock, large, outline, row, run_id
from rich.cells import cell_len
from rich.console import Console

from ablations.execution.events import EpochEnded, Notice, RunEnded, RunStarted
from ablations.progress import Progress
from ablations.progress.snapshot import Snapshot, snapshot_of
from ablations.progress.summary import summary
from ablations.progress.views.log import LineView
from ablations.progress.views.terminal import View
from ablations.progress.views.terminal_tables import PLAIN, Signs, bar
from ablations.spec.short_names import clip

SIZES = [(40, 12), (40, 24), (80, 24), (120, 40), (200, 60)]
LARGE = snapshot_of(large()[0])
HOSTILE = [
    "[red]arm[/red]",
    "[/]",
    "[link=file:///etc]x",
    "a:smile:b",
    "\\[bold]",
    "記憶を各層に持つ畳み込みニューラルネットワーク" * 2,
    "x" * 100,
    "line\nbreak\x1b[31m\tand\u202eturned",
]


def shown(seen: Snapshot, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(file=output, width=width, height=height, force_terminal=True, color_system=None, emoji=False)
    console.print(View(seen))
    output.seek(0)
    return output.read().splitlines()


def small() -> Progress:
    clock = Clock()
    told = Progress(outline(["baseline", "aim"]), {run_id(0)}, parallel=2, clock=clock, totals={"CPU": 8.0})
    told.handle(RunStarted(run_id(1), "node-1, GPU 0"))
    clock.now += 3
    told.handle(EpochEnded(run_id(1), row(3, accuracy=0.51)))
    told.handle(RunEnded(run_id(2), "failed"))
    told.handle(RunEnded(run_id(2), "failed", "RuntimeError: out of memory"))
    told.handle(Notice("the disk is nearly full: waiting"))
    return told


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_view_fits_in_the_terminal(width: int, height: int) -> None:
    for seen in (snapshot_of(small()), LARGE):
        lines = shown(seen, width, height)
        assert len(lines) < height, "the last line is for the cursor"
        assert max(cell_len(line) for line in lines) <= width


def test_a_small_study_is_shown_in_full() -> None:
    text = "\n".join(shown(snapshot_of(small()), 120, 40))
    for words in (
        r"1 of 4 runs settled, 1 running, 1 waiting, 1 failed, 3 s so far",
        r"baseline +━+×+ +1/2",
        r"aim +╍+─+ +0/2 +1 +1",
        r"aim · seed 1|aim · seed 0 +╍+─+ +3/4 +51\.0 % +\d+ s +0 s +node-1, GPU 0",
        r"baseline, seed 1: RuntimeError: out of memory",
        r"\d\d:\d\d the disk is nearly full: waiting",
        r"0 of 8 CPUs in use",
        r"accuracies are on validation images; test accuracies are shown with the verdict",
    ):
        assert re.search(words, text), words
    assert "98.7" not in text


def test_the_view_of_a_large_study_says_what_it_omits() -> None:
    seen = LARGE
    text = "\n".join(shown(seen, 80, 24))
    assert re.search(r"1,5\d\d of 4,000 runs settled, 64 running", text)
    rows = [line for line in text.splitlines() if "/50" in line]
    for noun, total in (("arm", len(seen.arms)), ("run", 64)):
        listed = sum(" seed " in line for line in rows) if noun == "run" else sum(" seed " not in line for line in rows)
        more = re.search(rf"… and (\d+) {noun}s? more", text)
        assert more, noun
        assert listed + int(more[1]) == total


def test_the_most_informative_arms_are_shown_first() -> None:
    told = Progress(outline([f"arm-{i:02d}" for i in range(40)]), (), clock=Clock())
    told.handle(RunEnded(run_id(38), "failed", "why"))
    text = "\n".join(shown(snapshot_of(told), 80, 16))
    assert re.search(r"^arm-38 ", text, re.MULTILINE)


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_text(name: str, width: int) -> None:
    told = Progress(outline([name, f"{name}!"]), (), clock=Clock())
    told.handle(RunStarted(run_id(0), name))
    told.handle(EpochEnded(run_id(0), row(1)))
    told.handle(RunEnded(run_id(1), "failed", f"reason of {name}"))
    told.handle(Notice(name))
    lines = shown(snapshot_of(told), width, 40)
    text = "\n".join(lines)
    assert max(cell_len(line) for line in lines) <= width
    assert "\x1b" not in text
    assert "\u202e" not in text
    if width == 200 and name.isprintable():
        assert name[:90] in text


def test_states_can_be_told_apart_without_color_and_without_unicode() -> None:
    lines = shown(snapshot_of(small()), 80, 24, encoding="ascii")
    text = "\n".join(lines)
    assert text.isascii()
    assert re.search(r"baseline +#+x+", text)
    assert re.search(r"aim +=+-+", text)


def test_the_no_color_variable_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = io.StringIO()
    Console(file=output, width=80, height=24, force_terminal=True).print(View(snapshot_of(small())))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", output.getvalue())


def test_a_bar_is_full_only_when_all_runs_are_done() -> None:
    assert bar(10, 1000, [("done", 999)], Signs()).plain == "━" * 9 + "─"
    assert bar(10, 1000, [("done", 1000)], Signs()).plain == "━" * 10
    assert bar(10, 1000, [("done", 0), ("work", 1)], PLAIN).plain == "=---------"
    assert bar(3, 4, [("done", 1), ("work", 2), ("failed", 1)], PLAIN).plain == "#=="
    assert bar(0, 4, [("done", 1)], PLAIN).plain == ""


@given(st.text(), st.integers(0, 50))
def test_clipped_text_fits_and_is_printable(text: str, width: int) -> None:
    found = clip(text, width)
    assert cell_len(found) <= width
    assert found.isprintable()


def test_the_summary_is_one_line() -> None:
    told = Progress(outline(["a", "b"]), (), clock=(clock := Clock()))
    clock.now += 90
    assert summary(snapshot_of(told)) == "0 of 4 runs settled, 0 running, 4 waiting, 0 failed, 1 min 30 s so far"
    told.handle(EpochEnded(run_id(0), row(1, seconds=2.0)))
    assert summary(snapshot_of(told)).endswith("1 min 30 s so far, about 30 s left")
    clock.now += 600
    assert "no event from any run for 10 min" in summary(snapshot_of(told))
    for each in told.runs:
        told.handle(RunEnded(each, "finished"))
    assert summary(snapshot_of(told)) == "4 of 4 runs settled, 0 running, 0 failed, 11 min 30 s so far"


def test_many_notes_are_all_shown() -> None:
    said = io.StringIO()
    now = [0.0]
    seen = snapshot_of(Progress(outline(["aim"]), ()))
    lines = LineView(lambda: seen, Console(file=said, width=500), clock=lambda: now[0])
    lines.news("first")
    for number in range(9):
        lines.news(f"news {number}")
    lines.note("the storage is full")
    now[0] = 10.0
    lines.tick()
    last = said.getvalue().splitlines()[-1]
    assert "the storage is full" in last
    assert "6 more messages" in last
    lines.stop()
    assert said.getvalue().count("the storage is full") == 1
