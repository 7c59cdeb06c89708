"""Weights files in studies: relative paths, hashes in run ids, notes from a check, and rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import ablate
from reused_runs import run
from tiny_study import TINY, changed, failures, rows, write

import ablations
from ablations.planning import plan as planning
from ablations.planning.plan import arms_of
from ablations.spec.study import read_study
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import ConfigError, DataError
from aimlib.models import build
from aimlib.registry import datasets

BACKBONE = TINY["base"]["model"]["backbone"]
WEIGHTS = {"base.model.weights": "net.pt"}


def save(path: Path, seed: int = 7, classes: int = 10) -> Path:
    """Write a seed's initial values to a file."""
    network = build(ModelConfig.parse({"backbone": BACKBONE}), ImageShape(1, 8, 8, classes), seed)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return save(tmp_path / "net.pt")


def ids(source: Any) -> list[str]:
    return [each.run_id for each in ablations.check(source, timing=False).plan.runs]


def test_a_path_is_relative_to_the_study(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, changed(WEIGHTS))
    monkeypatch.chdir("/")
    found = {arm.config.model.weights.source for arm in arms_of(read_study(path)) if arm.config.model.weights}
    assert found == {str(net)}


def test_the_run_id_depends_on_the_content_of_the_file_but_not_on_its_path(
    net: Path, tmp_path: Path, study: Callable[..., Path]
) -> None:
    first = ids(study(WEIGHTS))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.bin").write_bytes(net.read_bytes())
    assert ids(study({"base.model.weights": "elsewhere/other.bin"})) == first
    save(net, seed=8)
    assert set(ids(study(WEIGHTS))).isdisjoint(first)
    assert set(ids(study({"base.model.weights": "none"}))).isdisjoint(first)
    assert ids(study({"base.model.weights": "none"})) == ids(study())


def test_yaml_python_and_a_factor_define_the_same_runs(net: Path, study: Callable[..., Path]) -> None:
    document = changed(WEIGHTS)
    assert ids(study(WEIGHTS)) == ids(document) == ids(ablations.Study(**document))
    assert ids(ablations.Study.from_file(study(WEIGHTS))) == ids(document)
    factor = {"vary": "aim", "factors": {"model.weights": ["none", "net.pt"]}}
    assert set(ids(study(factor))) == set(ids(study())) | set(ids(study({"arms.aim.model.weights": "net.pt"})))


def test_an_option_in_an_arm_is_added_to_the_weights_in_the_base(net: Path, study: Callable[..., Path]) -> None:
    path = study({"base.model.weights": {"source": "net.pt"}, "arms.aim.model.weights": {"leave_out": ["fc.*"]}})
    base, aim = (arm.config.model.weights for arm in arms_of(read_study(path)))
    assert base is not None
    assert aim is not None
    assert (aim.source, aim.sha256, aim.leave_out) == (base.source, base.sha256, ("fc.*",))


