"""Every kind of bad input is refused with its place, its cause and a remedy, and never with a traceback.

The kinds are listed in advance in ``kinds_of_bad_input.txt``. Variants of a kind have the same name and count once.
More variants of mistakes in a study are in ``tests/ablations/spec/test_bad_studies.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bad_data
import bad_options
import bad_stored_files
import bad_studies
import bad_surroundings
import pytest
from bad_input_kinds import DONE, STUDY, Kind
from in_process import ablate
from victims import Victim

from aimlib.errors import UsageError

AREAS = (bad_studies, bad_options, bad_data, bad_stored_files, bad_surroundings)
ALL = [kind for area in AREAS for kind in area.KINDS]
LIST = Path(__file__).with_name("kinds_of_bad_input.txt")


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_bad_input_is_refused_with_its_place_cause_and_remedy(
    kind: Kind, victim: Victim, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    (victim.folder / "EMPTY").mkdir()
    (victim.folder / "TEXT").write_text("x", encoding="utf-8")
    if kind.arrange is not None:
        kind.arrange(victim, monkeypatch)
    said = _said(kind, victim, monkeypatch, capsys)
    assert "Traceback" not in said
    text = " ".join(said.split()).replace(str(victim.directory), DONE)
    assert kind.missing_from(text) == [], said
    assert not victim.sentinel.exists()


def _said(kind: Kind, victim: Victim, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    if not isinstance(kind.command, str):
        with pytest.raises(UsageError) as refusal:
            kind.command(victim, monkeypatch)
        return str(refusal.value)
    names = {DONE: str(victim.directory), STUDY: victim.study.name}
    code, _, said = ablate(capsys, *(names.get(word, word) for word in kind.command.split(" ")))
    assert code == 2, said
    return said


def test_all_150_listed_kinds_of_bad_input_are_tested() -> None:
    listed = list(_listed())
    assert len(set(listed)) == len(listed), "each kind is listed only once"
    assert set(listed) == {kind.name for kind in ALL}
    assert len(listed) >= 150
    assert all(kind.place and kind.cause and kind.remedy for kind in ALL)


def _listed() -> Iterator[str]:
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line
