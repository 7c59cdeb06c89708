from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimlib.datasets.base import DatasetPlugin
from aimlib.errors import ConfigError, DataError
from aimlib.registry import datasets


@pytest.fixture
def root(tmp_path: Path, photo: Callable[..., bytes]) -> Path:
    top = tmp_path / "photos"
    for seed, path in enumerate(
        ("train/cat/a.jpg", "train/cat/more/b.PNG", "train/dog/a.webp", "test/dog/z.jpeg", "test/cat/y.bmp")
    ):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(photo(seed))
    (top / "train" / "cat" / "notes.txt").write_text("no photo")
    (top / "train" / "cat" / ".hidden.jpg").write_text("no photo")
    (top / "train" / ".thumbnails").mkdir()
    return top


def plugin(root: Path, **options: object) -> DatasetPlugin:
    made: DatasetPlugin = datasets.create(
        datasets.parse({"name": "image_folder", "classes": 2, "size": 8, "root": str(root), **options})
    )
    return made


def test_images_are_read_from_the_folders_of_their_split_and_class(root: Path) -> None:
    data = plugin(root).load()
    assert data.classes == ("cat", "dog")
    assert data.train.names == ("train/cat/a.jpg", "train/cat/more/b.PNG", "train/dog/a.webp")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert data.test.labels.tolist() == [0, 1]
    assert data.test.pixels.shape == (2, *[8, 8, 3])


def test_folders_can_have_different_names(root: Path) -> None:
    before = plugin(root).load()
    (root / "test").rename(root / "val")
    with pytest.raises(DataError, match=r"data\.test"):
        plugin(root).load()
    data = plugin(root, test="val").load()
    assert data.test.names == ("val/cat/y.bmp", "val/dog/z.jpeg")
    assert (data.test.pixels == before.test.pixels).all()


def test_a_new_photo_changes_the_fingerprint_of_the_data(root: Path, photo: Callable[..., bytes]) -> None:
    before = plugin(root).load()
    (root / "train" / "dog" / "b.png").write_bytes(photo(77))
    after = plugin(root).load()
    assert len(after.train.labels) == 4
    assert after.fingerprint != before.fingerprint


def test_a_class_in_only_one_split_is_refused(root: Path, photo: Callable[..., bytes]) -> None:
    (root / "train" / "emu").mkdir()
    (root / "train" / "emu" / "e.png").write_bytes(photo(5))
    with pytest.raises(DataError, match=r"data\.classes=3"):
        plugin(root).load()
    with pytest.raises(DataError, match="no test photos of emu"):
        plugin(root, classes=3).load()


def test_options_are_checked(root: Path) -> None:
    with pytest.raises(ConfigError, match="classes: missing"):
        datasets.parse("image_folder")
    with pytest.raises(ConfigError, match="both 'train'"):
        plugin(root, test="train")
    with pytest.raises(DataError, match=r"train is missing.*data\.root"):
        plugin(root / "nowhere").load()


def test_folders_without_splits_can_be_split(root: Path, photo: Callable[..., bytes]) -> None:
    top = root / "train"
    for number in range(8):
        (top / "cat" / f"{number}.png").write_bytes(photo(100 + number))
        (top / "dog" / f"{number}.png").write_bytes(photo(200 + number))
    data = plugin(top, split={"test_fraction": 0.25}).load()
    assert data.classes == ("cat", "dog")
    assert not set(data.train.names) & set(data.test.names)
    assert len(data.train.names) + len(data.test.names) == 10 + 9
    assert np.bincount(data.test.labels).tolist() == [3, 2]
    again = plugin(top, split={"test_fraction": 0.25}).load()
    assert again.fingerprint == data.fingerprint
    other = plugin(top, split={"test_fraction": 0.25, "seed": 1}).load()
    assert other.fingerprint != data.fingerprint, "the split is part of the fingerprint"
    assert set(other.test.names) != set(data.test.names)


