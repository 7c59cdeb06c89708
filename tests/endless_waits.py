"""Ends calls that would wait forever, for tests with files that never have content."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LONGEST_S = 120
"""Seconds after which a test is interrupted; much longer than any of these tests takes on a busy machine."""


class Waiting(BaseException):
    """The test is waiting forever. Unlike TimeoutError, the package's code never catches this exception."""


@contextmanager
def ended() -> Iterator[None]:
    """Raise `Waiting` in the main thread after two minutes."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Waiting

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
