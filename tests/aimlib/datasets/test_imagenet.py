"""ImageNet's layout as unpacked by torchvision, and a flat folder of validation photos with the development kit."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import imagenet

from aimlib.datasets.verify import verify
from aimlib.errors import DataError
from aimlib.registry import datasets

WNIDS = ("n01440764", "n01443537", "n02085620")
OF_VALIDATION = (2, 0, 1, 1, 2, 0)
"""For each validation photo, the position of its class in WNIDS."""


@pytest.fixture
def root(tmp_path: Path, photo: Callable[..., bytes]) -> Path:
    top = tmp_path / "imagenet"
    for label, wnid in enumerate(WNIDS):
        (top / "train" / wnid).mkdir(parents=True)
        for number in range(3):
            (top / "train" / wnid / f"{wnid}_{number}.JPEG").write_bytes(photo(10 * label + number, kind="JPEG"))
    (top / "val").mkdir()
    for number, label in enumerate(OF_VALIDATION, 1):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        (top / "val" / name).write_bytes(photo(100 * number + label, kind="JPEG"))
    return top


def in_folders(root: Path) -> None:
    for number, label in enumerate(OF_VALIDATION, 1):
        path = root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG"
        (root / "val" / WNIDS[label]).mkdir(exist_ok=True)
        path.rename(root / "val" / WNIDS[label] / path.name)


def kit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a development kit in the official format, and make torchvision expect its MD5."""
    names = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    synsets = np.array(
        [
            *((n + 1, wnid, f"name of {wnid}, other name", "gloss", 0) for n, wnid in enumerate(WNIDS)),
            (4, "n00000001", "a parent", "gloss", 3),
        ],
        dtype=names,
    )
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    truth = "".join(f"{label + 1}\n" for label in OF_VALIDATION).encode()
    path = root / imagenet.ARCHIVE_META["devkit"][0]
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("meta.mat", meta.getvalue()), ("ILSVRC2012_validation_ground_truth.txt", truth)):
            info = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(imagenet.ARCHIVE_META, "devkit", (path.name, digest))


def plugin(root: Path, **options: Any) -> Any:
    return datasets.create(datasets.parse({"name": "imagenet", "root": str(root), "classes": 3, "size": 8, **options}))


def test_the_folders_of_both_splits_are_read(root: Path) -> None:
    in_folders(root)
    data = plugin(root).load()
    assert data.classes == WNIDS
    assert len(data.train.names) == 9
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert plugin(root).load_known(data.fingerprint).fingerprint == data.fingerprint
    assert verify(plugin(root)) == []


def test_a_flat_folder_has_the_classes_listed_in_the_development_kit(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit(root, monkeypatch)
    root.chmod(0o555)  # torchvision would write its meta.bin here
    data = plugin(root).load()
    root.chmod(0o755)
    labels = {name: int(label) for name, label in zip(data.test.names, data.test.labels, strict=True)}
    assert labels == {f"val/ILSVRC2012_val_{n:08d}.JPEG": label for n, label in enumerate(OF_VALIDATION, 1)}
    assert not (root / "meta.bin").exists()
    imagenet.parse_devkit_archive(root)
    next(root.glob("*.tar.gz")).unlink()
    assert plugin(root).load().fingerprint == data.fingerprint, "torchvision's meta.bin contains the same classes"


def test_a_subset_of_the_classes_can_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit(root, monkeypatch)
    for path in (root / "train" / WNIDS[1]).iterdir():
        path.unlink()
    (root / "train" / WNIDS[1]).rmdir()
    data = plugin(root, classes=2).load()
    assert data.classes == (WNIDS[0], WNIDS[2])
    assert len(data.test.names) == 4


def test_missing_and_wrong_files_are_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"is flat, and neither ILSVRC2012_devkit_t12\.tar\.gz nor meta\.bin"):
        plugin(root).load()
    kit(root, monkeypatch)
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"devkit_t12\.tar\.gz: not the content that was published.*MD5 must be"):
        plugin(root).load()
    torch.save({"another": 1}, root / "meta.bin")
    with pytest.raises(DataError, match=r"meta\.bin: not the content that was published"):
        plugin(root).load()
    (root / "meta.bin").write_bytes(b"no archive of torch")
    with pytest.raises(DataError, match=r"meta\.bin: not the content that was published"):
        plugin(root).load()
    (root / "train" / "cats").mkdir()
    in_folders(root)
    with pytest.raises(DataError, match=r"not WordNet ids, such as n01440764: cats; .*image_folder"):
        plugin(root).load()
    with pytest.raises(DataError, match=r"train and val missing in .*register at https://image-net.org"):
        plugin(root / "nowhere").load()
    (root / "train").rename(root / "other")
    (root / "ILSVRC2012_img_train.tar").touch()
    with pytest.raises(DataError, match=r"train missing in .*unpack ILSVRC2012_img_train\.tar with torchvision"):
        plugin(root).load()
