"""The state of a session, stored for `ablate watch` in ``live/<session>.json``.

Its size is bounded for any number of runs.

Keys of the document, version 2 (times in seconds; accuracies are fractions on validation images, never on test
images):

* ``schema_version``, ``study``, ``session`` (its id), ``host``, ``process``, ``began_at`` and ``at`` (UTC, ISO 8601)
* ``beat``: increases with every document, so that a reader can see without a synchronized clock that the session is
  active; ``every``: seconds between two documents; ``state``: running or ended
* ``elapsed``; ``left``: expected time to the end, or null; ``parallel``: number of concurrent runs; ``repeated``:
  number of repeated attempts
* ``nodes``: number of nodes of the cluster, or 0 if unknown; ``node_seconds``: seconds of all nodes together so far
* ``resources``: by name, the amount in use and the total
* ``seconds_per_epoch``: by arm, as measured in this session
* ``runs``: by run id, the state of active, retried and failed runs, see `RunProgress`; ``began`` and ``heard`` are
  seconds before ``at``; at most `MOST_ACTIVE` active runs and the newest `MOST_FAILURES` failures
* ``paused``, ``stopped``: ids of runs. All other runs are settled, according to the store, or waiting
* ``outage``: since when and why the storage rejects some writes of the session; empty if it does not, and missing in
  the states of earlier versions
* ``messages``: a list of ``at`` (seconds since the epoch) and ``text``, the newest last
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
"""A driver that has stored no new state for this long may have exited."""
MOST_ACTIVE, MOST_CURVES, MOST_FAILURES = 500, 64, 50


Time = Annotated[float, Field(ge=0, le=2.5e11)]
"""Seconds since the epoch, up to the year 9892, which calendars can show."""
Count = Annotated[int, Field(ge=0, le=10**6)]
"""A count of single items; a state with a larger number was not stored by a session."""


@dataclass(slots=True)
class RunProgress:
    """Progress of one run.

    Attributes
    ----------
    epochs : number of planned epochs, of which `epochs_done` are complete.
    state : one of `aimlib.records.RUN_STATES`.
    accuracy : validation accuracy after the last completed epoch, as a fraction; None before the first epoch or
        without validation images.
    attempts : number of attempts in this session.
    where : the worker of the last attempt.
    began, heard : clock at the start of this attempt and at its last event.
    measured : whether an epoch of this attempt has been completed.
    reason : why it failed or is being retried.
    failed_at : time of the failure, in seconds since the epoch.
    curve : validation accuracy by epoch so far, while the run is active.
    seen : last epoch whose accuracy has been added to its arm.
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
    """A message for people, with its time in seconds since the epoch."""

    at: Time
    text: str


@dataclass(frozen=True, slots=True)
class Use:
    """Amount of a resource in use, and its total, which is 0 if unknown."""

    used: float
    total: float = 0.0


class SessionState(BaseModel):
    """The document; the module's docstring explains every key."""

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
    """Return the state in a document, or None if the document is invalid or has another version."""
    try:
        return SessionState.model_validate(stored)
    except ValidationError:
        return None


def active_runs(directory: Place, now: datetime | None = None) -> dict[str, RunState]:
    """Return the states of runs in sessions that have stored a state within `LOST_S`; nothing is written.

    A reader that has only just started cannot see whether a session's beat changes, so it relies on the clocks.
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
    except OSError:  # there is none, or it cannot be read: no result depends on it
        return []
    return [path for path in paths if path.suffix == ".json" and not path.name.startswith(".")]
