"""A run keeps the network's scores in the selected epoch, despite interruptions and without changing results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_checkpointing import Interrupted, go, interrupt_after
from tiny_runs import AIM, data_set, run_config, without_clock
from torch.nn import functional

from aimlib.config import RunConfig
from aimlib.records.scores import contradiction
from aimlib.training import checkpointing
from aimlib.training.checkpoint_manager import Paused
from aimlib.training.evaluation import evaluate
from aimlib.training.loop import Outcome, train
from aimlib.training.run import Run

FOUR: dict[str, Any] = {"training__epochs": 4, "training__selection": "best_validation"}


def scored(config: RunConfig, folder: Path | None = None, *, keep: bool = True, **more: Any) -> Outcome:
    return train(
        config,
        data_set(),
        run_id="run",
        keep_scores=keep,
        checkpoint_directory=folder,
        checkpoint_share=float("inf"),
        **more,
    )


def test_scores_are_the_networks_log_probabilities_in_the_order_of_the_images() -> None:
    config = run_config(model=AIM, **FOUR)
    run = Run(config, data_set(), torch.device("cpu"))
    images = data_set().test
    order = np.arange(len(images.labels))
    found = evaluate(run.network, images, order, run.scaling, batch_size=4, precision="float32", scores=True)
    x, _ = run._loaders["test"].batch(order)
    with torch.no_grad():
        expected = functional.log_softmax(run.network.eval()(run.scaling(x)), dim=1).numpy()
    assert found.scores is not None
    assert found.scores.dtype == np.float16
    np.testing.assert_allclose(found.scores, expected, atol=2e-3)
    without = evaluate(run.network, images, order, run.scaling, batch_size=4, precision="float32")
    assert without.scores is None
    assert (without.loss, without.accuracy) == (found.loss, found.accuracy)


@pytest.mark.parametrize("selection", ["best_validation", "last_epoch", "best_test"])
def test_scores_are_those_of_the_selected_epoch(selection: str) -> None:
    outcome = scored(run_config(model=AIM, **FOUR | {"training__selection": selection}))
    assert outcome.scores is not None
    predicted = outcome.predictions[outcome.selected_epoch - 1]
    assert outcome.scores.shape == (len(predicted), len(data_set().classes))
    assert contradiction(outcome.scores, predicted) == ""
    loss = -outcome.scores[np.arange(len(predicted)), data_set().test.labels].astype(float).mean()
    assert loss == pytest.approx(outcome.selected["test_loss"], abs=2e-3)


def test_keeping_scores_does_not_change_results() -> None:
    config = run_config(model=AIM, **FOUR)
    kept, plain = scored(config), scored(config, keep=False)
    assert plain.scores is None
    assert without_clock(replace(kept, scores=None)) == without_clock(plain)


def test_an_interrupted_run_keeps_the_same_scores(tmp_path: Path) -> None:
    config = run_config(model=AIM, **FOUR)
    for epoch in (1, 2, 3):
        with pytest.raises(Interrupted):
            scored(config, tmp_path, on_epoch=interrupt_after(epoch))
    assert np.array_equal(scored(config, tmp_path).scores, scored(config).scores)


def test_scores_are_kept_across_pauses_between_evaluation_batches(tmp_path: Path) -> None:
    config = run_config(model=AIM, **FOUR)
    pauses = 0
    while True:
        try:
            outcome = scored(config, tmp_path, pause=lambda: True)
        except Paused:
            pauses += 1
            continue
        break
    assert pauses > 8
    assert np.array_equal(outcome.scores, scored(config).scores)


def test_a_checkpoint_without_scores_is_readable_by_earlier_versions(tmp_path: Path) -> None:
    config = run_config(**FOUR)
    for keep, version in ((False, 3), (True, 5)):
        folder = tmp_path / str(version)
        with pytest.raises(Interrupted):
            scored(config, folder, keep=keep, on_epoch=interrupt_after(2))
        state = torch.load(folder / checkpointing.FILE, weights_only=True)
        assert state["format"] == version
        assert ("scores" in state) == keep
    go(config, data_set(), tmp_path / "5")  # scores are no longer requested, but the run continues


def test_missing_scores_of_the_selected_epoch_are_reported(tmp_path: Path) -> None:
    config = run_config(**FOUR | {"training__selection": "best_test"})
    chosen = scored(config).selected_epoch
    assert chosen < 4, "with this test's seed, the best epoch is not the last one"
    with pytest.raises(Interrupted):
        scored(config, tmp_path, keep=False, on_epoch=interrupt_after(chosen))
    said: list[str] = []
    outcome = scored(config, tmp_path, on_notice=said.append)
    assert outcome.scores is None
    assert any(f"the scores of epoch {chosen}, which best_test selected, are not kept" in text for text in said)


def test_a_run_that_diverges_at_once_has_the_scores_of_its_initial_network() -> None:
    config = run_config(training__epochs=3, training__optimizer={"name": "sgd", "learning_rate": 1e30})
    outcome = scored(config)
    assert (outcome.status, outcome.selected_epoch) == ("diverged", 0)
    assert outcome.scores is not None
    assert contradiction(outcome.scores, outcome.predictions[0]) == ""
