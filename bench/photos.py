"""Photos for measurements of input: real photos if there are any, otherwise generated photos."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from aimlib.registry import datasets

VARIABLE = "AIM_STANFORD_DOGS"
SIDES = ((224, 168), (168, 224), (224, 224), (224, 149))
"""Widths and heights of generated photos."""


@dataclass(frozen=True)
class Photos:
    """Photos in one folder per class, in the folders ``train`` and ``test``.

    Attributes
    ----------
    root : the folder that contains ``train`` and ``test``.
    source : description of the photos for human readers.
    longer : length of the longest side of all photos, in pixels.
    classes : number of classes.
    """

    root: Path
    source: str
    longer: int
    classes: int

    def files(self) -> list[tuple[Path, int]]:
        """Return the training photos with their class numbers, as torchvision's ImageFolder does."""
        folders = sorted(path for path in (self.root / "train").iterdir())
        return [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.iterdir())]


def photos(root: Path, count: int, longer: int | None = None) -> Photos:
    """Write about `count` training photos, and one test photo per class, below `root`.

    Parameters
    ----------
    longer : length of each photo's longer side after enlargement, in pixels; None: the photos keep their size.
    """
    given = os.environ.get(VARIABLE)
    files = _of_dogs(given, count) if given else _made_up(count)
    largest = 0
    for number, (label, original) in enumerate(files):
        content = _enlarged(original, longer) if longer else original
        largest = max(largest, *Image.open(io.BytesIO(content)).size)
        for split in ("train", "test"):
            folder = root / split / f"{label:03d}"
            if split == "train" or not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number:06d}.jpg").write_bytes(content)
    kind = f"photos from a Stanford Dogs folder tree ({VARIABLE})" if given else "JPEGs of smoothed noise"
    enlarged = f", enlarged to {longer} px" if longer else f", at up to {largest} px"
    return Photos(root, f"{len(files)} {kind}{enlarged}", largest, len({label for label, _ in files}))


def _of_dogs(root: str, count: int) -> list[tuple[int, bytes]]:
    classes = sum(path.is_dir() for path in (Path(root) / "Images").iterdir())
    plugin = datasets.create(datasets.parse({"name": "stanford_dogs", "root": root, "classes": classes}))
    listing = plugin.listing()
    split = listing.splits["train"]
    chosen = np.linspace(0, len(split.paths) - 1, min(count, len(split.paths))).astype(int)
    return [(int(split.labels[n]), (listing.root / split.paths[n]).read_bytes()) for n in chosen]


def _made_up(count: int) -> list[tuple[int, bytes]]:
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        made.append((number % 10, _jpeg(coarse.resize(SIDES[number % len(SIDES)], Image.Resampling.BICUBIC))))
    return made


def _enlarged(content: bytes, longer: int) -> bytes:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    factor = longer / max(image.size)
    return _jpeg(image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