def test_every_fold_has_its_own_pack(root: Path, photo: Callable[..., bytes]) -> None:
    for number in range(4):
        (root / "train" / "dog" / f"{number}.png").write_bytes(photo(number))
        (root / "train" / "cat" / f"{number}.png").write_bytes(photo(50 + number))
    folds = [plugin(root / "train", split={"folds": 3, "fold": fold}) for fold in range(3)]
    first = [fold.load() for fold in folds]
    tested = [name for data in first for name in data.test.names]
    assert len(tested) == len(set(tested)) == 6 + 5
    assert [fold.load_known(data.fingerprint).fingerprint for fold, data in zip(folds, first, strict=True)] == [
        data.fingerprint for data in first
    ]


def test_the_data_sets_own_validation_images_are_used(root: Path, photo: Callable[..., bytes]) -> None:
    before = plugin(root).load()
    (root / "val" / "cat").mkdir(parents=True)
    (root / "val" / "cat" / "v.png").write_bytes(photo(9))
    unused = plugin(root)
    assert unused.load().fingerprint == before.fingerprint, "an unused folder changes nothing"
    assert unused.notes() == [
        f"{root / 'val'} is not used: validation images are held out of train; to use it, set data.validation: val"
    ]
    used = plugin(root, validation="val")
    data = used.load()
    assert used.notes() == []
    assert data.validation is not None
    assert data.validation.names == ("val/cat/v.png",)
    assert data.train.names == before.train.names
    assert data.fingerprint != before.fingerprint
    known = used.load_known(data.fingerprint)
    assert known.validation is not None
    assert (known.validation.pixels == data.validation.pixels).all()
    assert list(data.splits()) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation": "test"}, "another split's folder"),
        ({"validation": "val", "split": {"test_fraction": 0.5}}, "no effect together with"),
        ({"test": "val", "split": {"test_fraction": 0.5}}, "no effect together with"),
    ],
)
def test_contradictory_folders_are_refused(root: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plugin(root, **options)


def test_a_layout_that_does_not_match_the_options_is_refused(root: Path, photo: Callable[..., bytes]) -> None:
    with pytest.raises(DataError, match=r"folders train, test, which are splits.*remove data\.split"):
        plugin(root, split={"test_fraction": 0.5}).load()
    with pytest.raises(DataError, match=r"\(cat, dog\) are classes.*data\.split: \{test_fraction: 0\.2\}"):
        plugin(root / "train").load()
    (root / "flat" / "train").mkdir(parents=True)
    (root / "flat" / "train" / "a.png").write_bytes(photo(1))
    with pytest.raises(DataError, match=r"has no subfolders, and every class needs one.*image_index"):
        plugin(root / "flat").load()


TASKS: dict[str, tuple[dict[str, str], str]] = {
    "masks": ({"train/images/a.png": "", "train/masks/a.png": ""}, "masks.*segmentation"),
    "yolo": ({"train/images/a.png": "", "train/labels/a.txt": "0 .5 .5 .1 .1"}, "box.*YOLO"),
    "yolo of roboflow": ({"data.yaml": "nc: 3", "train/a.png": "", "valid/b.png": ""}, "data.yaml describes boxes"),
    "voc": ({"JPEGImages/a.jpg": "", "Annotations/a.xml": "<annotation/>"}, "box.*Pascal VOC"),
    "coco": ({"train/a.jpg": "", "annotations/i.json": '{"images": [], "annotations": []}'}, "COCO format"),
    "coco beside": ({"train/a.jpg": "", "train.json": '{"images": [], "annotations": []}'}, "COCO format"),
}


@pytest.mark.parametrize("task", TASKS)
def test_other_tasks_are_refused(tmp_path: Path, task: str, photo: Callable[..., bytes]) -> None:
    files, said = TASKS[task]
    for name, text in files.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() or photo(1))
    with pytest.raises(DataError, match=rf"{said}.*one class per image"):
        plugin(tmp_path / "set").load()


def test_a_class_may_have_the_name_masks(tmp_path: Path, photo: Callable[..., bytes]) -> None:
    for path in ("train/masks/a.png", "train/faces/b.png", "test/masks/c.png", "test/faces/d.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(photo(len(path)))
    assert plugin(tmp_path).load().classes == ("faces", "masks")
