"""Small photo folders that tests damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(
    seed: int, kind: str = "PNG", height: int = 20, width: int = 20, *, mode: str = "RGB", **options: Any
) -> bytes:
    """Return the content of an image file with random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, kind, **options)
    return content.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def two_classes(top: Path) -> Path:
    """Write three photos of each of two classes to the folders train and test, and return their parent folder."""
    for seed, (split, name, number) in enumerate(
        (split, name, number) for split in ("train", "test") for name in ("cat", "dog") for number in range(3)
    ):
        write(top / split / name / f"{number}.png", picture(seed))
    return top
