"""Early stopping that is replayed on a complete run ends at the same epoch as early stopping during the run."""

from __future__ import annotations

import pandas as pd
import pytest
from tiny_runs import data_set, run_config

from aimlib.training.loop import Outcome, train
from analysis.statistics.replay import replayed

EPOCHS = 12
STOPPING = {"patience": 2, "min_delta": 1e-3}


def frames(outcome: Outcome, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    row = {"run_id": f"run{seed}", "arm": "aim", "seed": seed, "status": outcome.status}
    row |= {"epochs_run": len(outcome.epochs), "epochs_planned": EPOCHS}
    return pd.DataFrame([row]), pd.DataFrame(outcome.epochs).assign(run_id=row["run_id"])


@pytest.mark.parametrize("schedule", [None, pytest.param("cosine", marks=pytest.mark.slow), "plateau"])
def test_replayed_early_stopping_equals_live_early_stopping(schedule: str | None) -> None:
    stopped_early = 0
    for seed in range(3):
        options = {"training__epochs": EPOCHS, "training__selection": "best_validation", "seed": seed}
        options |= {"training__schedule": schedule} if schedule else {}
        full = train(run_config(**options), data_set())
        live = train(run_config(**options, training__early_stopping=STOPPING), data_set())
        found = replayed(*frames(full, seed), patience=2, min_delta=1e-3).iloc[0]
        assert found["stopped"] == len(live.epochs)
        assert found["selected_epoch"] == live.selected_epoch
        assert found["test_accuracy"] == live.selected["test_accuracy"]
        stopped_early += len(live.epochs) < EPOCHS
    assert stopped_early, "at least one run must stop before its budget ends; otherwise, nothing is compared"
