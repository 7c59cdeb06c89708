"""The columns in the page's table of runs: their types, meanings and groups, and which are initially shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from aimlib import records
from analysis.browse.disclosure import is_local
from analysis.reading import frames

Group = Literal["run", "factor", "measure", "cost", "provenance"]
STUDY = records.Column("study", "text", "", "study to which the run belongs")
_STATUS = records.Column(
    "status",
    "text",
    "",
    "finished, failed, diverged or pruned; or, without a result, a state such as waiting",
)
ALSO_IN = records.Column("also_in", "text", "", "other studies on this page that contain the same run")

_GROUPS: dict[str, Group] = {
    **dict.fromkeys(("study", "also_in", "arm", "role", "seed", "status", "reason", "run_id"), "run"),
    **dict.fromkeys(("validation_accuracy", "validation_loss", "test_accuracy", "test_loss"), "measure"),
    **dict.fromkeys(("test_top5_accuracy", "selected_epoch", "epochs_run", "epochs_planned"), "measure"),
    **dict.fromkeys(("seconds", "parameters", "trainable_parameters", "multiply_adds", "peak_device_bytes"), "cost"),
}
_SHOWN = frozenset(
    ("study", "arm", "seed", "status", "validation_accuracy", "test_accuracy", "epochs_run", "seconds", "parameters")
)
_IN_THE_DETAILS = frozenset({"traceback", "config", "versions", "plugins", "schema_version"})
"""Columns whose content is shown when a run is opened."""
_HOSTS = frozenset({"host", "device_uuid"})
MOST_FACTORS = 8
"""Number of factors that are initially shown; the others can be chosen."""


@dataclass(frozen=True)
class Shown:
    """A column on the page.

    Attributes
    ----------
    group : heading under which the column can be chosen.
    visible : whether the column is initially shown.
    """

    name: str
    type: str
    unit: str
    meaning: str
    group: Group
    visible: bool


def is_test_measure(name: str) -> bool:
    """Return whether a stored column is a measure on test images, on which the verdict depends."""
    return name.startswith("test_") and name != "test_images"


def shown_columns(factors: pd.DataFrame, *, several: bool, tested: bool, hosts: bool) -> list[Shown]:
    """Return the columns of the table of runs.

    Parameters
    ----------
    factors : options in which the arms differ, as in `Results.factors`.
    several : whether the page contains several studies.
    tested : whether measures on test images may be shown.
    hosts : whether the names of machines may be shown.
    """
    stored = [c for c in records.RUN_COLUMNS if c.name not in _IN_THE_DETAILS and c.name != STUDY.name]
    stored = [c for c in stored if (hosts or c.name not in _HOSTS) and (tested or not is_test_measure(c.name))]
    by_name = {column.name: column for column in (frames.ROLE, *stored)} | {_STATUS.name: _STATUS}
    front = [by_name.pop(name) for name in ("arm", "role", "seed", "status")]
    measures = [by_name.pop(name) for name in [*by_name] if _GROUPS.get(name) == "measure"]
    costs = [by_name.pop(name) for name in [*by_name] if _GROUPS.get(name) == "cost"]
    head = [STUDY, *front] if several else front
    listed = [_shown(column) for column in (*head, *measures)]
    listed += _factors(factors)
    listed += [_shown(column) for column in costs]
    listed += [_shown(column) for column in ([ALSO_IN] if several else [])]
    return [*listed, *(_shown(column) for column in by_name.values())]


def _shown(column: records.Column) -> Shown:
    group = _GROUPS.get(column.name, "provenance")
    return Shown(column.name, column.type, column.unit, column.meaning, group, column.name in _SHOWN)


def _factors(factors: pd.DataFrame) -> Iterable[Shown]:
    public = factors[~factors["option"].map(is_local).astype(bool)]
    # An option with a single value differs only by being absent in some arms, which its parent option also shows.
    ranked = public.assign(single=public["levels"] < 2).sort_values("single", kind="stable")
    first = set(ranked["column"][:MOST_FACTORS])
    for column, option, kind in zip(public["column"], public["option"], public["type"], strict=True):
        yield Shown(column, kind, "", f"option {option}", "factor", column in first)
