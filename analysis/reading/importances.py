"""The importances of a search's parameters, as Optuna estimated them from the trials."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aimlib.errors import StoreError
from aimlib.paths import Place
from analysis.reading.spreadsheets import from_spreadsheets

IMPORTANCES = "importances.csv"
LEAST_TRIALS = 10
"""Minimum number of an arm's complete trials for an estimate."""
IMPORTANCE_COLUMNS: dict[str, str] = {
    "searched": "str",
    "parameter": "str",
    "method": "str",
    "importance": "float64",
    "trials": "Int64",
    "drawn": "Int64",
    "sampler": "str",
}
"""Columns and their types. searched: the arm; parameter: the parameter's name in the search; method: ped_anova, fanova
or mean_decrease_impurity; importance: a share that sums to 1 over an arm's parameters for each method, or null if the
method only covers parameters that every trial has; trials: number of complete trials used for the estimate; drawn:
number of these trials in which the parameter was drawn; sampler: the sampler that proposed the trials.

An importance describes how the accuracies of these trials, on the search's seeds, vary with a parameter. The sampler
chose the trials, so the importance is observational; it is not an effect and does not have an interval."""


def read_importances(directory: Place) -> pd.DataFrame:
    """Return a screening's importances, or those of the screening that belongs to a confirmation.

    The frame is empty without a screening, if the screening is still searching, or if a version that did not store
    importances created it.

    Raises
    ------
    StoreError: the file is broken.
    """
    found = [path for path in _places(directory) if path.exists()]
    if not found:
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in IMPORTANCE_COLUMNS.items()})
    path = found[0]
    numbers = {name: [""] for name, kind in IMPORTANCE_COLUMNS.items() if kind != "str"}
    try:
        frame = pd.read_csv(path, dtype=IMPORTANCE_COLUMNS, keep_default_na=False, na_values=numbers)
    except (ValueError, OSError) as error:
        raise StoreError(f"{path}: not readable ({error}); run the study again to rewrite it") from None
    if list(frame) != list(IMPORTANCE_COLUMNS):
        raise StoreError(f"{path}: it does not have the columns of importances; run the study again to rewrite it")
    return from_spreadsheets(frame)


def _places(directory: Place) -> list[Path]:
    """Return the possible places of the file; a search keeps its records on the local machine."""
    if not isinstance(directory, Path):
        return []
    folders = [directory]
    if directory.absolute().name == "confirmation":
        folders.append(directory.absolute().parent / "screening")
    return [folder / IMPORTANCES for folder in folders]
