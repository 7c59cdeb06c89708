"""Images that occur in two splits are counted from the stored pixels, and reported before the first run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_study
from in_process import ablate
from PIL import Image

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


def test_images_that_share_only_their_middle_row_count_as_different() -> None:
    pixels = np.zeros((3, 3, 2, 1), dtype=np.uint8)
    pixels[:, 1] = 5
    pixels[1, 0], pixels[2, 2] = 7, 9
    train, test = (
        Images(pixels[part], np.zeros(3, dtype=np.int64)[part], ("x", "y", "z")[part])
        for part in (slice(2), slice(1, 3))
    )
    assert list(shared_images(DataSet(train, test, ("a",), ""))) == [
        "1 of 2 test images has the same pixels as a training image, such as 'y'"
    ]


def write_photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a study with photos, none of which occurs in two splits."""
    for number in range(32):
        path = tmp_path / "photos" / ("train", "test")[number % 2] / ("a", "b")[number // 2 % 2] / f"{number}.png"
        write_photo(path, number)
    data: dict[str, Any] = {"name": "image_folder", "root": str(tmp_path / "photos"), "classes": 2, "size": 16}
    changes = {"base.data": data, "base.training.batch_size": 4, "base.training.epochs": 1, "seeds": 1}
    return tiny_study.write(tmp_path, tiny_study.changed(changes))


def test_check_and_the_first_session_report_photos_that_are_in_both_splits(
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


def test_photos_that_change_after_planning_make_their_runs_fail_without_a_traceback(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This corresponds to a machine with a different copy: the pack is missing, and the photos are different."""
    from ablations.sessions import session

    register = session.register

    def registered(*arguments: Any) -> None:
        register(*arguments)
        write_photo(tmp_path / "photos" / "test" / "a" / "1.png", 99)
        shutil.rmtree(tmp_path / "cache")

    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(session, "register", registered)
    code, said, _ = ablate(capsys, "run", study, "--out", tmp_path / "out", "--executor", "inline")
    assert code == 1
    assert "the data on this machine differs from the data with which the study was planned" in said
    assert "if the data has changed in the meantime, run again" in said
    assert 'File "' not in said
    for row in tiny_study.failures(tmp_path / "out"):
        assert 'File "' in row["traceback"]
    monkeypatch.setattr(session, "register", register)
    code, said, _ = ablate(capsys, "run", study, "--out", tmp_path / "out", "--executor", "inline")
    assert code == 0
    assert "2 runs: 2 computed now" in said
