"""Calls that may hang, made safe for a thread that must not hang: a frozen server or network disk never answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from aimlib.errors import StoreError

T = TypeVar("T")


class BoundedCalls:
    """Runs calls in a separate thread, one at a time, and stops waiting for a call that takes too long.

    Until that call ends, all other calls fail immediately, so that at most one thread hangs.

    Parameters
    ----------
    seconds : how long to wait for a call.
    where : name of the storage in messages.
    """

    def __init__(self, seconds: float, where: str) -> None:
        self._seconds, self._where = seconds, where
        self._hanging: threading.Thread | None = None

    def __call__(self, act: Callable[[], T]) -> T:
        """Return the result of `act`, or raise its exception.

        Raises
        ------
        StoreError: the call did not end in time, or an earlier call has not ended yet.
        """
        if self._hanging is not None and self._hanging.is_alive():
            raise self._no_answer()
        done: list[tuple[bool, Any]] = []

        def run() -> None:
            try:
                done.append((True, act()))
            except BaseException as error:  # noqa: BLE001 -- raised by the caller's thread
                done.append((False, error))

        thread = threading.Thread(target=run, name="storage", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if not done:
            self._hanging = thread
            raise self._no_answer()
        succeeded, value = done[0]
        if succeeded:
            result: T = value
            return result
        raise value

    def _no_answer(self) -> StoreError:
        error = StoreError(f"{self._where}: the storage has not answered within {self._seconds:g} s; check the storage")
        error.__cause__ = TimeoutError()
        return error
