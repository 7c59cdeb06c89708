"""Signals on shared storage between a session and processes on other machines that watch or stop the session.

``live/<session>.json`` is the driver's report of what is running; ``live/<session>.stop`` asks the session to stop.
Neither is part of the results. A session that has been silent for a day is dead, and `clean` removes its files.
``live/<session>.nodes`` is kept: it records the total uptime, in seconds, of the nodes in the session's cluster.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ablations.store.folder import Folder
from aimlib.errors import StoreError
from aimlib.paths import Place, read_file
from aimlib.records import LIVE
from aimlib.records.checksums import intact_document, with_checksum

DEAD_AFTER = 24 * 3600.0
"""Seconds without any writes after which a session counts as dead."""

_SESSION = re.compile(r"[0-9a-f]{12}")
_LIVE_FILE = re.compile(r"[0-9a-f]{12}\.json")
_NODES_FILE = re.compile(r"[0-9a-f]{12}\.nodes")
_ANY_FILE = re.compile(r"[0-9a-f]{12}\.(json|stop)")


def request_stop(folder: Folder, session: str, within: float | None = None) -> None:
    """Ask a session on any machine to stop, with `within` seconds for its runs, or without a limit."""
    text = "" if within is None else f"{within:.1f}"
    folder.replace(_stop(session), lambda path: path.write_text(text, encoding="ascii"))


def stop_requested(folder: Folder, session: str) -> bool:
    """Return whether the session was asked to stop."""
    return folder.exists(_stop(session))


def time_to_stop(folder: Folder, session: str) -> float | None:
    """Return the number of seconds that the request gave the session to stop; None means no limit."""
    try:
        return float(folder.read(_stop(session)) or b"")
    except ValueError:
        return None


def forget_stop(folder: Folder, session: str) -> None:
    """Remove a request that was withdrawn or obeyed."""
    folder.remove(_stop(session))


def write_live(folder: Folder, session: str, document: dict[str, Any]) -> None:
    """Replace the stored state of a session."""
    content = with_checksum({**document, "session": _checked(session)})
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    folder.replace(_live(session), lambda path: path.write_text(text, encoding="utf-8"))


def write_node_time(folder: Folder, session: str, seconds: float) -> None:
    """Replace the stored total uptime of all nodes in a session, in seconds."""
    text = json.dumps({"node_seconds": seconds}, allow_nan=False)
    folder.replace(f"{LIVE}/{_checked(session)}.nodes", lambda path: path.write_text(text, encoding="ascii"))


def node_time(root: Place) -> dict[str, float]:
    """Return each session's total node uptime in seconds; damaged files count as 0, as no result depends on them."""
    try:
        paths: list[Place] = sorted((root / LIVE).iterdir())
    except OSError:
        return {}
    return {path.name.partition(".")[0]: _seconds_in(path) for path in paths if _NODES_FILE.fullmatch(path.name)}


def _seconds_in(path: Place) -> float:
    try:
        seconds = float(json.loads(read_file(path))["node_seconds"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return 0.0
    return seconds if 0 <= seconds < math.inf else 0.0


def live(folder: Folder) -> list[dict[str, Any]]:
    """Return the last state of every session, sorted by name; for a damaged file, the state contains only the name."""
    found = []
    for name in sorted(folder.names(LIVE, _LIVE_FILE)):
        content = folder.read(f"{LIVE}/{name}")
        if content is not None:  # None if the session ended after the listing
            found.append(_parsed(name, content))
    return found


def forget_live(folder: Folder, session: str) -> None:
    """Remove the state of a session."""
    folder.remove(_live(session))


def clean(folder: Folder) -> None:
    """Remove the files of dead sessions, that is, of sessions whose files are all older than a day."""
    ages = folder.ages(LIVE, _ANY_FILE)
    youngest: dict[str, float] = {}
    for name, age in ages.items():
        session = name.partition(".")[0]
        youngest[session] = min(age, youngest.get(session, age))
    for name in ages:
        if youngest[name.partition(".")[0]] > DEAD_AFTER:
            folder.remove(f"{LIVE}/{name}")


def _parsed(name: str, content: bytes) -> dict[str, Any]:
    """Return the state in a file; for a damaged file, only the session's name until the next state is written."""
    return {**(intact_document(content) or {}), "session": name.partition(".")[0]}


def _live(session: str) -> str:
    return f"{LIVE}/{_checked(session)}.json"


def _stop(session: str) -> str:
    return f"{LIVE}/{_checked(session)}.stop"


def _checked(session: object) -> str:
    """Check that a session's name may become part of a file name, and return it. StoreError: the name is invalid."""
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise StoreError(f"session {session!r}: must be 12 hexadecimal digits in lower case")
    return session
