"""One session at a time: a plugin, or a script that a worker process imports again, must not start another session."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aimlib.errors import UsageError

_GUARD = "put the call below `if __name__ == '__main__':`"
_running = threading.local()


@contextmanager
def only_session() -> Iterator[None]:
    """Raise an error if a session would start within another session of this thread, or in a starting worker process.

    Raises
    ------
    UsageError: a session would start; the message says what to change in the script.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            f"ablations.run: a worker process imports this script again, and would run the whole study again; {_GUARD}"
        )
    if getattr(_running, "now", False):
        raise UsageError(
            "ablations.run: called while this process already runs a study, by a plugin or by a module that it "
            f"imports; {_GUARD}, or call it after the other call has returned"
        )
    _running.now = True
    try:
        yield
    finally:
        _running.now = False
