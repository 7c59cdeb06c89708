"""The logs on the page: the end of the output, for the runs for which their output is most useful."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

import pandas as pd

from aimlib.errors import counted
from aimlib.paths import Place
from analysis.browse.disclosure import public_text
from analysis.results import Results

MOST_LOGS, MOST_LINES, _LONGEST_LINE = 200, 40, 300
_READ = 5 * MOST_LOGS
"""Maximum number of runs whose logs are read."""
_FIRST = ("failed", "retrying", "diverged", "stopped", "running", "pruned")
"""States in the order in which their logs are read; within a state, runs are in the plan's order."""


class Entry(Protocol):
    """A line in a log: when it was written, its kind (stdout, stderr or a note from this package), and its text."""

    @property
    def at(self) -> datetime: ...  # noqa: D102

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def text(self) -> str: ...  # noqa: D102


Outputs = Callable[[Place, Iterable[str]], Mapping[str, Iterable[Entry]]]


def logs_of(
    results: Mapping[str, Results], frame: pd.DataFrame, hidden: pd.Series, outputs: Outputs | None, hosts: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the end of the logs by row number, and sentences on what is left out.

    Before the verdict, only this package's notes are shown, because a run's own output may contain test measures.

    Parameters
    ----------
    frame : all runs, with the columns run_id, directory, status and host.
    hidden : by run id, whether test measures must not be shown.
    hosts : whether the names of machines may be shown.
    """
    if outputs is None:
        return {}, []
    order = {status: at for at, status in enumerate(_FIRST)}
    chosen = frame.assign(first=frame["status"].map(order).fillna(len(order))).sort_values("first", kind="stable")
    names = () if hosts else tuple(frame["host"].dropna().unique())
    found: dict[str, Any] = {}
    veiled = left = 0
    for directory, rows in chosen.head(_READ).groupby("directory", sort=False):
        row_of = dict(zip(rows["run_id"], rows.index, strict=True))
        for run_id, entries in outputs(results[str(directory)].directory, row_of).items():
            listed = list(entries)
            shown = [each for each in listed if each.kind == "note"] if hidden[run_id] else listed
            veiled += len(shown) < len(listed)
            if shown and len(found) < MOST_LOGS:
                found[str(row_of[run_id])] = [_line(each, names) for each in shown[-MOST_LINES:]]
            elif shown:
                left += 1
    return found, _left_out(veiled, bool(left))


def _left_out(veiled: int, more: bool) -> list[str]:
    notes = []
    if veiled:
        notes.append(
            f"The output of {counted(veiled, 'run')} is not on this page, because it may contain test measures and the "
            "verdict is not due yet. `ablate logs` shows it."
        )
    if more:
        notes.append(
            f"The page contains the logs of at most {MOST_LOGS} runs, beginning with failed runs. `ablate logs` shows "
            "all logs."
        )
    return notes


def _line(entry: Entry, hosts: tuple[str, ...]) -> str:
    text = public_text(entry.text, hosts)
    short = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]} …"
    return f"{entry.at:%Y-%m-%d %H:%M:%S} {entry.kind}: {short}"
