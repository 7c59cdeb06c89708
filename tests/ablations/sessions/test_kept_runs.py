"""A study keeps its runs if a level is added or removed, or if its directory is moved or renamed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from reused_runs import digests, run

import analysis

SIZES = [4, 8]


def varied(sizes: list[int]) -> dict[str, Any]:
    return {
        "base.training.epochs": 1,
        "arms": {"baseline": {}},
        "vary": "baseline",
        "factors": {"training.batch_size": sizes},
        "seeds": 1,
    }


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    run(tiny_study.write(folder, tiny_study.changed(varied(SIZES))), folder / "out")
    return folder / "out"


@pytest.fixture
def out(computed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(computed, tmp_path / "out"))


def test_an_added_level_computes_only_its_own_runs(study: Callable[..., Path], out: Path) -> None:
    before, rows = tiny_study.numbers(out), digests(out / "runs")
    session, text = run(study(varied([*SIZES, 20])), out)
    added = session.planned - len(before)
    assert added > 0
    assert (session.computed, session.settled_before) == (added, len(before))
    assert "stale" not in text
    assert digests(out / "runs").items() >= rows.items(), "the files of earlier runs are unchanged"
    assert tiny_study.numbers(out).items() >= before.items()
    assert set(tiny_study.planned(out)) > set(before)


def test_the_runs_of_a_removed_level_are_kept_and_count_again_when_the_level_is_restored(
    study: Callable[..., Path], out: Path
) -> None:
    before = tiny_study.numbers(out)
    session, text = run(study(varied(SIZES[:1])), out)
    assert (session.computed, session.settled_before) == (0, session.planned)
    removed = len(before) - session.planned
    assert removed > 0
    assert f"stale: {removed} settled run" in text
    assert len(analysis.load(out).stale) == removed
    session, text = run(study(varied(SIZES)), out)
    assert (session.computed, session.settled_before) == (0, len(before))
    assert "stale" not in text
    assert tiny_study.numbers(out) == before


@pytest.mark.parametrize("segments", [False, True], ids=["files", "segments"])
def test_a_directory_keeps_its_runs_when_it_is_moved_and_renamed(
    segments: bool, study: Callable[..., Path], out: Path, tmp_path: Path
) -> None:
    from ablations.store import ResultStore

    if segments:
        assert ResultStore(out).compact(1)
    before, frozen = tiny_study.numbers(out), (out / "analysis_plan.json").read_bytes()
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    out.rename(moved)
    session, _ = run(study(varied(SIZES)), moved)
    assert (session.computed, session.settled_before) == (0, len(before))
    assert tiny_study.numbers(moved) == before
    assert (moved / "analysis_plan.json").read_bytes() == frozen
    assert analysis.examine(analysis.load(moved)).deviations == ()
    assert not out.exists()


def test_a_study_file_has_the_same_runs_after_it_is_moved_and_renamed(
    study: Callable[..., Path], out: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    file = study(varied(SIZES)).rename(folder / "renamed.yaml")
    session, _ = run(file, out)
    assert (session.computed, session.open) == (0, ())
