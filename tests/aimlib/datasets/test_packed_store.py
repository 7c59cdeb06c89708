from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimlib.datasets import packing
from aimlib.datasets.decoding import decode
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.datasets.packed import find_pack, pack, pack_folder
from aimlib.datasets.recipe import Recipe
from aimlib.errors import DataError

SQUASH = Recipe("squash", 8, True)


def builds(tree: Any, recipe: Recipe = SQUASH) -> int:
    """Return how many photos were decoded to build the store."""
    calls: list[int] = []
    pack(tree.plugin().listing(), recipe, progress=lambda _what, done, _total: calls.append(done))
    return len(calls)


def test_a_store_contains_pixels_labels_names_and_order(dogs: Any) -> None:
    data = dogs.plugin().load()
    assert data.train.pixels.shape == (12, 8, 8, 3)
    assert data.test.pixels.shape == (6, 8, 8, 3)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.train.names == tuple(sorted(path for path, _ in dogs.splits["train"]))
    for images in (data.train, data.test):
        for pixels, name in zip(images.pixels, images.names, strict=True):
            expected = SQUASH.apply(decode((dogs.root / "Images" / name).read_bytes()))
            assert np.array_equal(pixels, expected)
    assert not data.train.pixels.flags.writeable


def test_the_fingerprint_depends_on_the_images(dogs: Any) -> None:
    data = dogs.plugin().load()
    assert with_fingerprint(data.train, data.test, data.classes).fingerprint == data.fingerprint


def test_a_store_is_built_once_and_then_mapped(dogs: Any) -> None:
    listing = dogs.plugin().listing()
    assert find_pack(listing, SQUASH) is None
    assert builds(dogs) == 18
    assert builds(dogs) == 0
    assert find_pack(listing, SQUASH) is not None
    assert builds(dogs, Recipe("squash", 8, False)) == 18
    assert len(list((dogs.root.parent / "cache").glob("stanford_dogs-*[!k]"))) == 2


def test_every_recipe_has_its_own_folder_and_fingerprint(dogs: Any) -> None:
    plugins = [
        dogs.plugin(**options)
        for options in (
            {},
            {"size": 9},
            {"antialias": False},
            {"resize": "center_crop"},
            {"resize": "center_crop", "size": 9},
        )
    ]
    assert len({plugin.load().fingerprint for plugin in plugins}) == 5
    assert len({pack_folder(plugin.listing(), plugin.recipe()) for plugin in plugins}) == 5


def test_a_store_with_the_name_of_a_different_recipe_is_packed_again(dogs: Any) -> None:
    """Copied or exchanged folders in a cache contain intact files with the wrong pixels."""
    expected = dogs.plugin(antialias=False).load()
    wanted, other = (dogs.plugin(antialias=antialias) for antialias in (False, True))
    folder = pack_folder(wanted.listing(), wanted.recipe())
    other.load()
    shutil.rmtree(folder)
    shutil.copytree(pack_folder(other.listing(), other.recipe()), folder)
    assert find_pack(wanted.listing(), wanted.recipe()) is None
    found = dogs.plugin(antialias=False).load()
    assert found.fingerprint == expected.fingerprint
    assert np.array_equal(found.train.pixels, expected.train.pixels)


def test_two_lists_for_one_tree_have_separate_stores(dogs: Any) -> None:
    first = dogs.plugin().load()
    dogs.splits["train"], dogs.splits["test"] = dogs.splits["test"], dogs.splits["train"]
    dogs.write_lists("lists-turned")
    turned = dogs.plugin(lists="lists-turned").load()
    assert turned.fingerprint != first.fingerprint
    assert np.array_equal(turned.test.pixels, first.train.pixels)
    assert builds(dogs) == 0


def test_the_fingerprint_does_not_depend_on_the_location_of_the_photos(dogs: Any) -> None:
    first = dogs.plugin().load().fingerprint
    dogs.root = dogs.root.rename(dogs.root.with_name("elsewhere"))
    assert dogs.plugin().load().fingerprint == first


def test_a_changed_photo_is_packed_again(dogs: Any, photo: Any) -> None:
    before = dogs.plugin().load()
    dogs.write(dogs.splits["train"][0][0], photo(999))
    after = dogs.plugin().load()
    assert after.fingerprint != before.fingerprint
    assert not np.array_equal(after.train.pixels[0], before.train.pixels[0])


def test_changed_lists_are_noticed(dogs: Any) -> None:
    before = dogs.plugin().load()
    dogs.splits["test"].append(dogs.splits["train"].pop())
    dogs.write_lists()
    after = dogs.plugin().load()
    assert (len(before.train.labels), len(after.train.labels)) == (12, 11)
    assert after.fingerprint != before.fingerprint


