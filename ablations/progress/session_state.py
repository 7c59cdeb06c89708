"""The state of a session, stored for `ablate watch` in ``live/<session>.json``.

The size of the document is bounded for any number of runs.

Keys of the document, version 2 (times are in seconds; accuracies are fractions on validation images, never on test
images):

* ``schema_version``, ``study``, ``session`` (its id), ``host``, ``process``, ``began_at`` and ``at`` (UTC, ISO 8601)
* ``beat``: increases with every document, so a reader can see that the session is active even if clocks are not
  synchronized; ``every``: seconds between two documents; ``state``: running or ended
* ``elapsed``; ``left``: expected time until the session ends, or null; ``parallel``: number of concurrent runs;
  ``repeated``: number of repeated attempts
* ``nodes``: number of nodes in the cluster, or 0 if unknown; ``node_seconds``: total uptime of all nodes so far
* ``resources``: the amount in use and the total, by name
* ``seconds_per_epoch``: measured in this session, by arm
* ``runs``: the states of active, retried and failed runs, by run id, see `RunProgress`; ``began`` and ``heard`` are
  seconds before ``at``; at most `MOST_ACTIVE` active runs and the newest `MOST_FAILURES` failures
* ``paused``, ``stopped``: run ids. All other runs are either settled, according to the store, or waiting
* ``outage``: since when and why the storage has been rejecting some of the session's writes; empty if it accepts all of
  them, and missing in the states of earlier versions
* ``messages``: a list of entries with ``at`` (seconds since the epoch) and ``text``, the newest last
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from aimlib.paths import Place, read_file
from aimlib.records import LIVE, RunState

LOST_S = 180.0
"""Seconds after which a driver that has not stored a new state may have exited."""
MOST_ACTIVE, MOST_CURVES, MOST_FAILURES = 500, 64, 50


Time = Annotated[float, Field(ge=0, le=2.5e11)]
"""Seconds since the epoch, limited to the year 9892 so that calendars can show the date."""
Count = Annotated[int, Field(ge=0, le=10**6)]
"""A count of individual items; a stored state with a larger count is invalid."""


@dataclass(slots=True)
class RunProgress:
    """Progress of one run.

    Attributes
    ----------
    epochs : number of planned epochs; `epochs_done` of them are complete.
    state : one of `aimlib.records.RUN_STATES`.
    accuracy : validation accuracy after the last completed epoch, as a fraction; None before the first epoch or without
        validation images.
    attempts : number of attempts in this session.
    where : the worker of the last attempt.
    began, heard : clock at the start of the current attempt and at its last event.
    measured : whether an epoch has been completed in the current attempt.
    reason : why the run failed or is being retried.
    failed_at : time of the failure, in seconds since the epoch.
    curve : validation accuracy by epoch so far, while the run is active.
    seen : last epoch whose accuracy has been added to the arm's progress.
    """

    arm: str
    seed: int
    epochs: int
    state: RunState = "waiting"
    epochs_done: Annotated[int, Field(ge=0)] = 0
    accuracy: float | None = None
    attempts: int = 0
    where: str = ""
    began: float = 0.0
    heard: float = 0.0
    measured: bool = False
    reason: str = ""
    failed_at: Time = 0.0
    curve: list[float | None] = field(default_factory=list)
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A human-readable message, with its time in seconds since the epoch."""

    at: Time
    text: str


@dataclass(frozen=True, slots=True)
class Use:
    """Amount of a resource in use, and its total amount, which is 0 if unknown."""

    used: float
    total: float = 0.0


class SessionState(BaseModel):
    """The document; the module docstring explains every key."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    schema_version: Literal[2] = 2
    study: str
    session: str
    host: str = ""
    process: int = 0
    began_at: AwareDatetime
    at: AwareDatetime
    beat: int = 0
    every: float = 5.0
    state: Literal["running", "ended"] = "running"
    elapsed: float = 0.0
    left: float | None = None
    parallel: Count = 1
    repeated: int = 0
    nodes: int = 0
    node_seconds: float = 0.0
    resources: Mapping[str, Use] = {}
    seconds_per_epoch: Mapping[str, float] = {}
    runs: Mapping[str, RunProgress] = {}
    paused: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    outage: str = ""


def rounded(accuracy: float | None) -> float | None:
    """Return an accuracy rounded to four digits, or None for None and NaN."""
    return None if accuracy is None or accuracy != accuracy else round(accuracy, 4)  # noqa: PLR0124 -- NaN


def read(stored: Mapping[str, Any]) -> SessionState | None:
    """Return the state in a document, or None if the document is invalid or has a different version."""
    try:
        return SessionState.model_validate(stored)
    except ValidationError:
        return None


def active_runs(directory: Place, now: datetime | None = None) -> dict[str, RunState]:
    """Return the states of the runs in sessions that have stored a state within the last `LOST_S`; nothing is written.

    A reader that has just started cannot see whether a session's beat changes, so it relies on the clocks.
    """
    now = datetime.now(UTC) if now is None else now
    found: dict[str, RunState] = {}
    for path in _documents(directory / LIVE):
        try:
            state = read(json.loads(read_file(path)))
        except (OSError, ValueError, RecursionError):  # the session ended after the listing, or the file is damaged
            continue
        if state is not None and state.state == "running" and (now - state.at).total_seconds() < LOST_S:
            parked: dict[str, RunState] = {
                **dict.fromkeys(state.paused, "paused"),
                **dict.fromkeys(state.stopped, "stopped"),
            }
            found |= parked | {run_id: run.state for run_id, run in state.runs.items()}
    return found


def _documents(folder: Place) -> list[Place]:
    try:
        paths: list[Place] = sorted(folder.iterdir())
    except OSError:  # the state is missing or cannot be read, but no result depends on it
        return []
    return [path for path in paths if path.suffix == ".json" and not path.name.startswith(".")]
