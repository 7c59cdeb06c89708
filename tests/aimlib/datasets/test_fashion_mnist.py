from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimlib.datasets import _fashion_mnist as fashion
from aimlib.datasets.base import DatasetPlugin, ImageShape
from aimlib.datasets.idx import read_idx
from aimlib.errors import ConfigError, DataError
from aimlib.registry import datasets


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, packed: bool = False, images: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for prefix, count in (("train", images), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{prefix}-images-idx3-ubyte", pixels), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = idx(array)
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def plugin(root: Path | None, **options: object) -> DatasetPlugin:
    made: DatasetPlugin = datasets.create(
        datasets.parse({"name": "fashion_mnist", "root": None if root is None else str(root), **options})
    )
    return made


@pytest.mark.parametrize("place", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_all_folders_and_formats_yield_the_same_images(tmp_path: Path, place: str, packed: bool) -> None:
    write(tmp_path / "x" / place, packed)
    write(tmp_path / "reference")
    assert plugin(tmp_path / "x").load().fingerprint == plugin(tmp_path / "reference").load().fingerprint


def test_images_and_labels_are_read(tmp_path: Path) -> None:
    root = write(tmp_path / "f")
    data = plugin(root).load()
    raw = read_idx(root / "t10k-images-idx3-ubyte", 3)
    assert np.array_equal(data.test.pixels[..., 0], raw)
    assert data.classes[9] == "Ankle boot"
    larger = plugin(root, size=32, channels=3, train_images=20)
    assert larger.shape() == ImageShape(3, 32, 32, 10)
    assert larger.load().train.pixels.shape == (20, 32, 32, 3)
    assert np.bincount(larger.load().train.labels).tolist() == [2] * 10
    assert larger.load().test.pixels.shape == (20, 32, 32, 3)


def test_the_data_folder_is_searched_before_the_debian_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "debian")
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        plugin(None).load()
    write(tmp_path / "debian", packed=True)
    assert len(plugin(None).load().train.labels) == 40
    write(tmp_path / "data" / "fashion_mnist", images=50)
    assert len(plugin(None).load().train.labels) == 50
    with pytest.raises(DataError, match="nowhere"):
        plugin(tmp_path / "nowhere").load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x1f\x8b\x08\x00", "not an IDX file"),
        (idx(np.zeros((2, 28, 28), np.uint8), kind=9), "0x09"),
        (idx(np.zeros((2, 28), np.uint8)), "2 dimensions"),
        (idx(np.zeros((2, 28, 28), np.uint8))[:10], "truncated"),
        (idx(np.zeros((2, 28, 28), np.uint8))[:-1], "truncated"),
        (idx(np.zeros((2, 28, 28), np.uint8)) + b"\0", "do not match"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path, 3)


def test_damaged_gzip_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 255, (9, 28, 28)).astype(np.uint8)))
    path = tmp_path / "images.gz"
    for content in (whole[:-10], whole[:50], b"plain", whole[:60] + b"\xff\xff" + whole[62:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"images\.gz"):
            read_idx(path, 3)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "f")
    (root / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(39, np.uint8)))
    with pytest.raises(DataError, match="39 labels"):
        plugin(root).load()
    (root / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(40, np.uint8)))
    with pytest.raises(DataError, match="labels are not 0 to 9"):
        plugin(root).load()


def test_impossible_numbers_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train_images: 41 is not possible"):
        plugin(write(tmp_path / "f"), train_images=41).load()
    with pytest.raises(ConfigError, match="size"):
        plugin(None, size=27)


@pytest.mark.skipif(not fashion.DEBIAN_FOLDER.is_dir(), reason=f"no Fashion-MNIST in {fashion.DEBIAN_FOLDER}")
def test_the_real_files_have_the_published_content() -> None:
    made: Any = plugin(fashion.DEBIAN_FOLDER, train_images=1000)
    data = made.load()
    assert np.bincount(data.train.labels).tolist() == [100] * 10
    assert data.test.pixels.shape == (10000, 28, 28, 1)


def test_a_file_that_decompresses_to_too_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aimlib.datasets.idx.MOST_BYTES", 10_000)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(DataError, match=r"x\.gz: more than 10,000 bytes when decompressed, the limit; use the right"):
        read_idx(path, 3)
