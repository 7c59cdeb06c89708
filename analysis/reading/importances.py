"""The importances of a search's parameters, as Optuna estimated them from the trials."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aimlib.errors import StoreError
from aimlib.paths import Place
from analysis.reading.spreadsheets import from_spreadsheets

IMPORTANCES = "importances.csv"
LEAST_TRIALS = 10
"""Number of complete trials of an arm below which nothing is estimated."""
IMPORTANCE_COLUMNS: dict[str, str] = {
    "searched": "str",
    "parameter": "str",
    "method": "str",
    "importance": "float64",
    "trials": "Int64",
    "drawn": "Int64",
    "sampler": "str",
}
"""Columns and their types. searched: the arm; parameter: its name in the search; method: ped_anova, fanova or
mean_decrease_impurity; importance: a share, which sums to 1 over the parameters of an arm and method; null if the
method only assesses parameters that every trial has; trials: complete trials that it is estimated from; drawn: those
of them in which the parameter was drawn; sampler: that proposed them.

An importance describes how the accuracies of these trials, on the seeds of the search, vary with a parameter. The
sampler chose where to look, so it is observational; it is not an effect, and has no interval."""


def read_importances(directory: Place) -> pd.DataFrame:
    """Return the importances of a screening, or those of the screening that belongs to a confirmation.

    No rows without a screening, if it is still searching, or if it was made by a version that did not store them.

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
        raise StoreError(f"{path}: its columns are not those of importances; run the study again to rewrite it")
    return from_spreadsheets(frame)


def _places(directory: Place) -> list[Path]:
    """Return where the file may be; a search keeps its records on this machine."""
    if not isinstance(directory, Path):
        return []
    folders = [directory]
    if directory.absolute().name == "confirmation":
        folders.append(directory.absolute().parent / "screening")
    return [folder / IMPORTANCES for folder in folders]
