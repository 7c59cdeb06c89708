"""A list can exclude photos from the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ablations.spec.study import read_study
from aimlib.datasets.exclusions import read_exclusions, write_exclusions
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.summary import summarise
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


def test_listed_photos_are_excluded_and_reported(tmp_path: Path) -> None:
    everything = _plugin(tmp_path).load()
    plugin = _plugin(tmp_path, "train/a/0.png,blurred: by eye\n")
    data = plugin.load()
    assert set(everything.train.names) - set(data.train.names) == {"train/a/0.png"}
    assert plugin.notes() == [f"{tmp_path / 'excluded.csv'}: 1 photo left out: blurred (1)"]
    assert summarise(plugin).excluded == plugin.notes()[0]
    assert plugin.load_known(data.fingerprint).train.names == data.train.names
    assert data.fingerprint != everything.fingerprint


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("train/a/7.png,gone\n", "not among the photos"),
        ("train/a/0.png,x\ntrain/a/1.png,x\n", "excludes all train photos of a"),
        ("train/a/0.png,\n", "reason is empty"),
        ("train/a/0.png,x\ntrain/a/0.png,y\n", "is listed twice"),
    ],
)
def test_an_unusable_list_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _plugin(tmp_path, rows).load()


def test_the_path_of_a_list_is_relative_to_the_study_file(tmp_path: Path) -> None:
    data = {"name": "image_folder", "root": "/photos", "classes": 2, "exclude": "lists/a.csv"}
    study = tmp_path / "studies" / "s.yaml"
    study.parent.mkdir()
    document = {
        "name": "s",
        "seeds": [0, 1],
        "base": {"data": data},
        "vary": "one",
        "factors": {"data.exclude": [None, "b.csv"]},
        "arms": {"one": {}, "two": {"data": {"exclude": "/else/c.csv"}}},
    }
    study.write_text(yaml.safe_dump(document))
    placed = read_study(study).spec
    assert placed.base["data"]["exclude"] == str(study.parent / "lists" / "a.csv")
    assert "/else/c.csv" in str(placed.arms["two"])
    assert str(study.parent / "b.csv") in str(placed.factors)


def test_data_without_a_list_keeps_its_identity() -> None:
    config = {"name": "image_folder", "classes": 2}
    assert datasets.parse(config).identity() == datasets.parse({**config, "exclude": "a.csv"}).identity()


def test_a_written_list_contains_every_photo(tmp_path: Path) -> None:
    names = ["a\nb", "a\rb", "a\r\nb", 'a"b', "a,b", "#a", "=1+1", "@a", " a ", "\U0001f415", "a\tb", "'=a", "\u2028"]
    write_exclusions(tmp_path / "list.csv", [(f"{name}", "broken") for name in names], ["made by a test"])
    assert list(read_exclusions(str(tmp_path / "list.csv")).reasons) == names
