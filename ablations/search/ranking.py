"""The results and the cost of a search, as files: ``ranking.csv`` and ``cost.json`` in the screening's directory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.search.confirmation import ranked
from ablations.search.trials import Trial
from ablations.store import files
from aimlib.records.escaping import spreadsheet_cell
from analysis.findings.searches import RANKING, RANKING_COLUMNS

COST = "cost.json"


def write_ranking(directory: Path, trials: Sequence[Trial], places: Mapping[str, str]) -> None:
    """Write all trials, arm by arm and the best first; equal searches write identical bytes.

    Parameters
    ----------
    places : name of the arm in which a trial is confirmed, by trial name.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, RANKING_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for arm in dict.fromkeys(trial.arm for trial in trials):
        for place, trial in enumerate(_in_order(trials, arm), start=1):
            row = _row(trial, place, places)
            writer.writerow({name: spreadsheet_cell(value) for name, value in row.items()})
    files.replace(directory / RANKING, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))


def _in_order(trials: Sequence[Trial], arm: str) -> list[Trial]:
    best = ranked(trials, arm)
    names = {trial.name for trial in best}
    rest = [trial for trial in trials if trial.arm == arm and trial.name not in names]
    return best + sorted(rest, key=lambda trial: (_LAST.index(trial.outcome.state), trial.number))


_LAST = ("complete", "pruned", "failed", "unbuildable", "infeasible")


def _row(trial: Trial, place: int, places: Mapping[str, str]) -> dict[str, Any]:
    outcome = trial.outcome
    reached = outcome.rungs[-1] if outcome.state == "pruned" else (None, None)
    return {
        "arm": trial.arm,
        "place": place if outcome.state == "complete" and not trial.repeats else None,
        "trial": trial.name,
        "state": outcome.state,
        "validation_accuracy": None if trial.value is None else repr(trial.value),
        "stopped_after": reached[0],
        "reached": None if reached[1] is None else repr(reached[1]),
        "epochs": outcome.epochs,
        "repeats": trial.repeats,
        "confirmed_as": places.get(trial.name, ""),
        "reason": outcome.reason,
        "drawn": json.dumps(dict(trial.drawn), sort_keys=True),
    }


def write_cost(directory: Path, trials: Iterable[Trial]) -> None:
    """Write the cost of every arm's search: trials by state, runs, epochs and total wall time of the runs."""
    trials = list(trials)
    content = {
        arm: _cost([trial for trial in trials if trial.arm == arm]) for arm in {trial.arm: 0 for trial in trials}
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    files.replace(directory / COST, lambda path: path.write_text(text, encoding="utf-8"))


def _cost(trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "trials": sum(trial.buildable for trial in trials),
        **{state: sum(trial.outcome.state == state for trial in trials) for state in _LAST},
        "repeats": sum(bool(trial.repeats) for trial in trials),
        "runs": sum(len(trial.run_ids) for trial in trials if not trial.repeats),
        "epochs": sum(trial.outcome.epochs for trial in trials),
        "seconds": round(sum(trial.outcome.seconds for trial in trials), 3),
    }
