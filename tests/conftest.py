"""Fixtures for the tests of several packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blank_figures import blank_figures

from aimlib.registry import FAMILIES

pytest_plugins = ["parallel", "storages"]
PHOTOS = "AIM_STANFORD_DOGS"


@pytest.fixture(scope="session")
def stanford_dogs_root() -> Path:
    """Return a tree with real photos of Stanford Dogs, or skip."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "stanford-dogs-20"
    root = Path(os.environ.get(PHOTOS) or beside)
    if not (root / "Images").is_dir():
        pytest.skip(f"no photos of Stanford Dogs: {PHOTOS} names no tree with Images, and there is none at {beside}")
    return root


@pytest.fixture(autouse=True)
def without_own_code() -> Iterator[None]:
    """Forget the plugins of own code that a test's study named, so that no later test finds them."""
    yield
    for family in FAMILIES:
        for name in list(family._origins):
            del family._origins[name]
            family._classes.pop(name, None)


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Leave the figures of reports blank, because drawing takes most of the time of a report."""
    with blank_figures():
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that makes a file system of a size, such as 1m; it skips where mounting is not allowed."""
    mounted: list[str] = []

    def make(size: str) -> Path:
        disk = tmp_path / f"disk-{len(mounted)}"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)]
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system: {done.stderr.decode().strip()}")
        mounted.append(str(disk))
        return disk

    yield make
    for disk in mounted:
        subprocess.run(["umount", "-l", disk], check=True)
