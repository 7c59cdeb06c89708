"""A finished study, and copies of it into which files are planted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from blank_figures import blank_figures
from victims import STUDY, Victim


@pytest.fixture(autouse=True)
def without_drawing() -> Iterator[None]:
    """Write reports with blank figures, because the attacks use only text, tables and files."""
    with blank_figures():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished study."""
    from ablations.sessions.launch import run

    folder = tmp_path_factory.mktemp("finished")
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    before = os.environ.get("AIM_CACHE_DIR")
    os.environ["AIM_CACHE_DIR"] = str(folder / "cache")
    try:
        session = run(path, folder / "out", executor="inline")
    finally:
        os.environ.pop("AIM_CACHE_DIR")
        if before is not None:
            os.environ["AIM_CACHE_DIR"] = before
    assert (session.computed, session.failed) == (2, {})
    return folder / "out"


@pytest.fixture
def victim(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Victim]:
    """Return a fresh copy of the study."""
    folder = tmp_path / "victim"
    folder.mkdir()
    monkeypatch.setenv("AIM_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(folder / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(folder)
    yield Victim(folder, finished)
    assert not (folder / "sentinel").exists()
