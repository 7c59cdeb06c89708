"""Operations that the store needs at a study's location; only these differ between kinds of storage."""

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

    Names are relative to the folder and use ``/``. A file appears under its name completely or not at all.
    """

    @property
    def root(self) -> Place:
        """Location of the folder."""

    def prepare(self) -> None:
        """Create the folder if it is missing. StoreError: files cannot be created exclusively in it."""

    def attach(self) -> None:
        """Open the folder for reading only, without creating or writing anything."""

    def refuse_absence(self) -> None:
        """Raise StoreError if a folder that was opened is missing, because its file system is no longer mounted.

        Otherwise, the folder would look like a study without results.
        """

    def create_first(self, names: Iterable[str], write: Write) -> str | None:
        """Create a file exclusively under the first free name; return that name, or None if none is free."""

    def settle(self, name: str, write: Write, kept: Callable[[], bool | None]) -> bool:
        """Create a file exclusively, unless its row is already in a segment; return whether the file's row counts.

        Parameters
        ----------
        kept : returns whether a segment contains the row that `write` writes; None if no segment contains a row for
            this run.
        """

    def settling_ended(self) -> bool:
        """Wait until every `settle` that may not have seen the current segments has ended.

        Return False if this takes too long.
        """

    def replace(self, name: str, write: Write) -> None:
        """Create a file or replace it atomically."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if the file does not exist."""

    def exists(self, name: str) -> bool:
        """Return whether a file exists, with one request."""

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in a folder that match the whole pattern; empty if the folder does not exist."""

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the seconds since each file was written, for the same file names as `names`."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    def clean(self, settled: set[str]) -> list[Place]:
        """Remove files left by killed writers, and return their names; files of running writers are kept."""

    def room(self) -> int | None:
        """Return the number of free bytes; None if the storage has no limit."""

    def lock(self, name: str) -> RunLock | None:
        """Lock a name; return None if it is locked."""

    def holder(self, name: str) -> str | None:
        """Return a description of a lock's holder; None if no process holds the lock."""

    def forget_lock(self, name: str) -> None:
        """Remove the lock of a settled run, unless a process holds the lock."""

    def checkpoint_directory(self, run_id: str, *, create: bool = True) -> Path:
        """Return the local directory for a run's checkpoint, which contains the stored checkpoint if there is one.

        Parameters
        ----------
        create : whether to create the directory if it is missing; saving a checkpoint also creates it.
        """

    def keep_checkpoint(self, run_id: str, lock: RunLock | None) -> None:
        """Store the content of a run's checkpoint directory, so that it survives a failure of this machine."""

    def save_slots(self) -> Path:
        """Return the folder for the locks with which processes take turns saving to this storage."""

    def discard_checkpoint(self, run_id: str) -> None:
        """Remove a run's checkpoint and all its copies."""


def folder_at(root: Place, terms: Terms) -> Folder:
    """Return the folder object for this kind of location."""
    if isinstance(root, Path):
        from ablations.store.local_folder import LocalFolder  # noqa: PLC0415 -- only one of the two is needed

        return LocalFolder(root)
    from ablations.store.bucket_folder import ObjectFolder  # noqa: PLC0415

    return ObjectFolder(root, terms)
