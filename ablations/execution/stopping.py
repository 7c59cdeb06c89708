"""How a session is asked to end: Ctrl-C, SIGTERM, or a watchdog."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stop:
    """Whether a session is to end.

    Parameters
    ----------
    ask : called once, when the end is first asked for.

    Attributes
    ----------
    reason : why; empty while nobody has asked.
    code : exit code of the command line: 130 after Ctrl-C, 143 after SIGTERM, 1 otherwise.
    since : monotonic time of the request.
    urgent : whether the one who asks will not wait for ever: a scheduler that kills after its grace period.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self.reason, self.code, self.since, self.urgent = "", 0, 0.0, False

    @property
    def requested(self) -> bool:
        """Whether the session is to end."""
        return bool(self.reason)

    def request(self, reason: str, code: int = 1, *, urgent: bool = False) -> None:
        """Ask for the end; nothing where that was done."""
        if not self.reason:
            self.reason, self.code, self.since, self.urgent = reason, code, time.monotonic(), urgent
            self._ask(reason)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Within the block Ctrl-C and SIGTERM ask for the end, and a second one raises KeyboardInterrupt at once.

        Outside the main thread, where Python allows no handlers, nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _NAMES}

        def handle(number: int, _: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.request(_NAMES[signal.Signals(number)], 128 + number, urgent=number == signal.SIGTERM)

        for number in _NAMES:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
