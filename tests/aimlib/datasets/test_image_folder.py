from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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


def test_images_by_folder(root: Path) -> None:
    data = plugin(root).load()
    assert data.classes == ("cat", "dog")
    assert data.train.names == ("train/cat/a.jpg", "train/cat/more/b.PNG", "train/dog/a.webp")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert data.test.labels.tolist() == [0, 1]
    assert data.test.pixels.shape == (2, *[8, 8, 3])


def test_folders_by_other_names(root: Path) -> None:
    before = plugin(root).load()
    (root / "test").rename(root / "val")
    with pytest.raises(DataError, match=r"data\.test"):
        plugin(root).load()
    data = plugin(root, test="val").load()
    assert data.test.names == ("val/cat/y.bmp", "val/dog/z.jpeg")
    assert (data.test.pixels == before.test.pixels).all()


def test_new_photo_is_noticed(root: Path, photo: Callable[..., bytes]) -> None:
    before = plugin(root).load()
    (root / "train" / "dog" / "b.png").write_bytes(photo(77))
    after = plugin(root).load()
    assert len(after.train.labels) == 4
    assert after.fingerprint != before.fingerprint


def test_class_in_one_split_only(root: Path, photo: Callable[..., bytes]) -> None:
    (root / "train" / "emu").mkdir()
    (root / "train" / "emu" / "e.png").write_bytes(photo(5))
    with pytest.raises(DataError, match=r"data\.classes=3"):
        plugin(root).load()
    with pytest.raises(DataError, match="no test photos of emu"):
        plugin(root, classes=3).load()


def test_options(root: Path) -> None:
    with pytest.raises(ConfigError, match="classes: missing"):
        datasets.parse("image_folder")
    with pytest.raises(ConfigError, match="both 'train'"):
        plugin(root, test="train")
    with pytest.raises(DataError, match=r"train is missing.*data\.root"):
        plugin(root / "nowhere").load()
