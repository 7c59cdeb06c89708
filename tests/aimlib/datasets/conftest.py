"""Tiny trees of generated photos, a separate cache for every test, and the real photos if they are available."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from aimlib.registry import datasets


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's data and cache."""
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(tmp_path / "data"))


def photo_bytes(seed: int, width: int = 20, height: int = 14, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """Return an image file with random pixels."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    image = Image.fromarray(pixels if bands > 1 else pixels[..., 0], mode=None)
    if image.mode != mode:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def write_list(path: Path, files: list[str], labels: list[int]) -> None:
    """Write a list file in the format of Stanford Dogs: N × 1 cells of text and N × 1 uint8."""
    cells = np.empty((len(files), 1), dtype=object)
    cells[:, 0] = files
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"file_list": cells, "annotation_list": cells, "labels": np.array([labels], dtype=np.uint8).T})


class DogsTree:
    """A tiny tree in the official layout; tests may damage it."""

    def __init__(self, root: Path, classes: int = 3, train: int = 4, test: int = 2) -> None:
        self.root = root
        self.splits: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
        for label in range(1, classes + 1):
            folder = f"n{label:08d}-Breed_{label}"
            for number in range(train + test):
                path = f"{folder}/n{label:08d}_{number}.jpg"
                self.write(path, photo_bytes(label * 100 + number, width=10 + number, height=12 + label))
                self.splits["train" if number < train else "test"].append((path, label))
        self.write_lists()

    def write(self, path: str, content: bytes) -> Path:
        target = self.root / "Images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def write_lists(self, folder: str = "lists") -> None:
        for split, pairs in self.splits.items():
            write_list(self.root / folder / f"{split}_list.mat", [p for p, _ in pairs], [n for _, n in pairs])

    def plugin(self, **options: Any) -> Any:
        settings: Mapping[str, Any] = {"classes": 3, "size": 8, "root": str(self.root), **options}
        return datasets.create(datasets.parse({"name": "stanford_dogs", **settings}))


@pytest.fixture
def dogs(tmp_path: Path) -> DogsTree:
    """Return a tree of 3 breeds with 4 training and 2 test photos each."""
    return DogsTree(tmp_path / "dogs")


@pytest.fixture
def photo() -> Callable[..., bytes]:
    """Return the function that returns the content of image files."""
    return photo_bytes
