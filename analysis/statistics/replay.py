"""Early stopping, replayed on runs that used their full budget: what would have been reported with a given patience.

One run shows the result both without and with early stopping. The rule "stop after n epochs without a gain, report the
best epoch so far" needs only the validation accuracy of every epoch. The replay is valid if the run itself was not
stopped early and its learning rate does not depend on when it stops. No schedule in this package depends on that.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aimlib.training.early_stopping import stopping_epoch
from analysis.procedures import FIRST, LATEST

PATIENCE, MIN_DELTA = 7, 1e-3
"""The values used in the runs that the claim reports."""
NONE_TO_REPLAY = f"no run with validation images completed a budget of more than {PATIENCE} epochs"
"""Why early stopping cannot be replayed in a study."""


def within_reach(runs: pd.DataFrame, procedure: int = LATEST, patience: int = PATIENCE) -> pd.DataFrame:
    """Return the runs whose budget early stopping can shorten: those with more epochs than the patience.

    Studies with procedure 1 keep their tables, in which early stopping is replayed on all runs.
    """
    return runs if procedure == FIRST else runs[runs["epochs_planned"] > patience]


def replayed(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    patience: int = PATIENCE,
    min_delta: float = MIN_DELTA,
    value: str = "test_accuracy",
) -> pd.DataFrame:
    """Return run_id, arm, seed, status, stopped, selected_epoch and `value` as they would be with early stopping.

    Only runs that completed their planned epochs and have validation accuracies are used. `stopped` is the number of
    the last epoch run, which is the budget if early stopping does not apply. Of the epochs up to `stopped`, the one
    with the highest validation accuracy is selected; if several are equal, the first.

    Parameters
    ----------
    runs, epochs : frames from `Results`.
    """
    full = runs[(runs["status"] == "finished") & (runs["epochs_run"] == runs["epochs_planned"])]
    rows = []
    known = epochs[epochs["run_id"].isin(full["run_id"]) & epochs["validation_accuracy"].notna()]
    codes, run_ids = pd.factorize(known["run_id"])
    order = np.lexsort((known["epoch"], codes))
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    histories = (np.split(known[name].to_numpy()[order], ends) for name in ("validation_accuracy", value))
    for run_id, validation, test in zip(run_ids, *histories, strict=False):  # without runs, there is one empty history
        stopped = stopping_epoch(validation.tolist(), patience, min_delta) or len(validation)
        chosen = int(np.argmax(validation[:stopped]))
        rows.append((run_id, stopped, chosen + 1, float(test[chosen])))
    found = pd.DataFrame(rows, columns=["run_id", "stopped", "selected_epoch", value])
    found = found.astype({"run_id": "str", "stopped": "int64", "selected_epoch": "int64", value: "float64"})
    return full[["run_id", "arm", "seed", "status"]].merge(found, on="run_id")