def test_a_file_that_does_not_fit_is_reported_once_with_its_place(
    tmp_path: Path, study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(save(tmp_path / "net.pt"))
    del state["layer1.0.conv2.weight"]
    torch.save(state, tmp_path / "net.pt")
    path = study(WEIGHTS)
    code, _, error = ablate(capsys, "check", path, "--no-timing")
    assert code == 2
    assert error.splitlines() == [
        f"error: {path}: base.model.weights: {tmp_path / 'net.pt'} does not fit this network: 1 name in the network "
        f"but missing in the file: layer1.0.conv2.weight; set the backbone to which these weights belong, or list the "
        f"names that must not be loaded from the file in model.weights.leave_out"
    ]


def test_a_missing_file_and_a_wrong_hash_are_errors_in_the_study(net: Path, study: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"arms.aim.model.weights: .*gone.pt: no such file; looked for"):
        ids(study({"arms.aim.model.weights": "gone.pt"}))
    with pytest.raises(ConfigError, match=r"base.model.weights: .*net.pt: has sha256 .* the configuration states"):
        ids(study({"base.model.weights": {"source": "net.pt", "sha256": "0" * 64}}))


def test_check_reports_what_is_loaded_and_what_is_not(tmp_path: Path, study: Callable[..., Path]) -> None:
    save(tmp_path / "net.pt", classes=4)
    notes = "\n".join(ablations.check(study(WEIGHTS), timing=False).notes)
    assert "arms.baseline: weights: 72 parameters and buffers from" in notes
    assert (
        "the head (fc.weight, fc.bias) has a different size in the file and is initialized by the study's rules"
        in notes
    )


def test_a_row_names_the_loaded_weights_and_a_notice_reports_them(tmp_path: Path, study: Callable[..., Path]) -> None:
    save(tmp_path / "net.pt", classes=4)
    path = study({**WEIGHTS, "arms.aim": {"model": {"weights": "none"}, "role": "aim"}, "base.training.epochs": 1})
    _, said = run(path, tmp_path / "out")
    assert said.count("the head (fc.weight, fc.bias) has a different size in the file") == 1
    for row in rows(tmp_path / "out"):
        if row["arm"] == "baseline":
            loaded = {"source": str(tmp_path / "net.pt"), "loaded": 72, "head": ["fc.weight", "fc.bias"]}
            assert json.loads(row["weights"]) == loaded
        else:
            assert row["weights"] is None


def test_a_run_refuses_a_file_that_changed_after_the_plan(net: Path, study: Callable[..., Path]) -> None:
    (config, *_) = (each.config for each in ablations.check(study(WEIGHTS), timing=False).plan.runs)
    save(net, seed=8)
    data = datasets.create(config.data).load()
    _, height, width, channels = data.train.pixels.shape
    with pytest.raises(DataError, match="copy the same file to every machine"):
        build(config.model, ImageShape(channels, height, width, 10), 0)


def test_a_network_kept_by_another_study_can_be_used_as_weights(tmp_path: Path, study: Callable[..., Path]) -> None:
    first = study({"keep": "best", "seeds": 1, "base.training.epochs": 1}, "first.yaml")
    run(first, tmp_path / "first")
    kept = {row["arm"]: row for row in rows(tmp_path / "first")}
    files = {arm: next((tmp_path / "first" / "networks").glob(f"{row['run_id']}*")) for arm, row in kept.items()}
    second = study({"base.model.weights": str(files["baseline"]), "arms.aim.model.weights": str(files["aim"])})
    for arm in arms_of(read_study(second)):
        wanted = ablations.network(tmp_path / "first", kept[arm.name]["run_id"]).state_dict()
        found = build(arm.config.model, ImageShape(1, 8, 8, 10), 3).state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(ConfigError, match=r"names in the file but unknown to the network: "):
        arms_of(read_study(study({"base.model.weights": str(files["aim"])})))


def test_a_kept_network_does_not_need_the_original_weights_file(
    net: Path, tmp_path: Path, study: Callable[..., Path]
) -> None:
    run(study({**WEIGHTS, "keep": "last", "seeds": 1, "base.training.epochs": 1}), tmp_path / "out")
    net.unlink()
    for row in rows(tmp_path / "out"):
        assert not ablations.network(tmp_path / "out", row["run_id"]).training


def test_a_run_fails_on_a_worker_with_a_different_file_and_the_message_states_the_remedy(
    net: Path, tmp_path: Path, study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study({**WEIGHTS, "seeds": 1, "base.training.epochs": 1})
    plan = planning.plan

    def planned_before_the_copy(*given: Any, **more: Any) -> planning.Plan:
        found = plan(*given, **more)
        save(net, seed=8)
        return found

    monkeypatch.setattr(planning, "plan", planned_before_the_copy)
    session, _ = run(path, tmp_path / "out")
    assert len(session.failed) == 2
    for row in failures(tmp_path / "out"):
        assert "copy the same file to every machine" in row["reason"]
