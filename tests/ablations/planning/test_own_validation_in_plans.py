"""Studies of data with its own validation images, with a generated split, and with folds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ablations
from ablations.estimation.estimate import batches_of_epoch
from ablations.planning.plan import Plan
from ablations.planning.plan import document as document_of
from ablations.planning.plan import plan as planned
from ablations.spec.study import read_study
from aimlib.errors import ConfigError


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    for folder, count in (("train", 10), ("val", 3), ("test", 4)):
        for label in ("cat", "dog"):
            place = tmp_path / "photos" / folder / label
            place.mkdir(parents=True)
            for number in range(count):
                (place / f"{number}.png").write_bytes(photo(number + 100 * len(label + folder)))
    return tmp_path / "photos"


def study(data: dict[str, Any], training: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    usual = {"epochs": 1, "batch_size": 5, "optimizer": "adam", "select_on": "validation"}
    base = {
        "data": {"classes": 2, "size": 8, "name": "image_folder", **data},
        "model": {"backbone": {"name": "small_resnet", "widths": [4, 4], "blocks": [1, 1]}},
        "training": {**usual, **(training or {})},
    }
    return {"name": "layout", "base": base, "arms": {"baseline": {}}, "seeds": 1, **keys}


def planned_of(document: dict[str, Any]) -> Plan:
    return planned(read_study(document))


def test_the_number_of_batches_includes_the_validation_split_of_the_data_set(root: Path) -> None:
    held_out = planned_of(study({"root": str(root)}))
    own = planned_of(study({"root": str(root), "validation": "val"}))
    (arm,) = held_out.arms
    assert batches_of_epoch(arm, held_out.data[arm.name]) == (18 / 5, (2 + 8) / 5)
    (arm,) = own.arms
    assert batches_of_epoch(arm, own.data[arm.name]) == (20 / 5, (6 + 8) / 5)
    assert arm.config.run_id("x") != held_out.arms[0].config.run_id("x")


def test_a_stated_fraction_that_has_no_effect_is_refused(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"validation_fraction: 0\.2 has no effect: the data set has 6 validation images"
    ):
        planned_of(study({"root": str(root), "validation": "val"}, {"validation_fraction": 0.2}))
    planned_of(study({"root": str(root)}, {"validation_fraction": 0.2}))


def test_check_reports_an_unused_folder_and_folds(root: Path) -> None:
    checked = ablations.check(study({"root": str(root)}), timing=False)
    assert any(f"{root / 'val'} is not used" in note for note in checked.notes)
    folds = {"root": str(root / "train"), "split": {"folds": 2, "fold": 0}}
    checked = ablations.check(
        study(folds, {"validation_fraction": 0.2}, vary="baseline", factors={"data.split.fold": [0, 1]}), timing=False
    )
    assert any(
        note.startswith("data.split: arms are tested on different folds (0 of 2 and 1 of 2)") for note in checked.notes
    )


def test_the_run_ids_for_folders_are_the_same_as_in_version_0_1() -> None:
    """An added option does not change the ids of earlier configurations."""
    from aimlib.registry import datasets

    config = datasets.parse({"name": "image_folder", "classes": 3, "size": 64, "root": "anywhere", "test": "val"})
    assert config.identity() == {"name": "image_folder", "version": 1, "classes": 3, "size": 64, "test": "val"}


def test_a_plan_states_which_arms_have_their_own_validation_images(root: Path) -> None:
    def stored(data: dict[str, Any], training: dict[str, Any] | None = None) -> object:
        return document_of(planned_of(study({"root": str(root), **data}, training))).get("own_validation")

    assert stored({}) is None, "plans of data without such images are as before"
    assert stored({"validation": "val"}) == ["baseline"]
    assert stored({"validation": "val"}, {"validation_fraction": 0, "select_on": "last"}) is None


def test_a_plan_states_which_data_is_left_out(root: Path, tmp_path: Path) -> None:
    def stored(data: dict[str, Any]) -> object:
        return document_of(planned_of(study({"root": str(root), **data}))).get("left_out")

    first = min(path for path in (root / "train").rglob("*") if path.is_file()).relative_to(root).as_posix()
    listed = tmp_path / "excluded.csv"
    listed.write_text(f"path,reason\n{first},blurred: by eye\n")
    assert stored({}) is None, "plans of data without a list are as before"
    assert stored({"exclude": str(listed)}) == {"baseline": "1 photo left out: blurred (1)"}
