"""Hostile errors, names and data are stored and shown safely, and do not end a session."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from victims import Victim

from aimlib.errors import StoreError, text_of
from aimlib.records.escaping import LONGEST_MESSAGE, LONGEST_TRACEBACK

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\x00 <script>alert(1)</script> [bold]x[/bold]"


class Unspeakable(Exception):
    """An error that cannot be converted to text."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Fails:
    """A training function that prints a text and raises an error."""

    def __init__(self, error: Exception, printed: str = "") -> None:
        self.error, self.printed = error, printed

    def __call__(self, *_: object, **__: object) -> None:
        if self.printed:
            print(self.printed)
        raise self.error


def failing(victim: Victim, monkeypatch: pytest.MonkeyPatch, train: Callable[..., object]) -> dict[str, str]:
    """Make one of the study's runs fail, and return its row; the session must continue to the end."""
    victim.runs[0].unlink()
    monkeypatch.setattr("ablations.execution.run_task.train", train)
    assert victim.run() == {"run": "ok"}
    assert "1 failed" in victim.printed
    (row,) = [row for path in (victim.directory / "failures").iterdir() for row in pq.read_table(path).to_pylist()]
    return row


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (RuntimeError("bad \ud800\udfff tail"), "RuntimeError: bad \ufffd\ufffd tail"),
        (Unspeakable(), "Unspeakable: (no message: ValueError while converting it to text)"),
        (RuntimeError("a\x00b"), "RuntimeError: a\x00b"),
    ],
)
def test_an_error_without_valid_text_can_be_stored(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, error: Exception, stored: str
) -> None:
    assert failing(victim, monkeypatch, Fails(error))["reason"] == stored


def test_a_message_of_several_megabytes_is_shortened(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    row = failing(victim, monkeypatch, Fails(RuntimeError("begin" + "x" * 5_000_000 + "end")))
    assert len(row["reason"]) < LONGEST_MESSAGE + 100
    assert len(row["traceback"]) < LONGEST_TRACEBACK + 100
    assert row["reason"].startswith("RuntimeError: begin")
    assert row["reason"].endswith("xend")
    assert "characters left out" in row["reason"]
    assert len(victim.printed) < 100_000
    assert sum(path.stat().st_size for path in victim.directory.rglob("*") if path.is_file()) < 2_000_000


def test_escape_sequences_in_an_error_do_not_reach_a_terminal_or_a_page(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = failing(victim, monkeypatch, Fails(RuntimeError(ESCAPES)))
    shown = victim.printed + victim.ablate("status", victim.directory)
    shown += victim.ablate("results", victim.directory, "--columns", "all")
    shown += victim.ablate("logs", victim.directory, row["run_id"])
    shown += victim.ablate("watch", victim.directory, "--once")
    victim.ablate("watch", victim.directory, "--html", "--once")
    victim.ablate("report", victim.directory)
    assert "[bold]x" in shown
    assert not CONTROL.search(shown), CONTROL.search(shown)
    pages = [*victim.directory.rglob("*.html"), *victim.directory.rglob("*.md"), *victim.directory.rglob("*.tex")]
    assert len(pages) > 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text.replace("\\<script", ""), page
        assert not CONTROL.search(text), page


def test_a_spreadsheet_does_not_execute_a_name(victim: Victim) -> None:
    from test_planted_names import renamed

    name = "=cmd|' /C calc'!A0"
    renamed(victim, "aim", name)
    assert victim.read(report=False)["load"] == "ok"
    victim.ablate("results", victim.directory, "--csv", victim.folder / "x.csv")
    victim.ablate("results", victim.directory, "--parquet", victim.folder / "x.parquet")
    victim.ablate("report", victim.directory)
    tables = [victim.folder / "x.csv", *victim.directory.rglob("*.csv")]
    cells = [cell for path in tables for row in csv.reader(path.read_text().splitlines()) for cell in row]
    assert f"'{name}" in cells
    assert not [cell for cell in cells if cell[:1] in tuple("=@\t\r") and cell]
    assert not [cell for cell in cells if cell[:1] in tuple("+-") and not re.fullmatch(r"[+-][\d.,e+-]+", cell)]
    assert name in pq.read_table(victim.folder / "x.parquet")["arm"].to_pylist()
    printed = csv.reader(io.StringIO(victim.ablate("results", victim.directory, "--csv", "-")))
    assert f"'{name}" in {cell for row in printed for cell in row}


def test_a_tracker_does_not_receive_secrets_and_its_error_is_harmless() -> None:
    from ablations.execution.events import Notice

    text = Notice("tracker failed (\ud800 https://user:sEcReT-1@host)" + "x" * 100_000).text
    text.encode()
    assert "sEcReT" not in text
    assert len(text) < LONGEST_MESSAGE + 100


@pytest.mark.parametrize("squatted", ["link", "others", "file"])
def test_tunes_scratch_files_are_in_a_folder_that_only_the_user_can_access(
    squatted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablations.execution.ray.executor import scratch

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch() as folder:
        for each in (folder, folder.parent):
            assert stat.S_IMODE(each.stat().st_mode) == 0o700
        own = folder.parent
    own.rmdir()
    other = tmp_path / "other"
    other.mkdir()
    if squatted == "link":
        own.symlink_to(other)
    elif squatted == "others":
        own.mkdir()
        own.chmod(0o777)
    else:
        own.touch()
    with pytest.raises(StoreError, match=rf"{own}.*(remove it, or set TMPDIR|exists)"), scratch():
        pass
    assert not list(other.iterdir())


def test_a_photo_name_that_is_not_utf8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from aimlib.errors import DataError
    from aimlib.registry import datasets

    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for label in (b"cat", b"d\xf6g"):
            folder = os.fsencode(tmp_path / split) + b"/" + label
            Path(os.fsdecode(folder)).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(os.fsdecode(folder + b"/1.png"))
    data = {"name": "image_folder", "root": str(tmp_path), "size": 8, "classes": 2}
    with pytest.raises(DataError, match=r"4 names not UTF-8: 'train/d.*'test/d.*; rename the files and folders"):
        datasets.create(datasets.parse(data)).load()


def test_any_error_can_be_converted_to_printable_text() -> None:
    assert text_of(Unspeakable()).startswith("(no message: ValueError")
    assert json.dumps(text_of(ValueError("x"))) == '"x"'
