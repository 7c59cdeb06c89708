"""If a run takes individual random streams from other seeds, its other streams do not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import AIM, data_set, run_config, without_clock

from aimlib.config import STREAMS, RunConfig
from aimlib.errors import ConfigError
from aimlib.training.epoch import Epoch
from aimlib.training.loop import train
from aimlib.training.run import Run

DEVICE = torch.device("cpu")


def config(seed: int, streams: dict[str, int] | None = None) -> RunConfig:
    return run_config(
        seed=seed,
        model=AIM,
        training__augmentation={"rotation": 0.1},
        training__validation_fraction=0.25,
        training__streams=streams,
    )


def draws(of: RunConfig) -> dict[str, Any]:
    """Return a run's random draws from each of its streams, as found in the objects that training uses."""
    run = Run(of, data_set(), DEVICE)
    parameters = [value.detach().numpy().copy() for value in run.network.parameters()]
    batch = np.arange(4, dtype=np.int64)
    chance = run.inputs(batch, 1).draws_PBD
    # Only the order, regardless of what is held out.
    run.training = np.arange(len(run.data.train.labels), dtype=np.int64)
    order = run._order(1)

    Epoch(1, of.seed_of("layers"), DEVICE)
    return {
        "split": run.validation,
        "init": np.concatenate([value.ravel() for value in parameters]),
        "order": order,
        "augmentation": chance.numpy() if chance is not None else None,
        "layers": torch.rand(8).numpy(),
    }


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_with_a_different_seed_changes_only_what_it_drives(stream: str) -> None:
    plain, other, changed = draws(config(1)), draws(config(2)), draws(config(1, {stream: 2}))
    for name in STREAMS:
        assert not np.array_equal(plain[name], other[name])
        assert np.array_equal(changed[name], other[name] if name == stream else plain[name]), name


def test_a_run_with_all_streams_from_one_seed_is_bitwise_identical_to_that_seeds_run() -> None:
    moved, there = train(config(1, dict.fromkeys(STREAMS, 2)), data_set()), train(config(2), data_set())
    assert without_clock(moved) == without_clock(there)
    assert without_clock(train(config(1), data_set())) != without_clock(there)


class Interrupted(Exception):
    pass


def interrupt(_: Any) -> None:
    raise Interrupted


def test_a_run_with_its_own_streams_is_bitwise_identical_after_resuming(tmp_path: Path) -> None:
    of, data = config(1, {"order": 7, "layers": 8, "split": 9, "init": 3}), data_set()
    whole = train(of, data)
    kept: dict[str, Any] = {"run_id": "run", "checkpoint_directory": tmp_path, "checkpoint_share": float("inf")}
    with pytest.raises(Interrupted):
        train(of, data, on_epoch=interrupt, **kept)
    resumed = train(of, data, **kept)
    assert resumed.attempts == 2
    assert without_clock(resumed) == without_clock(whole)


def test_streams_are_part_of_the_run_id_only_if_they_are_set() -> None:
    assert "streams" not in config(1).identity_text("data")
    assert config(1, {"init": 3}).run_id("data") != config(1).run_id("data") == config(1, None).run_id("data")
    with pytest.raises(ConfigError, match=r"training\.streams.*is empty"):
        RunConfig.parse({**config(1).model_dump(mode="json"), "training": {**_training(), "streams": {}}})


def _training() -> dict[str, Any]:
    return dict(config(1).model_dump(mode="json")["training"])
