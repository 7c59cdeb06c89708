"""The studies that shipped with the first version, word for word: arms, full configurations, and run ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from environment import DATA, read

from ablations.planning.arms import Arm, expand
from ablations.spec.study import read_study
from aimlib.config import RunConfig

pytestmark = pytest.mark.xdist_group("shipped studies")  # a process searches for each matched control only once
STUDIES = sorted(path.stem for path in (DATA / "studies").glob("*.yaml"))


def test_every_shipped_study_is_recorded() -> None:
    assert len(STUDIES) == 19
    assert {path.stem for path in (DATA / "studies").glob("*.json")} == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_keeps_its_meaning(name: str) -> None:
    recorded = read(f"studies/{name}.json")
    study = read_study(DATA / "studies" / f"{name}.yaml")
    arms = {arm.name: arm for arm in expand(study)}
    assert list(arms) == [item["name"] for item in recorded["arms"]]
    for item in recorded["arms"]:
        arm = arms[item["name"]]
        assert (arm.role, arm.of, dict(arm.levels)) == (item["role"], item["of"], item["levels"])
        assert lost(item["config"], arm.config.model_dump(mode="json")) == []
        ids = [arm.run(seed).run_id(recorded["fingerprint"]) for seed in study.spec.seeds]
        assert ids == item["run_ids"]


@pytest.mark.parametrize("name", STUDIES)
def test_a_stored_configuration_keeps_its_id(name: str) -> None:
    """Rows and plans contain full configurations, without options that were added later."""
    recorded = read(f"studies/{name}.json")
    for item in recorded["arms"]:
        config = RunConfig.parse(item["config"])
        assert config.run_id(recorded["fingerprint"]) == item["run_ids"][0], item["name"]


def lost(recorded: Any, now: Any, path: str = "") -> list[str]:
    """Return where a configuration differs from the recorded configuration, ignoring options that were added later."""
    if isinstance(recorded, Mapping) and isinstance(now, Mapping):
        missing = [f"{path}.{key}: gone" for key in recorded if key not in now]
        return missing + [
            place for key, value in recorded.items() if key in now for place in lost(value, now[key], f"{path}.{key}")
        ]
    return [] if recorded == now else [f"{path}: {recorded!r} became {now!r}"]


def test_a_changed_configuration_is_noticed() -> None:
    assert lost({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}, "e": 4}) == [".a.c: gone"]
    assert lost({"a": [1, 2]}, {"a": [1, 3]}) == [".a: [1, 2] became [1, 3]"]
    arm: Arm = expand(read_study(DATA / "studies" / "demo.yaml"))[0]
    other = arm.config.model_copy(update={"seed": 1})
    assert other.run_id("0" * 20) != arm.config.run_id("0" * 20)
