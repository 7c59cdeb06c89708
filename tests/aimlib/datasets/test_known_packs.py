"""Packed photos that have been compared with their files once are opened by fingerprint, without reading photos
again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.packed import open_known, pack_folder
from aimlib.datasets.photos import PhotoPlugin
from aimlib.errors import DataError
from aimlib.registry import datasets

CALLS = ("stat", "lstat", "scandir", "listdir", "open", "access")


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, below: Path) -> Iterator[list[str]]:
    """Collect the system calls that access anything below a folder; the calls are still executed."""
    found: list[str] = []

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and Path(os.fspath(path)).is_relative_to(below):
                found.append(f"{name} {path}")
            return call(path, *arguments, **options)

        return counted_call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counting(name, getattr(os, name)))
        yield found


@pytest.fixture(params=["stanford_dogs", "image_folder"])
def plugin(request: pytest.FixtureRequest, dogs: Any, tmp_path: Path, photo: Callable[..., bytes]) -> Any:
    if request.param == "stanford_dogs":
        return dogs.plugin()
    root = tmp_path / "folders"
    for split, count in (("train", 9), ("test", 6)):
        for number in range(count):
            place = root / split / f"class_{number % 3}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(photo(number))
    return datasets.create(datasets.parse({"name": "image_folder", "root": str(root), "classes": 3, "size": 8}))


def photos_of(plugin: Any) -> list[Path]:
    listing = plugin.listing()
    return [listing.root / path for path in listing.paths()]


def test_a_worker_does_not_access_any_photos(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, photos = plugin.load(), photos_of(plugin)
    root = plugin.listing().root
    with counted(monkeypatch, root) as by_driver:
        plugin.load()
    assert len(by_driver) >= len(photos), "planning compares every photo"
    with counted(monkeypatch, root) as by_worker:
        known = plugin.load_known(planned.fingerprint)
    assert len(by_worker) <= len(root.parents) + 2, f"{len(photos)} photos: {by_worker}"
    assert not any(str(photo) in call for call in by_worker for photo in photos)
    assert known.fingerprint == planned.fingerprint
    assert np.array_equal(known.train.pixels, planned.train.pixels)
    assert np.array_equal(known.test.labels, planned.test.labels)
    assert known.train.names == planned.train.names


def test_changed_photos_are_noticed_by_the_next_plan(plugin: Any, photo: Callable[..., bytes]) -> None:
    planned = plugin.load()
    photos_of(plugin)[0].write_bytes(photo(4711))
    known = plugin.load_known(planned.fingerprint)
    assert known.fingerprint == planned.fingerprint, "a session that was planned earlier continues with its data"
    assert np.array_equal(known.train.pixels, planned.train.pixels)
    changed = plugin.load()
    assert changed.fingerprint != planned.fingerprint
    late = plugin.load_known(planned.fingerprint)
    assert late.fingerprint == changed.fingerprint, "it is returned, so that the caller can report what differs"


def test_a_node_without_the_pack_creates_it(plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plugin.load()
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "another node"))
    assert plugin.load_known(planned.fingerprint).fingerprint == planned.fingerprint
    assert open_known(pack_folder(plugin.listing(), plugin.recipe()), planned.fingerprint) is not None


def test_a_damaged_pack_is_not_used_as_a_known_pack(plugin: Any) -> None:
    planned = plugin.load()
    before = np.array(planned.train.pixels)
    folder = pack_folder(plugin.listing(), plugin.recipe())
    pixels = folder / "train.pixels"
    pixels.write_bytes(pixels.read_bytes()[:-1])
    assert open_known(folder, planned.fingerprint) is None
    again = plugin.load_known(planned.fingerprint)
    assert np.array_equal(again.train.pixels, before)


def test_a_plugin_without_a_known_pack_is_loaded_as_before(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = plugin.listing()

    class Third(PhotoPlugin):
        def listing(self) -> PhotoListing:
            return listing

    third, planned = Third(plugin.config), plugin.load()
    assert third.whereabouts() is None
    with counted(monkeypatch, listing.root) as calls:
        assert third.load_known(planned.fingerprint).fingerprint == planned.fingerprint
    assert len(calls) >= len(listing.paths())


def test_missing_photos_are_still_reported(dogs: Any) -> None:
    planned = dogs.plugin().load()
    (dogs.root / "Images" / dogs.splits["train"][0][0]).unlink()
    assert dogs.plugin().load_known(planned.fingerprint).fingerprint == planned.fingerprint
    with pytest.raises(DataError, match="1 of 18 listed photos are missing"):
        dogs.plugin().load()
