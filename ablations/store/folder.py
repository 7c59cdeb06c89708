"""Operations that the store needs from the location of a study, the only part that differs between kinds of storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from ablations.store.files import Write
from ablations.store.leases import Terms
from ablations.store.run_locks import RunLock
from aimlib.paths import Place


class Folder(Protocol):
    """A study's folder.

    Names are relative to it, with ``/``; a file appears under its name completely or not at all.
    """

    @property
    def root(self) -> Place:
        """Its location."""

    def prepare(self) -> None:
        """Create the folder if it is missing. StoreError: files cannot be created exclusively in it."""

    def attach(self) -> None:
        """Open the folder for reading only: create and write nothing."""

    def refuse_absence(self) -> None:
        """Raise StoreError if a folder that was opened is missing, because its file system is no longer mounted.

        Otherwise it would look like a study without results.
        """

    def create_first(self, names: Iterable[str], write: Write) -> str | None:
        """Create a file exclusively under the first free name; return that name, or None if none is free."""

    def settle(self, name: str, write: Write, kept: Callable[[], bool | None]) -> bool:
        """Create a file exclusively, unless its row is already in a segment; return whether it is the row that counts.

        Parameters
        ----------
        kept : returns whether a segment contains the row that `write` writes; None if no segment contains a row of this
            run.
        """

    def settling_ended(self) -> bool:
        """Wait until every `settle` that may not have seen the current segments has ended.

        Return False if this takes too long.
        """

    def replace(self, name: str, write: Write) -> None:
        """Create a file or replace it atomically."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist."""

    def exists(self, name: str) -> bool:
        """Return whether a file exists, with one request."""

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in a folder that match completely; empty if it does not exist."""

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the same names with the seconds since each was written."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def clean(self, settled: set[str]) -> list[Place]:
        """Remove files that killed writers left, and return their names; files of running writers are kept."""

    def room(self) -> int | None:
        """Return the free bytes; None if the storage has no limit."""

    def lock(self, name: str) -> RunLock | None:
        """Lock a name; return None if it is locked."""

    def holder(self, name: str) -> str | None:
        """Return a description of the holder of a lock; None if no process holds it."""

    def forget_lock(self, name: str) -> None:
        """Remove the lock of a run that was settled, unless a process holds it."""

    def checkpoint_directory(self, run_id: str, *, create: bool = True) -> Path:
        """Return the local directory for a run's checkpoint, including the stored one.

        Parameters
        ----------
        create : whether to create it if it is missing; saving a checkpoint also does so.
        """

    def keep_checkpoint(self, run_id: str, lock: RunLock | None) -> None:
        """Store the content of a run's checkpoint directory, so that it remains if this machine fails."""

    def save_slots(self) -> Path:
        """Return the folder of the locks with which processes take turns in saving to this storage."""

    def discard_checkpoint(self, run_id: str) -> None:
        """Remove a run's checkpoint and all its copies."""


def folder_at(root: Place, terms: Terms) -> Folder:
    """Return the folder object for this kind of location."""
    if isinstance(root, Path):
        from ablations.store.local_folder import LocalFolder  # noqa: PLC0415 -- only one of the two is needed

        return LocalFolder(root)
    from ablations.store.bucket_folder import ObjectFolder  # noqa: PLC0415

    return ObjectFolder(root, terms)
