"""The records of a search.

The arm for which each trial was searched, its outcome, and the arm under which it was confirmed.
"""

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
"""Columns and their types. arm: that was searched; place: by validation accuracy, 1 the best, null if there is none
to compare; trial: its arm in the screening; state: complete, pruned, failed, unbuildable or infeasible;
validation_accuracy: mean over the seeds, a fraction, of complete trials; stopped_after, reached: epochs after which a
pruned trial was stopped and its mean validation accuracy then; epochs: trained in all of its runs; repeats: the earlier
trial of the same configuration; confirmed_as: arm of the confirmation; reason: why there is no accuracy; drawn: JSON.
"""


def read_ranking(directory: Place) -> pd.DataFrame | None:
    """Return the ranking of a screening; None if there is none yet.

    StoreError if the file is broken.
    """
    if not isinstance(directory, Path):  # a search keeps its records on this machine
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
        raise StoreError(f"{path}: its columns are not those of a ranking; run the study again to rewrite it")
    return from_spreadsheets(frame)


def tried(screening: Results) -> pd.DataFrame:
    """Return the trials of a search in the form of runs: searched, arm, status, validation_accuracy, a row per trial.

    `searched` is the arm that was searched, `arm` the name under which the trial was confirmed, or its own. A trial
    that was stopped early has the status pruned and the accuracy that it had reached then. Trials that failed, could
    not be built, or repeat another are left out. For a screening without a ranking (one that is still searching) the
    runs are returned unchanged, as one search without a name.
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
    """Return the placeholder for a missing value in each column of numbers; text has none."""
    return {name: [""] for name in RANKING_COLUMNS if name not in text}
