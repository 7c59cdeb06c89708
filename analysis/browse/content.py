"""The page's content as plain values: runs, arms, curves and notes for one or several studies.

If a study's verdict is not due, its measures on test images are left out here, so the page does not contain them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import aimlib
from aimlib.errors import counted
from aimlib.records import SETTLED
from analysis.browse.arms import arm_entries
from analysis.browse.columns import Shown, is_test_measure, shown_columns
from analysis.browse.curves import Curves, curves_of, rounded, with_nulls
from analysis.browse.disclosure import public_text, public_value
from analysis.browse.logs import Outputs, logs_of
from analysis.reading import factors as reading_factors
from analysis.reading.frames import parsed_json
from analysis.results import Results, Studies
from analysis.statistics.blinding import is_screening, verdict_is_due

States = Mapping[str, str]
"""The states of runs that are not settled, by run id: each is one of `aimlib.records.RUN_STATES`."""
_TRACEBACK = 4000
"""Number of characters shown from the end of a traceback."""
_DISTRIBUTIONS = ("versions", "plugins")
_NAMES = frozenset({"study", "also_in", "reused_from", "arm", "role", "run_id"})
"""Columns with names, which are shown unchanged: `sgd@0.1` is not a login."""


def content(
    studies: Studies,
    *,
    unblind: bool = False,
    hosts: bool = False,
    states: States | None = None,
    outputs: Outputs | None = None,
) -> Any:
    """Return everything that the page shows, as JSON-compatible values.

    Parameters
    ----------
    unblind : whether to show measures on test images for studies whose verdict is not due.
    hosts : whether to show the names of machines.
    states : states of runs in active sessions.
    outputs : returns the kept output of runs.
    """
    labels = study_labels(studies.results)
    early = {directory for directory, each in studies.results.items() if is_early(each)}
    blind = {directory: not unblind and directory in early for directory in studies.results}
    frame = _all_runs(studies, states or {})
    hidden = frame.set_index("run_id")["directory"].map(blind) | _elsewhere(studies, frame, blind)
    factors = studies.factors
    listed = shown_columns(factors, several=len(labels) > 1, tested=not all(blind.values()), hosts=hosts)
    found = curves_of(studies.epochs, frame["run_id"], hidden)
    logs, without = logs_of(studies.results, frame, hidden, outputs, hosts)
    names = () if hosts else tuple(frame["host"].dropna().unique())
    return {
        "title": next(iter(labels.values())) if len(labels) == 1 else counted(len(labels), "study", "studies"),
        "package": aimlib.__version__,
        "studies": [_study(each, labels[directory], blind[directory]) for directory, each in studies.results.items()],
        "columns": [vars(column) for column in listed],
        "runs": _columns(_masked(frame, studies, hidden, labels, names), listed),
        "details": _details(frame, names) | {"logs": logs},
        "arms": arm_entries(studies.results, labels),
        "curves": vars(found),  # avoids a deep copy of a million numbers
        "notes": _notes(found, frame, studies.results, labels, blind, unblind and bool(early)) + without,
    }


def is_early(results: Results) -> bool:
    """Return whether a study's test measures must stay hidden: before its verdict is due, and for a search's trials."""
    return is_screening(results.directory) or not verdict_is_due(results.plan, results.runs)


def study_labels(results: Mapping[str, Results]) -> dict[str, str]:
    """Return a short unique name for every study, by directory: its plan's name, because directories are not shown."""
    number: Counter[str] = Counter()
    labels = {}
    for directory, each in results.items():
        name = each.plan.name
        number[name] += 1
        labels[directory] = name if number[name] == 1 else f"{name} ({number[name]})"
    return labels


def _all_runs(studies: Studies, states: States) -> pd.DataFrame:
    """Return one row per planned run in the plans' order, with the run's state in the column `status`."""
    settled = studies.runs
    waiting = pd.concat([each.missing.assign(directory=directory) for directory, each in studies.results.items()])
    waiting = waiting[~waiting["run_id"].isin(settled["run_id"])].drop_duplicates("run_id")
    if len(waiting):
        waiting = waiting.assign(status="waiting", role=_roles(studies, waiting))
        arms = {f"{d}\n{arm.name}": arm for d, each in studies.results.items() for arm in each.plan.arms}
        waiting = reading_factors.attach(
            waiting.reset_index(drop=True),
            reading_factors.of_arms(arms),
            (waiting["directory"] + "\n" + waiting["arm"]).reset_index(drop=True),
        )
        frame = pd.concat([settled, waiting.reindex(columns=settled.columns).astype(settled.dtypes)])
    else:
        frame = settled
    place = {run_id: at for at, run_id in enumerate(_planned(studies))}
    frame = frame.assign(at=frame["run_id"].map(place)).sort_values("at", kind="stable").drop(columns="at")
    state = frame["run_id"].map(dict(states))
    live = state.notna() & ~frame["status"].isin(SETTLED)
    return frame.assign(status=frame["status"].mask(live, state)).reset_index(drop=True)


def _planned(studies: Studies) -> dict[str, None]:
    return {run_id: None for each in studies.results.values() for run_id in each.plan.runs["run_id"]}


def _roles(studies: Studies, runs: pd.DataFrame) -> list[str]:
    roles = {(d, arm.name): arm.role for d, each in studies.results.items() for arm in each.plan.arms}
    return [roles[key] for key in zip(runs["directory"], runs["arm"], strict=True)]


