"""CIFAR-10 and CIFAR-100 are read by torchvision's classes; a file with a different MD5 is never unpickled."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from aimlib.datasets.verify import verify
from aimlib.errors import ConfigError, DataError
from aimlib.registry import datasets

PER_FILE = 20


def batch(seed: int, classes: int, key: str) -> bytes:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)
    return pickle.dumps({"data": values, key: [number % classes for number in range(PER_FILE)]})


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write small batches in torchvision's layout, make torchvision expect their MD5, and return their root."""
    kind = getattr(torchvision.datasets, name.upper())
    classes, key = (10, "labels") if name == "cifar10" else (100, "fine_labels")
    folder = tmp_path / "files" / kind.base_folder
    folder.mkdir(parents=True)
    listed = {}
    for part in ("train_list", "test_list"):
        found = []
        for number, (file, _) in enumerate(getattr(kind, part)):
            content = batch(number + len(part), min(classes, PER_FILE), key)
            (folder / file).write_bytes(content)
            found.append([file, hashlib.md5(content).hexdigest()])
        listed[part] = found
    content = pickle.dumps({kind.meta["key"]: [f"class {n}" for n in range(classes)]})
    (folder / kind.meta["filename"]).write_bytes(content)
    for part, found in listed.items():
        monkeypatch.setattr(kind, part, found)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": hashlib.md5(content).hexdigest()})
    return tmp_path / "files"


def plugin(name: str, root: Path, **options: Any) -> Any:
    return datasets.create(datasets.parse({"name": name, "root": str(root), **options}))


def test_images_match_torchvision(name: str, root: Path) -> None:
    of_torchvision = getattr(torchvision.datasets, name.upper())(root, train=True, download=False)
    data = plugin(name, root).load()
    assert len(data.classes) == plugin(name, root).shape().classes == int(name.removeprefix("cifar"))
    assert data.classes == tuple(of_torchvision.classes)
    for number in (0, 7, len(of_torchvision) - 1):
        image, label = of_torchvision[number]
        assert (np.asarray(image) == data.train.pixels[number]).all()
        assert label == data.train.labels[number]
    assert data.test.pixels.shape == (PER_FILE, 32, 32, 3)
    assert (
        plugin(name, root / getattr(torchvision.datasets, name.upper()).base_folder).load().fingerprint
        == data.fingerprint
    )


def test_images_are_enlarged_and_subsets_are_stratified(name: str, root: Path) -> None:
    if name == "cifar100":
        pytest.skip("20 images of 100 classes cannot be stratified")
    data = plugin(name, root, size=40, train_images=30).load()
    assert data.train.pixels.shape == (30, 40, 40, 3)
    assert np.bincount(data.train.labels).tolist() == [3] * 10
    assert verify(plugin(name, root, size=40)) == []
    with pytest.raises(ConfigError, match="greater than or equal to 32"):
        plugin(name, root, size=28)


class Evil:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_unknown_content_is_never_unpickled(name: str, root: Path, tmp_path: Path) -> None:
    kind = getattr(torchvision.datasets, name.upper())
    mark = tmp_path / "was unpickled"
    for file in (kind.train_list[0][0], kind.meta["filename"]):
        path = root / kind.base_folder / file
        good = path.read_bytes()
        path.write_bytes(pickle.dumps(Evil(mark)))
        with pytest.raises(DataError, match=rf"{file} in .*not as published.*not opened"):
            plugin(name, root).load()
        path.write_bytes(good)
    assert not mark.exists()
    plugin(name, root).load()


def test_missing_files_are_reported_with_their_source(name: str, root: Path, tmp_path: Path) -> None:
    kind = getattr(torchvision.datasets, name.upper())
    (root / kind.base_folder / kind.test_list[0][0]).unlink()
    with pytest.raises(
        DataError, match=rf"{kind.test_list[0][0]} missing in .*{kind.filename} from https://www.cs.tor"
    ):
        plugin(name, root).load()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / kind.filename).write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack .*, or set data\.root to it"):
        plugin(name, tmp_path / "packed").load()
