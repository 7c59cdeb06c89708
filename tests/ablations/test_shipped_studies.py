"""Every study that ships can be run as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations import planning
from ablations.arms import expand
from ablations.checking import check
from ablations.study import read_study, shipped_studies
from aimlib.errors import ConfigError


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_a_shipped_study_is_sound(name: str) -> None:
    """Everything but data that is not here."""
    study = read_study(name)
    assert study.spec.name == name == study.path.stem
    assert study.path.read_text(encoding="utf-8").startswith("#"), "it says what it is for"
    arms = expand(study)
    roles = [arm.role for arm in arms]
    assert {"baseline", "aim", "matched", "frozen"} <= set(roles)
    assert roles.count("baseline") == 1
    assert len(study.spec.seeds) >= 5
    assert planning.protocol(tuple(arms)) == "controlled"
    summaries = planning.summaries_of(arms)
    of_role = {arm.role: summaries[arm.name] for arm in arms}
    assert of_role["matched"].parameters == pytest.approx(of_role["aim"].parameters, rel=0.005)
    assert of_role["frozen"].parameters == of_role["aim"].parameters
    assert of_role["frozen"].trainable_parameters < of_role["aim"].trainable_parameters
    assert of_role["baseline"].parameters < of_role["aim"].parameters
    assert of_role["aim"].attachment.skipped == {}


def test_the_demo_needs_no_download() -> None:
    result = check("demo", timing=False)
    assert len(result.plan.runs) == len(result.plan.arms) * len(result.plan.study.spec.seeds)
    assert {run.fingerprint for run in result.plan.runs} == {result.plan.data["aim"].fingerprint}
    assert planning.document(result.plan)["claim"] == "stanford_dogs_aim"


def test_without_photos_controlled_small_says_where_to_get_them() -> None:
    with pytest.raises(ConfigError, match=r"controlled_small.yaml: base.data: stanford_dogs: .*ablate data download"):
        check("controlled_small", timing=False)


@pytest.mark.photos
def test_controlled_small_on_real_photos(stanford_dogs_root: Path, tmp_path: Path) -> None:
    overrides = [f"data.root={stanford_dogs_root}", "seeds=1"]
    result = check("controlled_small", overrides, timing=False)
    data = result.plan.data["baseline"]
    assert len(data.classes) == 20
    assert data.train.pixels.shape[1:] == (64, 64, 3)
    elsewhere = tmp_path / "moved"
    elsewhere.symlink_to(stanford_dogs_root)
    moved = check("controlled_small", [f"data.root={elsewhere}", "seeds=1"], timing=False)
    assert [run.run_id for run in moved.plan.runs] == [run.run_id for run in result.plan.runs], "a path is no identity"
