"""Studies, their fault-free results, and a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from scene import Ground, Scene
from tiny_study import changed, numbers, write

from ablations.sessions.launch import run

LONG: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 120, "seeds": 3}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's data, cache and results."""
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return the study file and the fault-free results of its runs."""
    folder = tmp_path_factory.mktemp("calm")
    path = write(folder, changed(LONG))
    session = run(path, folder / "out", executor="inline")
    assert session.open == ()
    return path, numbers(folder / "out")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """Return the mark of a test's processes; at the end, kill any processes that the test has left behind."""
    mark = str(tmp_path / "marked")
    yield mark
    processes.end_all(mark)


@pytest.fixture
def ground() -> Iterator[Ground]:
    """Return a cluster of three nodes."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # socket names must be short
        ground = Ground(Path(folder))
        yield ground
        if ground.process.poll() is None:
            ground.end()


@pytest.fixture
def scene(calm: tuple[Path, dict[str, str]], tmp_path: Path, ground: Ground, mark: str) -> Scene:
    """Return an unstarted study on the cluster."""
    path, expected = calm
    return Scene(path, tmp_path / "study", expected, ground, mark)


@pytest.fixture
def alone(calm: tuple[Path, dict[str, str]], tmp_path: Path, mark: str) -> Scene:
    """Return an unstarted study that uses only this machine."""
    path, expected = calm
    return Scene(path, tmp_path / "study", expected, None, mark)
