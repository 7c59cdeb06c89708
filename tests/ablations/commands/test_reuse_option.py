"""`--reuse` for check, plan and run, and how status and results show reused runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import ablate

import ablations
from ablations.sessions import launch
from analysis.wording.number_format import significant

Study = Callable[..., Path]


@pytest.fixture
def studies(study: Study, tmp_path: Path) -> tuple[Path, Path]:
    """Return the directory of a study with two runs, and the file of a second study that has two additional runs."""
    launch.run(study({"name": "first", "base.training.epochs": 1, "seeds": 1}), tmp_path / "first", executor="inline")
    return tmp_path / "first", study({"name": "second", "base.training.epochs": 1}, "second.yaml")


def test_the_commands_state_what_would_be_copied_and_what_was_copied(
    studies: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    first, file = studies
    code, text, _ = ablate(capsys, "check", file, "--no-timing", "--reuse", first)
    assert code == 0
    assert "note: reuse: 2 of 4 missing runs would be copied from first@" in text
    assert not (tmp_path / "results").exists(), "a check writes nothing"
    code, text, _ = ablate(capsys, "run", file, "--executor", "inline", "--reuse", first, "--out", "out")
    assert code == 0
    assert "2 of 4 runs are copied from first@" in text
    assert "4 runs: 2 computed now, 2 reused, 0 settled before, 0 failed, 0 open" in text
    _, text, _ = ablate(capsys, "status", "out")
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["arm", "finished", "reused", "missing"]
    assert ["baseline", "2", "1", "0"] in lines
    _, text, _ = ablate(capsys, "results", "out")
    assert text.splitlines()[0].split()[-1] == "reused_from"
    _, text, _ = ablate(capsys, "results", first)
    assert "reused_from" not in text
    _, text, _ = ablate(capsys, "check", file, "--no-timing", "--reuse", first, "--out", "out")
    assert "note: reuse: no run is missing" in text


def test_a_check_states_the_hours_that_are_saved(studies: tuple[Path, Path]) -> None:
    first, file = studies
    checked = ablations.check(file, reuse=first)
    (note,) = [note for note in checked.notes if note.startswith("reuse")]
    assert checked.cost is not None
    saved = sum(checked.cost.hours_of(arm) for arm in checked.cost.arms)  # one of two seeds
    assert saved == pytest.approx(checked.cost.hours / 2)
    assert note.endswith(f"which saves {significant(saved)} of the {significant(checked.cost.hours)} CPU-hours")
    warnings = ablations.plan(file, timing=False, reuse=first).warnings
    assert any(warning.startswith("reuse: 2 of 4 missing runs") for warning in warnings)


def test_a_directory_without_a_study_is_refused_before_anything_is_written(
    studies: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, file = studies
    code, _, error = ablate(capsys, "run", file, "--executor", "inline", "--reuse", "fisrt", "--out", "out")
    assert code == 2
    assert "reuse fisrt: neither a study directory nor a folder of study directories" in error
    assert not (tmp_path / "out" / "study.json").exists()
    assert not (tmp_path / "out" / "analysis_plan.json").exists()
