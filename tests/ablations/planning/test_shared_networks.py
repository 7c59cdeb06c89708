"""Arms that differ only in training share one network, which is built once for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_study import changed, write

from ablations.estimation import disk
from ablations.planning import networks as networks_module
from ablations.planning import plan as planning
from ablations.planning.arms import shape_of
from ablations.spec.study import read_study
from aimlib import models

FACTORS = {"model.placement": ["block_entry", "every_layer"], "training.label_smoothing": [0.0, 0.1, 0.2]}


def test_a_network_is_built_once_for_all_arms_that_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    real = models.skeleton

    def skeleton(model: Any, shape: Any) -> Any:
        built.append(model.model_dump_json())
        return real(model, shape)

    monkeypatch.setattr(models, "skeleton", skeleton)
    networks_module._network.cache_clear()
    networks_module._summary.cache_clear()
    file = read_study(write(tmp_path, changed({"vary": "aim", "factors": FACTORS})))
    arms = planning.arms_of(file)
    networks = {arm.config.model.model_dump_json() for arm in arms}
    assert len(arms) > len(networks) > 1
    assert sorted(built) == sorted(networks)
    built.clear()
    found = planning.summaries_of(arms)
    assert all(disk.checkpoint_bytes(arm, 0) > found[arm.name].weight_bytes for arm in arms)
    assert not built, "what they cost was counted while they were there"
    for arm in arms:
        alone = models.summarize(arm.config.model, shape_of(arm.config), arm.config.training.batch_size)
        assert found[arm.name] == alone


def test_the_batch_size_affects_the_cost_of_a_network(tmp_path: Path) -> None:
    file = read_study(write(tmp_path, changed({"vary": "aim", "factors": {"training.batch_size": [4, 16]}})))
    costs = planning.summaries_of(planning.arms_of(file))
    small, large = (next(cost for name, cost in costs.items() if "4" in name), costs["aim"])
    assert small.parameters == large.parameters
    assert small.multiply_adds > large.multiply_adds, "the memory's part is computed once for a batch"
