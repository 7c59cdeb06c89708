"""The order in which many runs save: a few at a time, the most advanced first; no save starts that would be late.

When a session must end, all of its runs need to save within half a minute, which may mean tens of gigabytes for one
storage system. If all runs wrote in parallel, either all of them or none would be late. A run therefore takes one of a
few slots, which are file locks that the operating system releases when their holder dies. Each waiting run locks a
ticket file, whose name contains the run's progress.

On NFS, a listing may be outdated (`acdirmax`), so the order is not guaranteed, but the number of slots is.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ablations.store import files
from ablations.store.file_locks import FileLock, locked
from aimlib.errors import StoreError
from aimlib.paths import make_folder

SLOTS = 2
"""Number of runs that save at the same time: while one run computes and copies, the other writes."""
_POLL_S = 0.05
_DEAD_AFTER_S = 60.0
"""Seconds after which a ticket without a holder is removed; before that, the run may be about to lock it."""
_TICKET = re.compile(r"(\d{6})-(\d{9})-[0-9a-f]{12}\.ticket")

Deadline = Callable[[], float | None]
"""Function that returns the monotonic time by which a save must be done; None means no limit."""


class SaveSlots:
    """The slots for saving to one storage.

    Parameters
    ----------
    folder : folder for the locks and tickets; processes that share the folder share the slots.
    slots : number of runs that may save at the same time.
    """

    def __init__(self, folder: Path, slots: int = SLOTS) -> None:
        self._folder, self._slots = folder, slots

    @contextmanager
    def taken(self, progress: tuple[int, int], seconds: float, deadline: Deadline) -> Iterator[bool]:
        """Hold a slot within the block; yield whether to save.

        Parameters
        ----------
        progress : completed epochs, and completed steps in the current epoch.
        seconds : duration of this run's last save; 0 if there was none.
        deadline : called while the run waits. A run whose save would not be done in time leaves the slot to others.

        If the storage has no locks, or no space for a ticket, the run saves without waiting, because the resulting
        error is clearer.
        """
        with ExitStack() as held:
            try:
                granted = self._wait(held, progress, seconds, deadline)
            except StoreError:
                granted = True
            yield granted

    def _wait(self, held: ExitStack, progress: tuple[int, int], seconds: float, deadline: Deadline) -> bool:
        with files.explained(self._folder, "created"):
            make_folder(self._folder)
        with self._ticket(progress) as ticket:
            while not self._is_too_late(seconds, deadline):
                if not self._is_preceded(progress, ticket) and (lock := self._free_slot()) is not None:
                    if not self._is_too_late(seconds * self._busy(), deadline):
                        held.callback(lock.close)
                        return True
                    lock.close()  # this run may still finish in time once fewer runs are saving
                time.sleep(_POLL_S)
        return False

    @staticmethod
    def _is_too_late(seconds: float, deadline: Deadline) -> bool:
        until = deadline()
        return until is not None and time.monotonic() + seconds > until

    @contextmanager
    def _ticket(self, progress: tuple[int, int]) -> Iterator[str]:
        """Publish the progress of this run within the block."""
        epochs, step = progress
        name = f"{epochs:06d}-{step:09d}-{uuid.uuid4().hex[:12]}.ticket"
        with closing(FileLock(self._folder / name)) as lock:
            lock.acquire(timeout_s=1.0)  # others may be checking it at this moment
            try:
                yield name
            finally:
                (self._folder / name).unlink(missing_ok=True)

    def _is_preceded(self, progress: tuple[int, int], own: str) -> bool:
        """Return whether a more advanced run is waiting.

        If two runs are equally advanced, the run with the later name waits.
        """
        for name in sorted(files.names(self._folder, _TICKET), reverse=True):
            found = _TICKET.fullmatch(name)
            assert found is not None
            if (int(found[1]), int(found[2])) < progress or name == own:
                return False
            if self._is_held(name):
                return True
        return False

    def _is_held(self, name: str) -> bool:
        path = self._folder / name
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # removed after it was listed
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if time.time() - os.fstat(handle).st_mtime > _DEAD_AFTER_S:
                path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def _free_slot(self) -> FileLock | None:
        for number in range(1, self._slots + 1):
            lock = FileLock(self._folder / f"slot-{number}.lock")
            if lock.acquire():
                return lock
            lock.close()
        return None

    def _busy(self) -> int:
        """Return the number of occupied slots, including this run's slot; their runs share the speed of the storage."""
        busy = 0
        for number in range(1, self._slots + 1):
            with locked(self._folder / f"slot-{number}.lock", shared=True) as free:
                busy += not free
        return max(1, busy)
