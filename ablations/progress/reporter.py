"""`ProgressReporter`: keeps the state of a session, draws it, and stores it for `ablate watch`."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console

from ablations.execution.events import Event, Notice, RunEnded, RunRetried
from ablations.progress.looking import picture
from ablations.progress.picture import Picture
from ablations.progress.snapshot import snapshot
from ablations.progress.state import Progress
from ablations.progress.views.log import LineView
from ablations.progress.views.terminal import LiveView
from aimlib.records import SETTLED

EVERY = 5.0
"""Seconds between two snapshots."""
_TICK_S = 1.0
_STOP_TIMEOUT_S = 10.0


class LiveStore(Protocol):
    """Where sessions leave their snapshots: see `ablations.store.ResultStore`."""

    def write_live(self, session: str, document: dict[str, Any]) -> object:
        """Write or replace the snapshot of a session, in one step."""


class ProgressReporter:
    """Keeps the state of a session and shows it; from any thread.

    Nothing that goes wrong here hurts the study: a snapshot that cannot be written is told once and tried again.

    Parameters
    ----------
    progress : the state; by now only this tells it of events.
    console : where it is drawn: a table in place on a terminal, lines elsewhere.
    store : where snapshots go, for `ablate watch`; None leaves none.
    session : id of the session: letters, digits and '-'; random where empty.
    every : seconds between snapshots.
    """

    def __init__(
        self,
        progress: Progress,
        console: Console,
        store: LiveStore | None = None,
        session: str = "",
        *,
        every: float = EVERY,
    ) -> None:
        self.progress, self.session = progress, session or uuid.uuid4().hex[:12]
        self._console, self._store, self._every = console, store, every
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat = 0
        self._written = float("-inf")
        self._told: set[str] = set()
        self._lines: LineView | None = None
        self._live: LiveView | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = LiveView(self._look, console)
        else:
            self._lines = LineView(self._look, console)

    def start(self) -> None:
        """Begin to show, and to leave snapshots."""
        with self._lock:
            (self._live or self._shown).start()
        self._over.clear()
        self._thread = threading.Thread(target=self._keep_going, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the last state, leave it standing, and leave a last snapshot that says that this session has ended."""
        self._over.set()
        hangs = False
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)  # storage that hangs must not keep the driver
            hangs = self._thread.is_alive()
            self._thread = None
        with self._harmless("the view cannot be drawn"):
            (self._live or self._shown).stop()  # not under the lock: drawing takes it in another thread
        if not hangs:
            self._leave("ended")

    def __enter__(self) -> ProgressReporter:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def handle(self, event: Event) -> None:
        """Take note of an event; where there is no terminal to draw on, say in a line what matters of it."""
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
                lines.news(self.progress.messages[-1][1])
            case Notice(text):
                lines.note(text)

    @property
    def _shown(self) -> LineView:
        assert self._lines is not None
        return self._lines

    def _look(self) -> Picture:
        with self._lock:
            return picture(self.progress)

    def _keep_going(self) -> None:
        self._leave("running")
        while not self._over.wait(min(_TICK_S, self._every)):
            with self._harmless("no line can be printed"), self._lock:
                if self._lines is not None:
                    self._lines.tick()
            if self.progress.clock() - self._written >= self._every:
                self._leave("running")

    def _leave(self, state: str) -> None:
        """Write a snapshot."""
        if self._store is None:
            return
        with self._harmless("no snapshot for `ablate watch`"):
            with self._lock:
                self._beat += 1
                self._written = self.progress.clock()
                document = snapshot(
                    self.progress, session=self.session, beat=self._beat, every=self._every, state=state
                )
            self._store.write_live(self.session, document)

    @contextmanager
    def _harmless(self, trouble: str) -> Iterator[None]:
        """Whatever goes wrong in here is told once and must not end the study: the study matters, this does not."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            text = f"{trouble}: {error}"
            if text not in self._told:
                self._told.add(text)
                with self._lock:
                    self.progress.note(text)
