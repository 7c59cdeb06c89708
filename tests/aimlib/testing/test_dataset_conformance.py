"""Every built-in data set passes the conformance tests for data sets, using small files in its own layout."""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat
from tiny_runs import restored_registries

from aimlib.component import ComponentConfig
from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.registry import datasets
from aimlib.testing import DatasetConformance

Made = Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def no_files(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {}


def fashion(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    for prefix, count in (("train", 40), ("t10k", 20)):
        pixels = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{prefix}-images-idx3-ubyte", pixels), (f"{prefix}-labels-idx1-ubyte", labels)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / name).write_bytes(head + array.tobytes())
    return {"root": str(folder)}


def cifar(kind: Any, classes: int, key: str) -> Made:
    """Return a function that writes batches in torchvision's layout, and makes torchvision expect their MD5 hashes."""

    def make(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
        top, draw = folder / kind.base_folder, np.random.default_rng(0)
        top.mkdir()

        def kept(name: str, content: dict[str, Any]) -> str:
            (top / name).write_bytes(pickle.dumps(content))
            return hashlib.md5((top / name).read_bytes()).hexdigest()

        for part in ("train_list", "test_list"):
            labels = list(range(classes))
            listed = [
                [file, kept(file, {"data": draw.integers(0, 256, (classes, 3072), dtype=np.uint8), key: labels})]
                for file, _ in getattr(kind, part)
            ]
            patch.setattr(kind, part, listed)
        names = {kind.meta["key"]: [f"class {number}" for number in range(classes)]}
        patch.setattr(kind, "meta", {**kind.meta, "md5": kept(kind.meta["filename"], names)})
        return {"root": str(folder)}

    return make


def folders(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for number, place in enumerate(f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")):
        for copy in range(3):
            photo(folder / place / f"{copy}.png", 10 * number + copy)
    return {"root": str(folder), "classes": 2, "size": 8}


def index(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    rows = [
        (f"{n}.png", ("cat", "dog")[n % 2], ("train", "train", "train", "train", "test", "test")[n]) for n in range(6)
    ]
    for number, (name, _, _) in enumerate(rows):
        photo(folder / name, number)
    (folder / "index.csv").write_text("\n".join(["path,label,split", *(",".join(row) for row in rows)]) + "\n")
    return {"root": str(folder), "classes": 2, "size": 8}


def imagenet(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for number, name in enumerate(("n01440764", "n01443537", "n02085620")):
        for copy in range(2):
            photo(folder / "train" / name / f"{name}_{copy}.JPEG", 10 * number + copy)
        photo(folder / "val" / name / f"ILSVRC2012_val_{number + 1:08d}.JPEG", 100 + number)
    return {"root": str(folder), "classes": 3, "size": 8}


def dogs(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for split, count in (("train", 3), ("test", 2)):
        files, labels = [], []
        for label in (1, 2):
            for number in range(count):
                files.append(f"n{label:08d}-Breed_{label}/n{label:08d}_{split}{number}.jpg")
                labels.append(label)
                photo(folder / "Images" / files[-1], 10 * label + number)
        cells = np.empty((len(files), 1), dtype=object)
        cells[:, 0] = files
        (folder / "lists").mkdir(exist_ok=True)
        content = {"file_list": cells, "annotation_list": cells, "labels": np.array([labels], dtype=np.uint8).T}
        savemat(folder / "lists" / f"{split}_list.mat", content)
    return {"root": str(folder), "classes": 2, "size": 8}


def labels(folder: Path, _patch: pytest.MonkeyPatch) -> dict[str, Any]:
    (folder / "x.csv").write_text("name,label,split\na,cat,train\nb,dog,train\nc,dog,test\nd,cat,test\n")
    return {"file": str(folder / "x.csv"), "classes": 2}


class OnFiles(DatasetConformance):
    """Writes the data set's files before every test."""

    made: Made

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Write the files of the data set, and set the options that locate them."""
        monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
        (tmp_path / "files").mkdir()
        options = type(self).made(tmp_path / "files", monkeypatch)
        monkeypatch.setattr(type(self), "options", {**type(self).options, **options})


class TestDigits(OnFiles):
    name, made = "digits", staticmethod(no_files)


class TestColoredDigits(OnFiles):
    name, made = "digits", staticmethod(no_files)
    options = {"size": 12, "channels": 3, "train_images": 100}


class TestFashionMnist(OnFiles):
    name, made = "fashion_mnist", staticmethod(fashion)


class TestCifar10(OnFiles):
    name, made = "cifar10", staticmethod(cifar(torchvision.datasets.CIFAR10, 10, "labels"))


class TestCifar100(OnFiles):
    name, made = "cifar100", staticmethod(cifar(torchvision.datasets.CIFAR100, 100, "fine_labels"))


class TestImageFolder(OnFiles):
    name, made = "image_folder", staticmethod(folders)


class TestImageIndex(OnFiles):
    name, made = "image_index", staticmethod(index)


class TestImageNet(OnFiles):
    name, made = "imagenet", staticmethod(imagenet)


class TestStanfordDogs(OnFiles):
    name, made = "stanford_dogs", staticmethod(dogs)


class TestStanfordDogsByTheFastDecoder(OnFiles):
    name, made = "stanford_dogs", staticmethod(dogs)
    options = {"decoder": "fast"}


class TestLabels(OnFiles):
    name, made = "labels", staticmethod(labels)


def test_no_built_in_data_set_is_omitted() -> None:
    covered = {cls.name for cls in OnFiles.__subclasses__()}
    assert {info.name for info in datasets.plugins() if info.module.startswith("aimlib.")} == covered


class Careless(DatasetPlugin):
    """A data set that reads a file for its shape, redraws its pixels, repeats a name, and has labels beyond its
    classes."""

    class Config(ComponentConfig):
        """The options of a data set with mistakes."""

        root: str
        """The location of its file."""

    config: Config

    def shape(self) -> ImageShape:
        return ImageShape(3, 4, 4, int(Path(self.config.root, "classes.txt").read_text()))

    def load(self) -> DataSet:
        pixels = np.random.default_rng().integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
        images = Images(pixels, np.array([0, 1, 2, 1]), ("a", "b", "c", "c"))
        return with_fingerprint(images, images, ("cat", "cat"))


@pytest.fixture
def careless(tmp_path: Path) -> Iterator[DatasetConformance]:
    (tmp_path / "classes.txt").write_text("2")
    with restored_registries():
        datasets.register("careless")(type("Careless", (Careless,), {}))
        yield type("Case", (DatasetConformance,), {"name": "careless", "options": {"root": str(tmp_path)}})()


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("test_the_shape_needs_no_file", "it reads a file or lists a folder"),
        ("test_splits_match_the_shape", "train"),
        ("test_classes_are_named", ""),
        ("test_it_is_the_same_each_time", ""),
        ("test_the_place_of_its_files_is_not_part_of_the_run_id", "declare with `local`: root"),
        ("test_source_says_where_the_idea_is_from", "has no `source`"),
    ],
)
def test_every_mistake_in_a_data_set_is_detected(careless: DatasetConformance, test: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(careless, test)()
