"""The picture of a session as a JSON document, small whatever the number of runs.

Keys of the document, `SCHEMA_VERSION` 1 (times in seconds; accuracies as fractions, of validation images, never of test
images):

* ``schema_version``, ``study``, ``session`` (its id), ``host``, ``process``, ``began_at`` and ``at`` (UTC, ISO 8601)
* ``beat``: raised with every snapshot: who sees it change knows that the session lives, whatever its clock says;
  ``every``: seconds between snapshots; ``state``: running, or ended
* ``elapsed``; ``quiet``: since the last event of any run, or null; ``left``: expected to the end, or null
* ``parallel``: runs at once; ``resources``: by name, what is used and what there is; ``repeated``: attempts
* ``equal_epoch``: the epoch after which arms are compared; 0 where there is no accuracy yet
* ``arms``: a list, see `ablations.progress.picture.ArmPicture`; settled runs are only counted
* ``running``: a list, see `ablations.progress.picture.RunPicture`, of at most
  `ablations.progress.looking.MOST_RUNNING`; those of state ``again`` are tried again in a while
* ``failures``: a list of the newest, see `ablations.progress.picture.FailurePicture`
* ``messages``: a list of ``at`` (seconds since the epoch) and ``text``, the newest last
* ``alerts``: texts, of who watches several sessions
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from ablations.progress.looking import picture
from ablations.progress.picture import SCHEMA_VERSION, Picture
from ablations.progress.state import Progress


def snapshot(
    progress: Progress, *, session: str = "", beat: int = 0, every: float = 5.0, state: str = "running"
) -> dict[str, Any]:
    """Return the picture of a session as a plain JSON document, small whatever the number of runs.

    Parameters
    ----------
    session : id of the session.
    beat : raised with every snapshot.
    every : seconds between snapshots.
    state : running, or ended.
    """
    now = time.time()
    stamped = picture(progress, run_curves=True).model_copy(
        update={
            "session": session,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "began_at": _utc(now - (progress.clock() - progress.began)),
            "at": _utc(now),
            "beat": beat,
            "every": every,
            "state": state,
        }
    )
    return stamped.model_dump(mode="json")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def read(document: Mapping[str, Any]) -> Picture | None:
    """Return the picture of a snapshot; None where it is of a newer version or broken: a view goes on without it."""
    try:
        shown = Picture.model_validate(document)
    except ValidationError:
        return None
    return shown if shown.schema_version == SCHEMA_VERSION else None
