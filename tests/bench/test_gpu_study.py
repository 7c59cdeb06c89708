"""A rehearsal of `make gpu-study`: a driver is killed halfway, runs resume, and a partial study is reported as such."""

from __future__ import annotations

import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from bench.gpu import results, study
from bench.gpu.report import Outcome

BREEDS, TRAIN, TEST = 3, 24, 4


@pytest.fixture
def tree(tmp_path):
    """A tree with a few breeds in the layout of Stanford Dogs."""
    root, lists = tmp_path / "dogs", {"train": [], "test": []}
    for breed in range(1, BREEDS + 1):
        folder = root / "Images" / f"n{breed:08d}-Breed_{breed}"
        folder.mkdir(parents=True)
        for number in range(TRAIN + TEST):
            pixels = np.random.default_rng(100 * breed + number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"n{breed:08d}_{number}.jpg", "JPEG")
            name = f"{folder.name}/n{breed:08d}_{number}.jpg"
            lists["train" if number < TRAIN else "test"].append((name, breed))
    (root / "lists").mkdir()
    for split, pairs in lists.items():
        cells = np.empty((len(pairs), 1), dtype=object)
        cells[:, 0] = [name for name, _ in pairs]
        labels = np.array([[label for _, label in pairs]], dtype=np.uint8).T
        savemat(root / "lists" / f"{split}_list.mat", {"file_list": cells, "annotation_list": cells, "labels": labels})
    return root


def test_photos_can_be_a_tree_or_an_archive_of_a_tree(tree, tmp_path):
    assert study.tree(tree, tmp_path) == tree.resolve()
    assert study.tree(tree.parent, tmp_path) == tree.resolve(), "the folder above it"
    archive = tmp_path / "photos.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(tree, arcname="some-dogs")
    found = study.tree(archive, tmp_path / "out")
    assert found == (tmp_path / "out" / "photos" / "photos" / "some-dogs").resolve()
    assert study._breeds(found) == BREEDS
    with pytest.raises(SystemExit, match="no folder `Images`"):
        study.tree(tree / "lists", tmp_path)


def test_a_gpu_runs_the_full_studies_and_a_rehearsal_runs_small_ones(tree):
    small, large = study.studies(tree, tree, "cuda", "0.25")
    assert (small.file, large.file) == ("controlled_small", "controlled")
    assert {"data.classes=3", "resources.gpus=0.25"} <= set(small.overrides)
    assert small.killed
    assert not large.killed
    assert not any("epochs" in each for each in (*small.overrides, *large.overrides))
    assert [each.number for each in study.studies(tree, None, "cuda", "0.25")] == [101]
    for each in study.studies(tree, tree, "cpu", "0.25"):
        assert each.file == "controlled_small"
        assert not any("gpus" in override for override in each.overrides)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_study_whose_driver_is_killed_halfway_loses_nothing(tree, tmp_path):
    (wanted,) = study.studies(tree, None, "cpu", "0.25")
    long = tuple(each.replace("training.epochs=1", "training.epochs=60") for each in wanted.overrides)
    found = study.run(replace(wanted, overrides=long), tmp_path, "cpu", time.monotonic() + 500)
    assert (found.status, found.reason) == ("PASS", ""), found.log
    assert "2 sessions, the first killed with -9" in found.notes
    assert "8 of 8 runs have a result, 2 complete pairs; all of them" in found.notes
    report = study.write_report(wanted, tmp_path, "cpu")
    assert (report / "report.md").exists()
    assert report.is_relative_to(tmp_path), "a rehearsal leaves docs alone"


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_a_study_with_too_little_time_is_partial_and_can_be_continued(tree, tmp_path, monkeypatch):
    (wanted,) = study.studies(tree, None, "cpu", "0.25")
    long = tuple(each.replace("training.epochs=1", "training.epochs=400") for each in wanted.overrides)
    wanted = replace(wanted, overrides=long, killed=False)
    first = study.run(wanted, tmp_path, "cpu", time.monotonic() + study._LAST_S + 30)
    assert first.status == "PASS", first.log
    assert "PARTIAL" in first.notes[0]
    before = study.settled(tmp_path / wanted.name)
    second = study.run(wanted, tmp_path, "cpu", time.monotonic() + study._LAST_S + 30)
    assert second.status == "PASS", second.log
    assert before <= study.settled(tmp_path / wanted.name)
    kept = results.keep(second, {"when": "", "command": "", "commit": "", "machine": {}}, tmp_path)
    assert kept.name == "gpu-study-small.rehearsal.json"
    assert isinstance(second, Outcome)
