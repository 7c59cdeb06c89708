"""Images in two splits are counted from the stored pixels, and told before the first run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_study
from in_process import ablate

from aimlib.datasets.base import DataSet, Images
from aimlib.datasets.overlap import shared_images


def images(*values: int) -> Images:
    pixels = np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    return Images(pixels, np.zeros(len(values), dtype=np.int64), tuple(f"{value} of {len(values)}" for value in values))


def test_every_pair_of_splits_is_compared() -> None:
    data = DataSet(images(1, 2, 2, 3), images(2, 3, 4, 7, 7), ("a",), "", images(3, 9, 7))
    assert list(shared_images(data)) == [
        "1 of 3 validation images has the same pixels as a training image, such as '3 of 3'",
        "2 of 5 test images have the same pixels as a training image, such as '2 of 5'",
        "3 of 5 test images have the same pixels as a validation image, such as '3 of 5'",
    ]
    assert list(shared_images(DataSet(images(1, 1), images(2, 2), ("a",), ""))) == []


@pytest.fixture
def study(tmp_path: Path, photo: Callable[..., bytes]) -> Path:
    """Return a study of photos, none of which is in two splits."""
    for number in range(32):
        path = tmp_path / "photos" / ("train", "test")[number % 2] / ("a", "b")[number // 2 % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    data: dict[str, Any] = {"name": "image_folder", "root": str(tmp_path / "photos"), "classes": 2, "size": 16}
    changes = {"base.data": data, "base.training.batch_size": 4, "base.training.epochs": 1, "seeds": 1}
    return tiny_study.write(tmp_path, tiny_study.changed(changes))


def test_check_and_the_first_session_tell_of_photos_in_both_splits(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    code, said, _ = ablate(capsys, "check", study)
    assert code == 0
    assert "same pixels" not in said
    photos = tmp_path / "photos"
    shutil.copy(photos / "train" / "a" / "0.png", photos / "test" / "b" / "copy.png")
    told = "image_folder: 1 of 17 test images has the same pixels as a training image, such as 'test/b/copy.png'; "
    _, said, _ = ablate(capsys, "check", study)
    assert said.count(f"note: data: {told}") == 1
    code, said, _ = ablate(capsys, "run", study, "--out", tmp_path / "out", "--executor", "inline")
    assert code == 0
    assert said.count(f"warning: data: {told}") == 1
    assert said.index("warning: data:") < said.index("The analysis plan is frozen")
