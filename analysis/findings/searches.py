"""The records of a search's trials: the arm searched, the outcome, and the arm under which the trial was confirmed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aimlib.errors import StoreError
from aimlib.paths import Place
from analysis.reading.spreadsheets import from_spreadsheets
from analysis.results import Results

RANKING = "ranking.csv"
RANKING_COLUMNS: dict[str, str] = {
    "arm": "str",
    "place": "Int64",
    "trial": "str",
    "state": "str",
    "validation_accuracy": "float64",
    "stopped_after": "Int64",
    "reached": "float64",
    "epochs": "int64",
    "repeats": "str",
    "confirmed_as": "str",
    "reason": "str",
    "drawn": "str",
}
"""Columns and their types. arm: the arm that was searched; place: rank by validation accuracy, from 1 for the best,
null without an accuracy; trial: the trial's arm in the screening; state: complete, pruned, failed, unbuildable or
infeasible; validation_accuracy: mean over the seeds, a fraction, for complete trials; stopped_after, reached: the
epochs after which a pruned trial was stopped, and its mean validation accuracy at that point; epochs: number of
epochs trained in all runs of the trial; repeats: the earlier trial with the same configuration; confirmed_as: the
arm in the confirmation; reason: why there is no accuracy; drawn: JSON.
"""


def read_ranking(directory: Place) -> pd.DataFrame | None:
    """Return a screening's ranking; None if there is no ranking yet.

    StoreError if the file is broken.
    """
    if not isinstance(directory, Path):  # a search always keeps its records on the local machine
        return None
    path = directory / RANKING
    text = [name for name, kind in RANKING_COLUMNS.items() if kind == "str"]
    try:
        frame = pd.read_csv(path, dtype=RANKING_COLUMNS, keep_default_na=False, na_values=_numbers(text))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise StoreError(f"{path}: not readable ({error}); run the study again to rewrite it") from None
    if list(frame) != list(RANKING_COLUMNS):
        raise StoreError(f"{path}: it does not have the columns of a ranking; run the study again to rewrite it")
    return from_spreadsheets(frame)


def tried(screening: Results) -> pd.DataFrame:
    """Return a search's trials as if they were runs, one row each: searched, arm, status, validation_accuracy.

    `searched` is the arm that was searched, and `arm` is the name under which the trial was confirmed, or else the
    trial's own name. A trial that was stopped early has the status pruned and the accuracy that it had reached by then.
    Trials that failed, could not be built, or repeat another trial are left out. If the screening does not have a
    ranking because it is still searching, its runs are returned unchanged, as a single search without a name.
    """
    ranking = read_ranking(screening.directory)
    if ranking is None:
        runs = screening.runs[["arm", "status", "validation_accuracy"]]
        return runs.assign(searched=pd.Series("", index=runs.index, dtype="str"))
    known = ranking[ranking["state"].isin(["complete", "pruned"]) & (ranking["repeats"] == "")]
    whole = known["state"] == "complete"
    return pd.DataFrame(
        {
            "searched": known["arm"],
            "arm": known["confirmed_as"].where(known["confirmed_as"] != "", known["trial"]),
            "status": whole.map({True: "finished", False: "pruned"}).astype("str"),
            "validation_accuracy": known["validation_accuracy"].where(whole, known["reached"]),
        }
    ).reset_index(drop=True)


def _numbers(text: list[str]) -> dict[str, list[str]]:
    """Return the placeholder for a missing value in each numeric column; text columns do not need one."""
    return {name: [""] for name in RANKING_COLUMNS if name not in text}
