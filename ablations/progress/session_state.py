"""The state of a session as it is stored for `ablate watch`: ``live/<session>.json``.

It is small whatever the number of runs.

Keys of the document, version 2 (times in seconds; accuracies as fractions, of validation images, never of test
images):

* ``schema_version``, ``study``, ``session`` (its id), ``host``, ``process``, ``began_at`` and ``at`` (UTC, ISO 8601)
* ``beat``: raised with every document: who sees it change knows that the session goes on, whatever its clock says;
  ``every``: seconds between two documents; ``state``: running, or ended
* ``elapsed``; ``left``: expected to the end, or null; ``parallel``: runs at once; ``repeated``: attempts
* ``resources``: by name, what is used and what there is
* ``seconds_per_epoch``: by arm, as measured in this session
* ``runs``: by run id, what is known of runs that a worker has, that are retried or that have failed, see `RunProgress`;
  ``began`` and ``heard`` are seconds before ``at``; at most `MOST_ACTIVE` and the newest `MOST_FAILURES`
* ``paused``, ``stopped``: ids of runs. All others are settled, as the store says, or wait
* ``messages``: a list of ``at`` (seconds since the epoch) and ``text``, the newest last
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from aimlib.records import RunState

MOST_ACTIVE, MOST_CURVES, MOST_FAILURES = 500, 64, 50


@dataclass(slots=True)
class RunProgress:
    """What is known of one run.

    Attributes
    ----------
    epochs : planned; `epochs_done` of them are complete.
    state : one of `aimlib.records.RUN_STATES`.
    accuracy : validation accuracy of the last completed epoch, a fraction; None before, or without validation images.
    attempts : how often a worker had it in this session.
    where : the worker that had it last.
    began, heard : clock at the start of this attempt, and at its last heartbeat.
    measured : whether an epoch of this attempt was seen.
    reason : why it failed or is tried again.
    failed_at : when it failed, in seconds since the epoch.
    curve : validation accuracy by epoch as far as it was seen, while it runs.
    seen : last epoch whose accuracy its arm has.
    """

    arm: str
    seed: int
    epochs: int
    state: RunState = "waiting"
    epochs_done: int = 0
    accuracy: float | None = None
    attempts: int = 0
    where: str = ""
    began: float = 0.0
    heard: float = 0.0
    measured: bool = False
    reason: str = ""
    failed_at: float = 0.0
    curve: list[float | None] = field(default_factory=list)
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message for people, and when it came, in seconds since the epoch."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a resource is used, of how much there is; 0 where that is not known."""

    used: float
    total: float = 0.0


class SessionState(BaseModel):
    """The document; the module's docstring explains every key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[2] = 2
    study: str
    session: str
    host: str = ""
    process: int = 0
    began_at: datetime
    at: datetime
    beat: int = 0
    every: float = 5.0
    state: Literal["running", "ended"] = "running"
    elapsed: float = 0.0
    left: float | None = None
    parallel: int = 1
    repeated: int = 0
    resources: Mapping[str, Use] = {}
    seconds_per_epoch: Mapping[str, float] = {}
    runs: Mapping[str, RunProgress] = {}
    paused: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()


def rounded(accuracy: float | None) -> float | None:
    """Return an accuracy with four digits; None where it is no number."""
    return None if accuracy is None or accuracy != accuracy else round(accuracy, 4)  # noqa: PLR0124 -- NaN


def read(stored: Mapping[str, Any]) -> SessionState | None:
    """Return the state of a document; None where it is of another version or broken: a watch goes on without it."""
    try:
        return SessionState.model_validate(stored)
    except ValidationError:
        return None
