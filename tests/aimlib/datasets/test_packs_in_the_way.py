"""If something else is in the place of a pack's file, the photos are packed again, nothing blocks, and no link is
followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import endless_waits
import pytest

from aimlib.datasets import pixel_files
from aimlib.datasets.packed import pack_folder
from aimlib.datasets.packing import REPLACED, unfinished_folder


class Stopped(BaseException):
    """Raised to interrupt a pack."""


@pytest.fixture(autouse=True)
def endless_waits_end() -> Iterator[None]:
    """Interrupt a test that waits longer than any of these tests should take."""
    with endless_waits.ended():
        yield


THINGS: dict[str, Callable[[Path, Path], object]] = {
    "pipe": lambda path, outside: os.mkfifo(path),
    "folder": lambda path, outside: path.mkdir(),
    "link": lambda path, outside: path.symlink_to(outside),
    "link to itself": lambda path, outside: path.symlink_to(path.name),
    "file": lambda path, outside: path.write_text("x"),
}


def put(path: Path, thing: str) -> Path:
    """Put something in the place of a file or folder; return the file outside to which a link there would point."""
    outside = path.parents[1] / "precious"
    outside.write_text("precious" * 1000)
    if path.is_dir():
        path.rename(path.with_name("moved"))
    path.unlink(missing_ok=True)
    THINGS[thing](path, outside)
    return outside


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", ["manifest.json", "checksums.json", "index.json", "train.pixels", ""])
def test_a_finished_pack_is_packed_again(dogs: Any, tmp_path: Path, name: str, thing: str) -> None:
    plugin = dogs.plugin(cache=str(tmp_path / "cache"))
    done = plugin.pack()
    outside = put(done.folder / name if name else done.folder, thing)
    again = dogs.plugin(cache=str(tmp_path / "cache")).pack()
    assert again.manifest.fingerprint == done.manifest.fingerprint
    assert again.damages() == []
    assert outside.read_text() == "precious" * 1000
    assert list(done.folder.parent.glob(f"*{REPLACED}*")) == []


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", ["journal", "train.pixels", "more", ""])
def test_an_interrupted_pack_continues_or_starts_again(
    dogs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, thing: str
) -> None:
    monkeypatch.setattr(pixel_files, "BLOCK_PHOTOS", 4)
    whole = dogs.plugin(cache=str(tmp_path / "whole")).pack().manifest.fingerprint
    plugin = dogs.plugin(cache=str(tmp_path / "cache"))

    def stop(what: str, done: int, total: int) -> None:
        if done == 9:
            raise Stopped

    with pytest.raises(Stopped):
        plugin.pack(stop)
    unfinished = unfinished_folder(pack_folder(plugin.listing(), plugin.recipe(), str(tmp_path / "cache")))
    assert (unfinished / "journal").exists()
    outside = put(unfinished / name if name else unfinished, thing)
    again = plugin.pack()
    assert again.manifest.fingerprint == whole
    assert again.damages() == []
    assert outside.read_text() == "precious" * 1000
