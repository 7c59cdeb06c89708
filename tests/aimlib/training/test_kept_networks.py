"""A run keeps the right network, of its selected or last epoch, despite interruptions, and stores it in safe files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_checkpointing import Interrupted, go, interrupt_after
from tiny_runs import AIM, SHAPE, data_set, run_config, without_clock
from torch import nn

from aimlib.config import RunConfig
from aimlib.errors import StoreError
from aimlib.training import checkpointing, network_files
from aimlib.training.evaluation import evaluate
from aimlib.training.kept_networks import Keep, KeptNetwork, snapshot
from aimlib.training.loop import Outcome, train
from aimlib.training.splits import fixed_order

FOUR: dict[str, Any] = {"training__epochs": 4, "training__selection": "best_validation"}


def kept_by(config: RunConfig, keep: Keep, folder: Path | None = None, on_epoch: Any = None, **more: Any) -> Outcome:
    return train(
        config,
        data_set(),
        run_id="run",
        keep=keep,
        checkpoint_directory=folder,
        checkpoint_share=float("inf"),
        on_epoch=on_epoch,
        **more,
    )


def content(config: RunConfig, outcome: Outcome) -> bytes:
    assert outcome.network is not None
    return network_files.content_of(outcome.network, config, "run", SHAPE, data_set().classes)


def predictions(stored: network_files.StoredNetwork, config: RunConfig) -> np.ndarray:
    images = data_set().test
    order = fixed_order(np.arange(len(images.labels)), images.names)
    found = evaluate(
        stored.module(),
        images,
        order,
        stored.input_scaling(),
        batch_size=2 * config.training.batch_size,
        precision=config.training.precision,
        memory_format=config.training.memory_format,
    )
    return found.predictions[np.argsort(order)]


@pytest.mark.parametrize("model", [{"backbone": AIM["backbone"]}, AIM], ids=["baseline", "with memory"])
@pytest.mark.parametrize("scaling", ["standardise", "raw"])
def test_the_kept_networks_predictions_are_those_stored_by_the_run(model: dict[str, Any], scaling: str) -> None:
    config = run_config(model=model, training__input_scaling=scaling, **FOUR)
    for keep in ("best", "last"):
        outcome = kept_by(config, keep)
        stored = network_files.read(content(config, outcome), "network")
        assert stored.epoch == (outcome.selected_epoch if keep == "best" else 4)
        assert (predictions(stored, config) == outcome.predictions[stored.epoch - 1]).all()
        assert RunConfig.parse(stored.config) == config
        assert not stored.module().training


def test_keeping_a_network_does_not_change_results() -> None:
    config = run_config(model=AIM, **FOUR)
    plain = kept_by(config, "none")
    assert plain.network is None
    for keep in ("best", "last"):
        outcome = kept_by(config, keep)
        assert without_clock(replace(outcome, network=None)) == without_clock(plain)
        assert (outcome.predictions == plain.predictions).all()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_that_is_interrupted_after_every_epoch_keeps_the_same_bytes(tmp_path: Path, keep: Keep) -> None:
    config = run_config(model=AIM, **FOUR)
    for epoch in (1, 2, 3):
        with pytest.raises(Interrupted):
            kept_by(config, keep, tmp_path, interrupt_after(epoch))
    assert content(config, kept_by(config, keep, tmp_path)) == content(config, kept_by(config, keep))


def test_the_best_network_is_kept_across_pauses_within_epochs(tmp_path: Path) -> None:
    from aimlib.training.checkpoint_manager import Paused

    config = run_config(model=AIM, **FOUR)
    whole, pauses = kept_by(config, "best"), 0
    while True:
        try:
            outcome = kept_by(config, "best", tmp_path, pause=lambda: True)
        except Paused:
            pauses += 1
            continue
        break
    assert pauses > 8
    assert content(config, outcome) == content(config, whole)


def test_a_checkpoint_without_a_kept_network_is_readable_by_earlier_versions(tmp_path: Path) -> None:
    config = run_config(**FOUR)
    for keep, version in (("none", 3), ("best", 4)):
        with pytest.raises(Interrupted):
            kept_by(config, keep, tmp_path / keep, interrupt_after(2))
        state = torch.load(tmp_path / keep / checkpointing.FILE, weights_only=True)
        assert state["format"] == version
        assert ("kept" in state) == (keep == "best")
    go(config, data_set(), tmp_path / "best")  # `keep` is no longer set, but the run continues


def test_a_selected_network_that_was_not_kept_is_reported(tmp_path: Path) -> None:
    config = run_config(**FOUR | {"training__selection": "best_test"})
    whole = kept_by(config, "best")
    assert whole.selected_epoch < 4, "with this test's seed, the best epoch is not the last one"
    with pytest.raises(Interrupted):
        kept_by(config, "none", tmp_path, interrupt_after(whole.selected_epoch))
    said: list[str] = []
    outcome = kept_by(config, "best", tmp_path, on_notice=said.append)
    assert outcome.network is None
    assert outcome.selected_epoch == whole.selected_epoch
    assert any(f"the network of epoch {whole.selected_epoch}, which best_test selected, is not kept" in x for x in said)


def test_a_diverged_run_keeps_the_network_of_an_epoch_or_no_network() -> None:
    config = run_config(training__epochs=3, training__optimizer={"name": "sgd", "learning_rate": 1e30})
    said: list[str] = []
    outcome = kept_by(config, "best", on_notice=said.append)
    assert outcome.status == "diverged"
    assert outcome.network is not None
    assert outcome.network.epoch == outcome.selected_epoch == 0
    stored = network_files.read(content(config, outcome), "network")
    assert (predictions(stored, config) == outcome.predictions[0]).all()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3)
        self.two = nn.Conv2d(3, 4, 3)
        self.two.weight = self.one.weight
        self.register_buffer("count", torch.tensor(3))


def test_tied_and_channels_last_tensors_are_restored() -> None:
    network = Tied().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = run_config()
    kept = KeptNetwork(1, snapshot(network), torch.ones(2, 1))
    found = network_files.read(network_files.content_of(kept, config, "run", SHAPE, ("a", "b", "c")), "network")
    assert found.state.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(found.state[name], value)
        assert found.state[name].stride() == value.stride()
    assert found.state["one.weight"] is found.state["two.weight"]
    assert network_files.content_of(kept, config, "run", SHAPE, ("a", "b", "c")) == network_files.content_of(
        KeptNetwork(1, found.state, torch.ones(2, 1)), config, "run", SHAPE, ("a", "b", "c")
    )


class WithExtraState(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"a": 1}


def test_state_that_is_not_a_tensor_is_refused_and_named() -> None:
    with pytest.raises(TypeError, match="state that is not a tensor \\(_extra_state\\)"):
        snapshot(WithExtraState(2, 2))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:8] + b"{}" + b[10:], lambda b: b[8:]]
)
def test_a_file_that_is_not_a_network_is_refused(damage: Any) -> None:
    config = run_config(training__epochs=1)
    whole = content(config, kept_by(config, "last"))
    with pytest.raises(StoreError, match=r"^here: is not a network that a run kept"):
        network_files.read(damage(whole), "here")


@pytest.mark.parametrize(
    "changes",
    [{"same": [1]}, {"same": {"a": "nothing"}}, {"config": KeyError}, {"shape": {"a": 1}}, {"classes": 5}],
)
def test_a_file_with_invalid_values_in_its_description_is_not_a_network(changes: dict[str, Any]) -> None:
    config = run_config(training__epochs=1)
    whole = content(config, kept_by(config, "last"))
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    described = json.loads(header["__metadata__"]["aim_ablations"]) | changes
    header["__metadata__"]["aim_ablations"] = json.dumps({k: v for k, v in described.items() if v is not KeyError})
    text = json.dumps(header).encode()
    with pytest.raises(StoreError, match=r"^here: is not a network that a run kept .*; restore it from a copy"):
        network_files.read(len(text).to_bytes(8, "little") + text + whole[8 + length :], "here")
