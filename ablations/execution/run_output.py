"""Storing a run's output to stdout and stderr while the run is being computed.

The output still appears where it did before. If a run writes nothing, no file is created. At most `HEAD_BYTES` from the
start and `TAIL_BYTES` from the end of an attempt's output are stored. An error in this module never affects the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from aimlib.errors import counted
from aimlib.records.escaping import storable
from aimlib.records.redaction import without_secrets

Kind = Literal["stdout", "stderr", "note"]
"""note: a message from this package about the run."""
Write = Callable[[str], object]
"""Function that writes the attempt's whole log as JSON lines."""

HEAD_BYTES, TAIL_BYTES = 2**16, 3 * 2**16
_LONGEST_LINE = 2**13
"""Maximum number of characters stored per line."""
_WRITE_INTERVAL_S = 2.0
"""Minimum time between two writes of a log; each write replaces a file or an object."""


def entry(kind: Kind, text: str) -> dict[str, str]:
    """Return a log line with the current time."""
    length = len(text)
    # Secrets are removed first, because part of a secret would not be recognized.
    text = storable(without_secrets(text[: 2 * _LONGEST_LINE]))
    if length > _LONGEST_LINE:
        text = f"{text[:_LONGEST_LINE]} ... {length - _LONGEST_LINE} more characters"
    return {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, "text": text}


def as_lines(entries: list[dict[str, str]]) -> str:
    """Return the content of a log file."""
    return "".join(f"{json.dumps(each)}\n" for each in entries)


class RunOutput:
    """The output of one attempt.

    Parameters
    ----------
    write : stores the log.
    interval : minimum number of seconds between two writes.
    """

    def __init__(self, write: Write, interval: float = _WRITE_INTERVAL_S) -> None:
        self._write, self._interval = write, interval
        self._lock, self._changed, self._over = threading.RLock(), threading.Event(), threading.Event()
        self._head: list[dict[str, str]] = []
        self._tail: deque[dict[str, str]] = deque()
        self._head_bytes = self._tail_bytes = self._left_out = 0
        self._partial: dict[Kind, str] = {}
        self._others: set[threading.Thread] = set()
        self._thread: threading.Thread | None = None

    def add(self, kind: Kind, text: str) -> None:
        """Add a line."""
        with self._lock:
            if not self._head:
                where = f"output of an attempt on {socket.gethostname()}, process {os.getpid()}"
                self._keep(entry("note", where))
            self._keep(entry(kind, text))
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_writing, name="run-log", daemon=True)
                self._thread.start()
        self._changed.set()

    def hear(self, kind: Kind, text: str) -> None:
        """Add what was written to a stream: complete lines, and the latest state of a line that is being rewritten."""
        if threading.current_thread() in self._others:
            return
        with self._lock:
            *lines, rest = (self._partial.get(kind, "") + text).split("\n")
            self._partial[kind] = _visible(rest)[-_LONGEST_LINE:]
            for line in map(_visible, lines):
                self.add(kind, line)

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Capture what this thread, and any threads started in the meantime, write to stdout and stderr."""
        self._others = set(threading.enumerate()) - {threading.current_thread()}
        # Python again shows warnings that were already shown in earlier runs.
        warnings.simplefilter("ignore", _NoWarning)
        with _attached(self):
            try:
                yield
            finally:
                self.close()

    def close(self) -> None:
        """Write the remaining lines."""
        with self._lock:
            for kind, text in self._partial.items():
                if text:
                    self.add(kind, text)
            self._partial.clear()
        self._over.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self, line: dict[str, str]) -> None:
        size = len(line["text"].encode(errors="replace")) + 64
        if self._head_bytes + size <= HEAD_BYTES and not self._tail:
            self._head.append(line)
            self._head_bytes += size
            return
        self._tail.append(line)
        self._tail_bytes += size
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft()["text"].encode(errors="replace")) + 64
            self._left_out += 1

    def _content(self) -> str:
        with self._lock:
            gap = []
            if self._left_out:
                text = f"{counted(self._left_out, 'line')} left out"
                gap = [{"at": self._tail[0]["at"], "kind": "note", "text": text}]
            return as_lines([*self._head, *gap, *self._tail])

    def _keep_writing(self) -> None:
        self._others.add(threading.current_thread())  # the writer's output is not part of the run's output
        while not self._over.is_set():
            self._changed.wait()
            self._changed.clear()
            self._store()
            self._over.wait(self._interval)
        self._store()

    def _store(self) -> None:
        with contextlib.suppress(Exception):  # ignore any storage error, because the next write contains everything
            self._write(self._content())


class _NoWarning(Warning):
    """A category without warnings, used to change Python's filters without affecting any other category."""


def _visible(line: str) -> str:
    """Return what a terminal shows for a line that was rewritten with carriage returns, such as a progress bar."""
    return next((part for part in reversed(line.split("\r")) if part), "")


class _Tee:
    """A stream that passes everything on and also copies it to the log of the run that is being computed."""

    def __init__(self, stream: TextIO, kind: Kind) -> None:
        self.stream, self._kind = stream, kind

    def write(self, text: str) -> int:
        """Write to the stream."""
        written = self.stream.write(text)
        if _attached_run is not None and isinstance(text, str):
            with contextlib.suppress(Exception):
                _attached_run.hear(self._kind, text)
        return written

    def writelines(self, lines: Any) -> None:
        """Write lines to the stream."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_attached_run: RunOutput | None = None
"""The run whose output is captured; a process computes one run at a time."""


@contextlib.contextmanager
def _attached(run: RunOutput) -> Iterator[None]:
    global _attached_run  # noqa: PLW0603 -- so are stdout and stderr
    before = _attached_run, sys.stdout, sys.stderr
    _attached_run = run
    sys.stdout, sys.stderr = _Tee(before[1], "stdout"), _Tee(before[2], "stderr")
    ours = sys.stdout, sys.stderr
    try:
        yield
    finally:
        _attached_run = before[0]
        if sys.stdout is ours[0]:  # otherwise, the run has replaced the stream permanently
            sys.stdout = before[1]
        if sys.stderr is ours[1]:
            sys.stderr = before[2]


@contextlib.contextmanager
def not_captured() -> Iterator[None]:
    """Write to stdout and stderr without adding the output to the run's log."""
    global _attached_run  # noqa: PLW0603
    before, _attached_run = _attached_run, None
    try:
        yield
    finally:
        _attached_run = before
