"""Tiny studies in their own folders, and drivers in separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import ONE_THREAD, Farm
from tiny_study import changed, write


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's own data, cache and results."""
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("AIM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the tiny study with changes, given by key path, and returns the study file."""

    def make(changes: dict[str, Any] | None = None, name: str = "study.yaml") -> Path:
        return write(tmp_path, changed(changes or {}), name)

    return make


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """Return a running farm."""
    farm = Farm()
    yield farm
    farm.end()


@pytest.fixture
def command() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts ``python -m ablations.commands.app`` with arguments, in a separate process."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ablations.commands.app", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD | {"COLUMNS": "200"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