def test_a_touched_photo_is_not_decoded_again(dogs: Any) -> None:
    assert builds(dogs) == 18
    os.utime(dogs.root / "Images" / dogs.splits["train"][0][0], ns=(1, 1))
    assert find_pack(dogs.plugin().listing(), SQUASH) is None
    assert builds(dogs) == 0
    assert find_pack(dogs.plugin().listing(), SQUASH) is not None


@pytest.mark.parametrize(
    "damage", ["truncated", "lengthened", "removed", "index", "manifest", "recipe", "pixels", "classes", "checksums"]
)
def test_a_damaged_store_is_packed_again(dogs: Any, damage: str) -> None:
    data = dogs.plugin().load()
    folder = pack_folder(dogs.plugin().listing(), SQUASH)
    pixels, index = folder / "train.pixels", folder / "index.json"
    if damage == "truncated":
        os.truncate(pixels, 100)
    elif damage == "lengthened":
        os.truncate(pixels, pixels.stat().st_size + 1)
    elif damage == "removed":
        pixels.unlink()
    elif damage == "index":
        index.write_bytes(index.read_bytes().replace(b'"labels":[0', b'"labels":[1'))
    elif damage == "recipe":
        path = folder / "manifest.json"
        assert b'"resize"' in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(b'"resize"', b'"resizd"'))
    elif damage == "pixels":
        flip(pixels)
    elif damage == "checksums":  # a store from an earlier version, whose files are compared with their SHA-256
        (folder / "checksums.json").unlink()
        flip(folder / "test.pixels")
    elif damage == "classes":
        manifest = json.loads((folder / "manifest.json").read_bytes())
        manifest["classes"].reverse()
        (folder / "manifest.json").write_text(json.dumps(manifest))
    else:
        (folder / "manifest.json").write_text("{")
    assert builds(dogs) == 18
    assert dogs.plugin().load().fingerprint == data.fingerprint


