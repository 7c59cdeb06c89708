"""Workers find the data at the path in the study, no matter what their current folder is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_study import rows

from ablations.sessions.launch import run
from aimlib.registry import datasets

StudyMaker = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of photos that contains a table with semicolon-separated fields."""
    top, lines = tmp_path / "elsewhere" / "photos", ["path;label;split"]
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(16):
            path = top / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
            lines.append(f"{split}/{number}.png;{('cat', 'dog')[number % 2]};{split}")
    (top / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    return top


def placed(**options: Any) -> dict[str, Any]:
    config = datasets.parse({"name": "image_index", "classes": 2, **options})
    return config.with_absolute_paths().model_dump()  # type: ignore[no-any-return]


@pytest.mark.parametrize("file", ["index.csv", "elsewhere/photos/index.csv"])
def test_a_study_can_use_a_table_below_its_root_with_a_different_delimiter(
    file: str, root: Path, study: StudyMaker, tmp_path: Path
) -> None:
    data = {"name": "image_index", "file": file, "root": "elsewhere/photos", "classes": 2, "size": 8, "delimiter": ";"}
    path = study({"base/data": data, "seeds": 1, "base.training.epochs": 1})
    run(path, executor="inline", out=tmp_path / "out")
    assert [row["status"] for row in rows(tmp_path / "out")] == ["finished"] * 2


def test_paths_become_absolute_and_other_values_do_not_change(root: Path, tmp_path: Path) -> None:
    found = placed(root="elsewhere/photos", delimiter=";", cache="packs", exclude="list.csv")
    assert (found["root"], found["file"], found["delimiter"]) == (str(root), "index.csv", ";")
    assert (found["cache"], found["exclude"]) == (str(tmp_path / "packs"), str(tmp_path / "list.csv"))
    assert placed(file="tables/index.csv")["file"] == str(tmp_path / "tables" / "index.csv")


def test_the_url_of_a_bucket_does_not_change() -> None:
    config = datasets.parse({"name": "image_folder", "root": "s3://lab/photos", "classes": 2})
    assert config.with_absolute_paths().model_dump()["root"] == "s3://lab/photos"
