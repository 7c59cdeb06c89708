"""What the store needs of the place where a study is kept: the only thing that differs between kinds of storage."""

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
    """A study's folder. Names are relative to it, with ``/``; a file appears under its name complete or not at all."""

    @property
    def root(self) -> Place:
        """Where it is."""

    def prepare(self) -> None:
        """Create the folder where it is missing; StoreError where files cannot be created exclusively in it."""

    def create_first(self, names: Iterable[str], write: Write) -> str | None:
        """Create a file exclusively under the first of the names that is free; return it, or None where none is."""

    def settle(self, name: str, write: Write, kept: Callable[[], bool | None]) -> bool:
        """Create a file exclusively, unless its row is in a segment already; return whether it is the row that counts.

        Parameters
        ----------
        kept : tells whether a segment holds the row that `write` writes; None: none holds a row of this run.
        """

    def settling_ended(self) -> bool:
        """Wait until every `settle` that may not have seen the segments of this moment has ended; False: it has not."""

    def replace(self, name: str, write: Write) -> None:
        """Create a file or replace it in one step."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where it does not exist."""

    def exists(self, name: str) -> bool:
        """Tell whether a file exists; one request."""

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in a folder that match as a whole; none where it does not exist."""

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the same names with the seconds since each was written."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def clean(self, settled: set[str]) -> list[Place]:
        """Remove what killed writers left, and return it; files of living ones stay."""

    def room(self) -> int | None:
        """Return the free bytes; None where the storage knows no limit."""

    def lock(self, name: str) -> RunLock | None:
        """Lock a name; None while it is locked."""

    def holder(self, name: str) -> str | None:
        """Return who holds the lock of a name, for people; None where nobody does."""

    def checkpoint_directory(self, run_id: str) -> Path:
        """Return the directory of this machine for a run's checkpoint; what was kept of it is in there."""

    def keep_checkpoint(self, run_id: str, lock: RunLock | None) -> None:
        """Keep what is in the checkpoint directory of a run, so that it outlives this machine."""

    def save_slots(self) -> Path:
        """Return the folder of the locks by which those who save to this storage take turns."""

    def discard_checkpoint(self, run_id: str) -> None:
        """Remove a run's checkpoint wherever it is."""


def folder_at(root: Place, terms: Terms) -> Folder:
    """Return the folder of the kind that the place is."""
    if isinstance(root, Path):
        from ablations.store.local_folder import LocalFolder  # noqa: PLC0415 -- one of two

        return LocalFolder(root)
    from ablations.store.bucket_folder import ObjectFolder  # noqa: PLC0415

    return ObjectFolder(root, terms)
