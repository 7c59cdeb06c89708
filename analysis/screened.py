"""What a search wrote of its trials: which arm each was searched for, what became of it, as what it was confirmed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aimlib.errors import StoreError

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
"""Columns and their types. arm: that was searched; place: by validation accuracy, 1 the best, null where there is none
to compare; trial: its arm in the screening; state: complete, pruned, failed or unbuildable; validation_accuracy: mean
over the seeds, a fraction, of complete trials; stopped_after, reached: epochs after which a pruned trial was stopped
and its mean validation accuracy then; epochs: trained in all of its runs; repeats: the earlier trial of the same
configuration; confirmed_as: arm of the confirmation; reason: why there is no accuracy; drawn: JSON."""


def read_ranking(directory: Path) -> pd.DataFrame | None:
    """Return the ranking of a screening; None where there is none yet.

    StoreError where the file is broken.
    """
    path = directory / RANKING
    text = [name for name, kind in RANKING_COLUMNS.items() if kind == "str"]
    try:
        frame = pd.read_csv(path, dtype=RANKING_COLUMNS, keep_default_na=False, na_values=_numbers(text))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise StoreError(f"{path}: not readable ({error}); run the study again, which writes it anew") from None
    if list(frame) != list(RANKING_COLUMNS):
        raise StoreError(f"{path}: its columns are not those of a ranking; run the study again, which writes it anew")
    return frame


def _numbers(text: list[str]) -> dict[str, list[str]]:
    """Return what stands for a missing value in each column of numbers; in text nothing does."""
    return {name: [""] for name in RANKING_COLUMNS if name not in text}
