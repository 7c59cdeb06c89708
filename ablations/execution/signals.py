"""Requests to end a session: Ctrl-C, SIGTERM, or a watchdog."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CLUSTER_GONE = "Ray's own process on this machine has ended; run the same command again to continue"
"""Reason for ending a session after its Ray has ended."""
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interrupted(KeyboardInterrupt):
    """A signal ended the session immediately.

    Attributes
    ----------
    code : exit code of the command line.
    """

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


_repeated_within_s = 0.0


def ignore_repeated(seconds: float) -> None:
    """Ignore signals that follow another signal within this time, in the whole process."""
    global _repeated_within_s  # noqa: PLW0603 -- a property of the process
    _repeated_within_s = seconds


class Stop:
    """Whether a session must end. A signal handler only records the request; other code must act on it.

    Attributes
    ----------
    reason : why the session must end; empty if there is no request.
    code : exit code of the command line: 130 after Ctrl-C, 143 after SIGTERM, 1 otherwise.
    since : monotonic time of the request.
    urgent : whether the requester will kill the process after a grace period, as schedulers do.
    """

    def __init__(self) -> None:
        self.reason, self.code, self.since, self.urgent = "", 0, 0.0, False
        self._gentle = False

    @property
    def requested(self) -> bool:
        """Whether the session must end."""
        return bool(self.reason)

    def request(self, reason: str, code: int = 1, *, urgent: bool = False) -> None:
        """Request the end of the session; do nothing if it was already requested."""
        if not self.reason:
            self.reason, self.code, self.since, self.urgent = reason, code, time.monotonic(), urgent

    def hasten(self) -> None:
        """Make a request urgent: the grace period starts now."""
        if self.reason:
            self.since, self.urgent = time.monotonic(), True

    @contextmanager
    def gentle(self) -> Iterator[None]:
        """Within the block, the first signal only requests the end of the session, so that runs save their state."""
        self._gentle = True
        self._install()  # Ray has replaced this package's handlers
        try:
            yield
        finally:
            self._gentle = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle Ctrl-C and SIGTERM within the block.

        A signal raises `Interrupted`; within `gentle`, only the second signal does.

        Outside the main thread, where Python does not allow handlers, nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _NAMES}
        self._install()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        code = 128 + number
        if self.requested and time.monotonic() - self.since < _repeated_within_s:
            return
        if self.requested or not self._gentle:
            raise Interrupted(code)
        self.request(_NAMES[signal.Signals(number)], code, urgent=number == signal.SIGTERM)