def flipped(content: bytearray, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def cut(content: bytearray, draw: random.Random) -> None:
    del content[draw.randrange(len(content)) :]


def zeroed(content: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(content))
    content[at : at + 64] = bytes(len(content[at : at + 64]))


def exchanged(content: bytearray, draw: random.Random) -> None:
    size = min(64, len(content) // 2)
    one, other = draw.sample(range(len(content) // size), 2)
    first, second = (content[size * at : size * (at + 1)] for at in (one, other))
    content[size * one : size * (one + 1)], content[size * other : size * (other + 1)] = second, first


@pytest.mark.parametrize("tries", [8, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("name", ["train.pixels", "test.pixels", "index.json", "manifest.json", "checksums.json"])
def test_random_damage_to_a_store_never_changes_an_image(dogs: Any, name: str, tries: int) -> None:
    """Either the store is packed again, or the damage does not affect anything that is read."""
    whole = copy.deepcopy(dogs.plugin().load())  # copied, because the loaded pixels are a map of the file
    folder = pack_folder(dogs.plugin().listing(), SQUASH)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    draw, found = random.Random(f"{name} {tries}"), 0
    for attempt in range(tries):
        damaged = bytearray(contents[name])
        (flipped, cut, zeroed, exchanged)[attempt % 4](damaged, draw)
        (folder / name).write_bytes(damaged)
        found += (decoded := builds(dogs)) == 18
        assert decoded in (0, 18)
        data = dogs.plugin().load()
        assert data.fingerprint == whole.fingerprint
        for images, expected in ((data.train, whole.train), (data.test, whole.test)):
            assert np.array_equal(images.pixels, expected.pixels)
            assert np.array_equal(images.labels, expected.labels)
            assert images.names == expected.names
        assert data.classes == whole.classes
        for each, content in contents.items():
            (folder / each).write_bytes(content)
    if name != "checksums.json":  # without this file, all files are compared with their SHA-256
        assert found > tries * 0.4


def test_the_full_check_finds_changed_pixels(dogs: Any) -> None:
    store = dogs.plugin().pack()
    assert store.damages() == []
    flip(store.folder / "test.pixels")
    (damage,) = store.damages()
    assert "test.pixels" in damage
    assert "changed" in damage


def test_a_store_from_an_earlier_version_gets_checksums_and_is_not_packed_again(dogs: Any) -> None:
    path = dogs.plugin().pack().folder / "checksums.json"
    content = path.read_bytes()
    path.unlink()
    assert builds(dogs) == 0
    assert path.read_bytes() == content


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_all_undecodable_photos_are_reported_and_nothing_is_left_behind(dogs: Any) -> None:
    broken = [dogs.splits["train"][1][0], dogs.splits["test"][2][0]]
    for path in broken:
        dogs.write(path, b"\xff\xd8\xff")
    with pytest.raises(DataError) as error:
        dogs.plugin().load()
    assert all(path in str(error.value) for path in broken)
    assert "2 of 18" in str(error.value)
    assert not [path for path in (dogs.root.parent / "cache").iterdir() if path.suffix != ".lock"]


def test_missing_photos_are_reported(dogs: Any) -> None:
    path = dogs.splits["test"][0][0]
    (dogs.root / "Images" / path).unlink()
    with pytest.raises(DataError, match=path):
        dogs.plugin().load()


def test_a_photo_that_changes_during_packing_is_noticed(dogs: Any) -> None:
    def meddle(what: str, done: int, total: int) -> None:
        if done == total:
            os.utime(dogs.root / "Images" / dogs.splits["train"][0][0], ns=(done, done))

    with pytest.raises(DataError, match="changed while"):
        dogs.plugin().pack(meddle)


def test_too_little_space_is_reported_before_packing(dogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="AIM_CACHE_DIR"):
        dogs.plugin().load()


def test_an_unusable_cache_folder_is_reported(dogs: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="AIM_CACHE_DIR"):
        dogs.plugin(cache=str(tmp_path / "file" / "cache")).load()


def test_a_ragged_store_keeps_images_of_different_sizes(dogs: Any) -> None:
    recipe = Recipe("shorter_side", 9, True)
    store = pack(dogs.plugin().listing(), recipe)
    data = store.ragged()
    assert len(data.train) == 12
    assert len({tuple(shape) for shape in data.train.shapes.tolist()}) > 1
    for number, name in enumerate(data.test.names):
        expected = recipe.apply(decode((dogs.root / "Images" / name).read_bytes()))
        assert np.array_equal(data.test[number], expected)
    assert np.array_equal(data.test[-1], data.test[len(data.test) - 1])
    with pytest.raises(IndexError):
        data.test[len(data.test)]
    with pytest.raises(DataError, match="ragged"):
        store.data_set()
    squash = pack(dogs.plugin().listing(), SQUASH)
    assert np.array_equal(squash.ragged().train[3], squash.data_set().train.pixels[3])


SCRIPT = """
import sys, time
from aimlib.registry import datasets
root, delay = sys.argv[1], float(sys.argv[2])
plugin = datasets.create(datasets.parse({"name": "stanford_dogs", "root": root, "classes": 3, "size": 8}))
calls = []
def progress(what, done, total):
    calls.append(done)
    print("packing", flush=True) if done == 1 else None
    time.sleep(delay)
store = plugin.pack(progress)
print("built" if calls else "mapped", store.manifest.build, store.data_set().fingerprint, flush=True)
"""


def start(dogs: Any, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(dogs.root), str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_exactly_one_of_several_processes_builds_the_store(dogs: Any) -> None:
    processes = [start(dogs, 0.05) for _ in range(3)]
    results = [process.communicate(timeout=120)[0].splitlines()[-1].split() for process in processes]
    assert sorted(result[0] for result in results) == ["built", "mapped", "mapped"]
    assert len({(build, fingerprint) for _, build, fingerprint in results}) == 1


def test_a_killed_build_never_looks_complete(dogs: Any) -> None:
    process = start(dogs, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "packing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cache, folder = dogs.root.parent / "cache", pack_folder(dogs.plugin().listing(), SQUASH)
    assert list(cache.glob(f"{folder.name}.building-*"))
    assert not folder.exists()
    assert builds(dogs) == 18
    assert not list(cache.glob("*.building-*"))


def test_open_data_stays_usable_after_its_store_is_replaced(dogs: Any, photo: Any) -> None:
    data = dogs.plugin().load()
    before = data.train.pixels.copy()
    dogs.write(dogs.splits["train"][0][0], photo(5))
    dogs.plugin().load()
    assert np.array_equal(data.train.pixels, before)


def test_the_manifest_records_the_origin(dogs: Any) -> None:
    store = dogs.plugin().pack()
    manifest = json.loads((store.folder / "manifest.json").read_text())
    assert manifest["recipe"] == {"decode": 1, "resize": "squash", "size": 8, "antialias": True}
    assert "Pillow" in manifest["decoder"]
    assert manifest["splits"]["train"]["photos"] == 12


@pytest.mark.photos
def test_real_photos_are_packed(stanford_dogs_root: Path) -> None:
    from aimlib.registry import datasets

    options = {"name": "stanford_dogs", "root": str(stanford_dogs_root), "classes": 20, "size": 32}
    plugin = datasets.create(datasets.parse(options))
    data = plugin.load()
    assert np.bincount(data.train.labels).tolist() == [100] * 20
    assert (len(data.train.labels), len(data.test.labels)) == (2000, 1548)
    started = time.process_time()
    assert plugin.load().fingerprint == data.fingerprint
    assert time.process_time() - started < 5
    assert 60 < data.train.pixels.mean() < 180
