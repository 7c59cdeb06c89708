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
    """Return a folder tree with real photos from Stanford Dogs; skip the test if there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "stanford-dogs-20"
    root = Path(os.environ.get(PHOTOS) or beside)
    if not (root / "Images").is_dir():
        pytest.skip(f"no photos of Stanford Dogs: {PHOTOS} names no tree with Images, and there is none at {beside}")
    return root


@pytest.fixture(autouse=True)
def without_own_code() -> Iterator[None]:
    """Forget the plugins from a test study's own code, so that later tests do not find them."""
    yield
    for family in FAMILIES:
        for name in list(family._origins):
            del family._origins[name]
            family._classes.pop(name, None)


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Leave the figures in reports blank, because drawing takes most of the time needed for a report."""
    with blank_figures():
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a file system of a given size, such as 1m; skip if mounting is not allowed."""
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