def _elsewhere(studies: Studies, frame: pd.DataFrame, blind: Mapping[str, bool]) -> pd.Series:
    """Return, by run id, whether a study whose verdict is not due also plans the run."""
    planned = {
        run_id for d, each in studies.results.items() if blind[d] for run_id in each.plan.runs["run_id"].tolist()
    }
    return pd.Series(frame["run_id"].isin(planned).to_numpy(), index=frame["run_id"])


def _masked(
    frame: pd.DataFrame, studies: Studies, hidden: pd.Series, labels: Mapping[str, str], hosts: tuple[str, ...]
) -> pd.DataFrame:
    """Return the runs as the page may show them: without hidden measures, directories, or paths in messages."""
    veiled = hidden.to_numpy(dtype=bool)
    masked = {name: frame[name].mask(veiled) for name in frame.columns if is_test_measure(name)}
    return frame.assign(
        **masked,
        study=frame["directory"].map(dict(labels)),
        also_in=_others(frame, studies, labels),
        reason=frame["reason"].map(lambda text: public_text(text, hosts), na_action="ignore"),
    )


def _others(frame: pd.DataFrame, studies: Studies, labels: Mapping[str, str]) -> pd.Series:
    """Return the names of the other studies that contain each run; null if there are none."""
    having = {directory: set(each.runs["run_id"]) for directory, each in studies.results.items()}
    texts = [
        ", ".join(labels[other] for other, ids in having.items() if other != directory and run_id in ids) or None
        for run_id, directory in zip(frame["run_id"], frame["directory"], strict=True)
    ]
    return pd.Series(texts, index=frame.index, dtype="str")


def _columns(frame: pd.DataFrame, listed: list[Shown]) -> list[Any]:
    return [_column(frame[column.name], column) for column in listed]


def _column(series: pd.Series, column: Shown) -> Any:
    """Return a column as a list; a text column as its distinct values, and each row's position among them."""
    if column.type == "text":
        codes, texts = pd.factorize(series)
        option = column.meaning.removeprefix("option ") if column.group == "factor" else ""
        public = list(texts) if column.name in _NAMES else [public_value(option, text) for text in texts]
        return {"texts": public, "codes": codes.tolist()}
    if column.type == "time":
        return [None if stamp is pd.NaT else stamp.strftime("%Y-%m-%d %H:%M:%S") for stamp in series]
    if column.type == "number":
        values = rounded(series.to_numpy(dtype=float, na_value=np.nan))
        return with_nulls(values)
    return [None if value is pd.NA else value for value in series.astype(object)]


def _details(frame: pd.DataFrame, hosts: tuple[str, ...]) -> dict[str, Any]:
    """Return what an opened run shows in addition to its columns: the end of its traceback, versions and plugins."""
    tracebacks = {str(at): public_text(text[-_TRACEBACK:], hosts) for at, text in frame["traceback"].dropna().items()}
    details: dict[str, Any] = {"tracebacks": tracebacks}
    for name in _DISTRIBUTIONS:
        codes, texts = pd.factorize(frame[name])
        details[name] = {"texts": [_pairs(text) for text in texts], "codes": codes.tolist()}
    return details


def _pairs(text: str) -> dict[str, str]:
    found = parsed_json(text, {})
    if not isinstance(found, dict):
        return {}
    return {
        public_text(str(name)): public_text(value if isinstance(value, str) else json.dumps(value))
        for name, value in found.items()
    }


def _study(results: Results, label: str, blind: bool) -> dict[str, Any]:
    plan, scope = results.plan, results.plan.scope
    return {
        "name": label,
        "blind": blind,
        "planned": len(plan.runs),
        "settled": int(results.runs["status"].isin(SETTLED).sum()),
        "arms": len(plan.arms),
        "seeds": len(plan.seeds),
        "claim": plan.claim,
        "dataset": scope.dataset,
        "backbone": scope.backbone,
        "unblinded": [str(each) for each in results.unblinded],
    }


def _notes(
    found: Curves,
    frame: pd.DataFrame,
    results: Mapping[str, Results],
    labels: Mapping[str, str],
    blind: Mapping[str, bool],
    unblinded: bool,
) -> list[str]:
    """Return sentences on what the page leaves out."""
    notes = []
    veiled = [directory for directory, hides in blind.items() if hides]
    trials = [directory for directory in veiled if is_screening(results[directory].directory)]
    for without, why in (
        ([each for each in veiled if each not in trials], "because the verdict is not due yet"),
        (trials, "because a search’s trials are compared on validation images"),
    ):
        whose = "" if len(labels) == 1 else f" for {', '.join(labels[each] for each in without)}"
        if without:
            notes.append(f"Test measures{whose} are not on this page, {why}.")
    if unblinded and not veiled:
        notes.append("Test measures are shown before the verdict. The study records this.")
    if len(found.epochs) < found.longest:
        notes.append(
            f"Curves show {len(found.epochs)} of {found.longest} epochs, evenly spaced, to keep the page small."
        )
    if stale := sum(len(each.stale) for each in results.values()):
        notes.append(f"{counted(stale, 'row')} from runs outside the plan {'is' if stale == 1 else 'are'} left out.")
    twice = sum(len(each.plan.runs) for each in results.values()) - len(frame)
    if twice:
        verb = "is" if twice == 1 else "are"
        notes.append(
            f"{counted(twice, 'planned run')} {verb} also part of another of these studies and shown only once."
        )
    return notes
