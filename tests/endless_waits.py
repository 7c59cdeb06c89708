"""An end to what would wait forever, for tests of files that never have content."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LONGEST_S = 120
"""Much longer than any such test takes on a busy machine."""


class Waiting(BaseException):
    """The test waits for what never comes. No code of the package catches it, unlike TimeoutError."""


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
