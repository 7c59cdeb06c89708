"""`ProgressReporter`: tracks the state of a session, displays it, and stores it for `ablate watch`."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from rich.console import Console

from ablations.execution.events import Event, Notice, RunEnded, RunRetried
from ablations.progress.session_state import (
    MOST_ACTIVE,
    MOST_CURVES,
    MOST_FAILURES,
    RunProgress,
    SessionState,
    rounded,
)
from ablations.progress.snapshot import Snapshot, snapshot_of
from ablations.progress.state import Progress
from ablations.progress.views.log import LineView
from ablations.progress.views.notebook import NotebookConsole, NotebookView
from ablations.progress.views.terminal import LiveView
from ablations.spec.durations import duration
from ablations.store.outages import Outages
from aimlib.records import SETTLED

STORE_INTERVAL_S = 5.0
"""Seconds between two stored states."""
_TICK_S = 1.0
_BEATS_PER_NODE_TIME = 12
"""Number of stored states after which the node time is stored again; this happens about once a minute."""
_STOP_TIMEOUT_S = 10.0
_LONGEST_REASON = 500


class LiveStore(Protocol):
    """The write interface for session states; see `ablations.store.ResultStore`."""

    def write_live(self, session: str, document: dict[str, Any]) -> object:
        """Write or replace the state of a session atomically."""

    def write_node_time(self, session: str, seconds: float) -> object:
        """Write or replace the total uptime of all nodes in a session, in seconds."""


class ProgressReporter:
    """Tracks and shows the state of a session; the methods may be called from any thread.

    An error here does not affect the study: if a state cannot be stored, the error is reported once, and storing is
    retried.

    Parameters
    ----------
    progress : state of the session; only the reporter passes events to it.
    console : where the state is shown: as a table updated in place on a terminal or in a notebook, otherwise as lines.
    store : where the state is stored for `ablate watch`; None stores nothing.
    session : id of the session, consisting of letters, digits and '-'; random if empty.
    every : seconds between two stored states.
    outages : storage outages, which are reported elsewhere; if None, outages are reported once, like other errors.
    """

    def __init__(
        self,
        progress: Progress,
        console: Console,
        store: LiveStore | None = None,
        session: str = "",
        *,
        every: float = STORE_INTERVAL_S,
        outages: Outages | None = None,
    ) -> None:
        self._outages = outages
        self.progress, self.session = progress, session or uuid.uuid4().hex[:12]
        self._console, self._store, self._every = console, store, every
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat = 0
        self._written = float("-inf")
        self._told: set[str] = set()
        self._lines: LineView | None = None
        self._live: LiveView | NotebookView | None = None
        if isinstance(console, NotebookConsole):
            self._live = NotebookView(self._snapshot, console)
        elif console.is_terminal and not console.is_dumb_terminal:
            self._live = LiveView(self._snapshot, console)
        else:
            self._lines = LineView(self._snapshot, console)

    def start(self) -> None:
        """Start displaying and storing the state."""
        with self._lock:
            (self._live or self._shown).start()
        self._over.clear()
        self._thread = threading.Thread(target=self._keep_going, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the final state, which stays on the screen, and record that this session has ended."""
        self._over.set()
        hangs = False
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)  # hanging storage must not block the driver
            hangs = self._thread.is_alive()
            self._thread = None
        with self._harmless("the view cannot be drawn"):
            (
                self._live or self._shown
            ).stop()  # not while holding the lock, because drawing in another thread acquires it
        if not hangs:
            self._write("ended")

    def __enter__(self) -> ProgressReporter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def handle(self, event: Event) -> None:
        """Update the state from an event; if there is no terminal and the event is important, print a line."""
        with self._lock:
            self.progress.handle(event)
            if self._lines is not None:
                self._say(self._lines, event)

    def _say(self, lines: LineView, event: Event) -> None:
        match event:
            case RunEnded(run_id, state) if state in SETTLED:
                lines.settled(self.progress.label(run_id), state)
            case RunEnded(run_id, state, reason) if state != "held":
                why = f": {reason}" if reason else ""
                lines.news(f"{self.progress.label(run_id)} ({run_id}): {state}{why}")
            case RunRetried():
                lines.news(self.progress.messages[-1].text)
            case Notice(text):
                lines.note(text)

    @property
    def _shown(self) -> LineView:
        assert self._lines is not None
        return self._lines

    def _snapshot(self) -> Snapshot:
        with self._lock:
            return snapshot_of(self.progress)

    def _keep_going(self) -> None:
        self._write("running")
        while not self._over.wait(min(_TICK_S, self._every)):
            with self._harmless("no line can be printed"), self._lock:
                if self._lines is not None:
                    self._lines.tick()
            if self.progress.clock() - self._written >= self._every:
                self._write("running")

    def _write(self, state: Literal["running", "ended"]) -> None:
        """Store the state of the session."""
        if self._store is None:
            return
        with self._harmless("the state for `ablate watch` cannot be stored"):
            with self._lock:
                self._beat += 1
                self._written = self.progress.clock()
                stored = session_document(
                    self.progress,
                    session=self.session,
                    beat=self._beat,
                    every=self._every,
                    state=state,
                    outage=self._outage(),
                )
            self._store.write_live(self.session, stored)
            if self.progress.nodes and (state == "ended" or self._beat % _BEATS_PER_NODE_TIME == 1):
                self._store.write_node_time(self.session, stored["node_seconds"])

    def _outage(self) -> str:
        outage = None if self._outages is None else self._outages.current
        if outage is None or self._outages is None:
            return ""
        return f"the storage has been unavailable for {duration(self._outages.seconds)}: {outage.reason}"

    @contextmanager
    def _harmless(self, trouble: str) -> Iterator[None]:
        """Report an error in the block once instead of raising it, because the error must not end the study."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            if self._outages is not None and self._outages.limit_s and self._outages.passes(error):
                return
            text = f"{trouble}: {error}"
            if text not in self._told:
                self._told.add(text)
                with self._lock:
                    self.progress.note(text)


def session_document(
    progress: Progress,
    *,
    session: str = "",
    beat: int = 0,
    every: float = 5.0,
    state: Literal["running", "ended"] = "running",
    outage: str = "",
) -> dict[str, Any]:
    """Return a session's state as plain values; the keyword parameters are keys of the document."""
    now, wall = progress.clock(), time.time()
    paces = {name: arm.pace.epoch.value for name, arm in progress.arms.items()}
    stored = SessionState(
        study=progress.name,
        session=session,
        host=socket.gethostname(),
        process=os.getpid(),
        began_at=datetime.fromtimestamp(wall - (now - progress.began), UTC),
        at=datetime.fromtimestamp(wall, UTC),
        beat=beat,
        every=every,
        state=state,
        elapsed=now - progress.began,
        left=progress.seconds_left(),
        parallel=progress.parallel,
        repeated=progress.repeated,
        nodes=progress.nodes,
        node_seconds=round(progress.node_seconds, 1),
        resources=progress.use,
        seconds_per_epoch={name: pace for name, pace in paces.items() if pace is not None},
        runs=_stored_runs(progress, now),
        paused=progress.in_state("paused"),
        stopped=progress.in_state("stopped"),
        messages=tuple(progress.messages),
        outage=outage,
    )
    return stored.model_dump(mode="json")


def _stored_runs(progress: Progress, now: float) -> dict[str, RunProgress]:
    active = zip(range(MOST_ACTIVE), progress.active, strict=False)
    found = {run_id: _stored(progress.runs[run_id], now, curve=number < MOST_CURVES) for number, run_id in active}
    failed = zip(range(MOST_FAILURES), reversed(progress.failures), strict=False)
    return found | {run_id: _stored(progress.runs[run_id], now, curve=False) for _, run_id in failed}


def _stored(run: RunProgress, now: float, *, curve: bool) -> RunProgress:
    return replace(
        run,
        accuracy=rounded(run.accuracy),
        began=round(now - run.began, 1),
        heard=round(now - run.heard, 1),
        reason=run.reason[:_LONGEST_REASON],
        curve=[rounded(value) for value in run.curve] if curve else [],
    )
