from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from aimlib.datasets.base import ImageShape
from aimlib.datasets.dogs_lists import read_list
from aimlib.errors import ConfigError, DataError
from aimlib.registry import datasets


def test_the_full_set_is_used_by_default() -> None:
    config = datasets.parse("stanford_dogs")
    assert datasets.create(config).shape() == ImageShape(3, 224, 224, 120)
    assert config.identity() == {"name": "stanford_dogs", "version": 1}


def test_paths_are_not_part_of_the_identity() -> None:
    config = datasets.parse({"name": "stanford_dogs", "root": "/a", "cache": "/b", "antialias": False})
    assert config.identity() == {"name": "stanford_dogs", "version": 1, "antialias": False}


def test_a_message_says_how_to_get_missing_data(tmp_path: Path) -> None:
    plugin = datasets.create(datasets.parse({"name": "stanford_dogs", "root": str(tmp_path)}))
    with pytest.raises(DataError, match="fetch it with `ablate data download"):
        plugin.load()
    (tmp_path / "images.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack images\.tar there with `ablate data download"):
        plugin.load()


def test_the_root_can_come_from_the_environment(dogs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dogs.root = dogs.root.rename(dogs.root.with_name("stanford_dogs"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(dogs.root.parent))
    assert len(dogs.plugin(root=None).listing().paths()) == 18


def test_the_lists_may_be_next_to_the_images_folder(dogs: Any) -> None:
    for path in (dogs.root / "lists").iterdir():
        path.rename(dogs.root / path.name)
    (dogs.root / "lists").rmdir()
    assert len(dogs.plugin().load().train.labels) == 12


def test_a_message_about_a_wrong_number_of_classes_contains_the_right_number(dogs: Any) -> None:
    with pytest.raises(DataError, match=r"set data\.classes=3"):
        dogs.plugin(classes=120).load()


def test_the_original_labels_in_a_subset_are_renumbered(dogs: Any) -> None:
    dogs.splits = {split: [(path, label * 7) for path, label in pairs] for split, pairs in dogs.splits.items()}
    dogs.write_lists()
    assert set(dogs.plugin().load().train.labels.tolist()) == {0, 1, 2}


def test_a_photo_in_both_lists_is_refused(dogs: Any) -> None:
    dogs.splits["test"].append(dogs.splits["train"][0])
    dogs.write_lists()
    with pytest.raises(DataError, match=dogs.splits["train"][0][0]):
        dogs.plugin().load()


def test_a_class_without_test_photos_is_refused(dogs: Any) -> None:
    dogs.splits["test"] = dogs.splits["test"][:-2]
    dogs.write_lists()
    with pytest.raises(DataError, match="no test photos of n00000003-Breed_3"):
        dogs.plugin().load()


@pytest.mark.parametrize("fault", ["two labels in a folder", "one label for two folders"])
def test_labels_must_match_folders(dogs: Any, fault: str) -> None:
    path, _ = dogs.splits["train"][0]
    if fault == "two labels in a folder":
        dogs.splits["train"][0] = (path, 3)
    else:
        dogs.splits = {split: [(path, min(n, 2)) for path, n in pairs] for split, pairs in dogs.splits.items()}
    dogs.write_lists()
    with pytest.raises(DataError, match="label"):
        dogs.plugin().load()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b.jpg", "b.jpg", "a/b/c.jpg", "a//b", ""])
def test_paths_in_lists_cannot_leave_the_root(tmp_path: Path, name: str) -> None:
    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = name
    savemat(tmp_path / "l.mat", {"file_list": cells, "labels": np.array([[1]], dtype=np.uint8)})
    with pytest.raises(DataError, match=r"l\.mat"):
        read_list(tmp_path / "l.mat")


def test_damaged_lists_are_refused(tmp_path: Path, dogs: Any) -> None:
    whole = (dogs.root / "lists" / "train_list.mat").read_bytes()
    for content in (b"", b"nothing of the kind", whole[:200], whole[: len(whole) // 2]):
        path = tmp_path / "l.mat"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"l\.mat.*fetch"):
            read_list(path)
    savemat(tmp_path / "l.mat", {"labels": np.array([[1]])})
    with pytest.raises(DataError, match="file_list"):
        read_list(tmp_path / "l.mat")


@pytest.mark.parametrize(
    "options", [{"size": 4}, {"resize": "shorter_side"}, {"lists": "../x"}, {"lists": ".."}, {"classes": 1}]
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        datasets.parse({"name": "stanford_dogs", **options})


@pytest.mark.photos
def test_both_lists_of_the_real_subset_are_read(stanford_dogs_root: Path) -> None:
    fingerprints = set()
    for lists in ("lists", "lists-official"):
        if not (stanford_dogs_root / lists).is_dir():
            pytest.skip(f"{stanford_dogs_root} has no {lists}")
        options = {
            "name": "stanford_dogs",
            "root": str(stanford_dogs_root),
            "classes": 20,
            "size": 8,
            "lists": lists,
        }
        fingerprints.add(datasets.create(datasets.parse(options)).load().fingerprint)
    assert len(fingerprints) == 2
