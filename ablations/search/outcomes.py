"""Conversion of a screening's rows to the outcomes of its trials: all seeds of a configuration form one unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.search.trials import Outcome

NO_ACCURACY = "a run has no finite validation accuracy"


@dataclass(frozen=True)
class Rows:
    """The settled runs of a screening.

    Attributes
    ----------
    trials : row of each run, by run id.
    curves : validation accuracy after every completed epoch, by run id.
    """

    trials: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, Sequence[float]]

    def reached(self, run_id: str, epochs: int) -> float | None:
        """Return a settled run's validation accuracy after `epochs` epochs, or after the last epoch of a shorter run.

        The result is None if there is no accuracy. For a run that diverged in its first epoch, the result is the
        accuracy at the start.
        """
        curve = self.curves.get(run_id, ())
        return curve[min(epochs, len(curve)) - 1] if curve else _number(self.trials[run_id]["validation_accuracy"])


def rows(directory: Path) -> Rows:
    """Return the settled runs in a screening's plan."""
    import analysis  # noqa: PLC0415 -- pandas
    from aimlib.records import SETTLED  # noqa: PLC0415

    results = analysis.load(directory)
    settled = results.runs[results.runs["status"].isin(SETTLED)]
    names = ["run_id", "status", "validation_accuracy", "epochs_run", "seconds"]
    found = {str(row["run_id"]): {str(key): row[key] for key in row} for row in settled[names].to_dict("records")}
    epochs = results.epochs.sort_values(["run_id", "epoch"])
    curves = {str(key): group.tolist() for key, group in epochs.groupby("run_id", observed=True)["validation_accuracy"]}
    return Rows(found, curves)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of finite values, which does not depend on their order.

    The result is None if a value is missing or not finite.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite and len(finite) == len(values) else None


def outcome(
    run_ids: Sequence[str], found: Rows, failed: Mapping[str, str], rungs: Sequence[tuple[int, float]] = ()
) -> Outcome:
    """Return the outcome of a trial whose runs have all been tried.

    Parameters
    ----------
    failed : reasons why runs failed, by run id.
    rungs : the trial's accuracies at the rungs that it reached.
    """
    there = [found.trials[run_id] for run_id in run_ids if run_id in found.trials]
    cost: dict[str, Any] = {
        "rungs": tuple(rungs),
        "epochs": sum(int(row["epochs_run"]) for row in there),
        "seconds": math.fsum(float(row["seconds"]) for row in there),
    }
    if len(there) < len(run_ids):
        reasons = [failed[run_id] for run_id in run_ids if run_id in failed]
        return Outcome("failed", None, f"a run failed: {reasons[0]}" if reasons else "a run is missing", **cost)
    if any(row["status"] == "pruned" for row in there):
        if not rungs:
            return Outcome("failed", None, "a run was stopped, but not by a rung", **cost)
        epochs, value = rungs[-1]
        return Outcome("pruned", None, f"stopped after {epochs} epochs at {100 * value:.2f} %", **cost)
    found_value = mean([_number(row["validation_accuracy"]) for row in there])
    if found_value is None:
        return Outcome("failed", None, NO_ACCURACY, **cost)
    return Outcome("complete", found_value, "", **cost)


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)  # noqa: PLR0124 -- NaN
