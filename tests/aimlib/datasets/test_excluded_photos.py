"""Photos that a list leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimlib.datasets.photos import PhotoPlugin
from aimlib.errors import DataError
from aimlib.registry import datasets


def _plugin(folder: Path, rows: str | None = None) -> PhotoPlugin:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    listed = None
    if rows is not None:
        listed = folder / "excluded.csv"
        listed.write_text("# made by hand\npath,reason\n" + rows)
    config = {"name": "image_folder", "root": str(folder), "cache": str(folder / "cache"), "size": 8, "classes": 2}
    plugin = datasets.create(datasets.parse({**config, "exclude": None if listed is None else str(listed)}))
    assert isinstance(plugin, PhotoPlugin)
    return plugin


def test_listed_photos_are_left_out_and_stated(tmp_path: Path) -> None:
    everything = _plugin(tmp_path).load()
    data = _plugin(tmp_path, "train/a/0.png,blurred: by eye\n").load()
    assert (len(everything.train.labels), len(data.train.labels)) == (4, 3)
    assert [(each.path, each.split, each.class_name, each.kind) for each in data.excluded] == [
        ("train/a/0.png", "train", "a", "blurred")
    ]
    assert everything.excluded == ()
    assert data.fingerprint != everything.fingerprint


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("train/a/7.png,gone\n", "not among the photos"),
        ("train/a/0.png,x\ntrain/a/1.png,x\n", "excludes all train photos of a"),
        ("train/a/0.png,\n", "reason is empty"),
        ("train/a/0.png,x\ntrain/a/0.png,y\n", "is there twice"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _plugin(tmp_path, rows).load()
