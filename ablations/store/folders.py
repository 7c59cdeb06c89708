"""What the store needs of the place where a study is kept, whatever kind of storage that is."""

from __future__ import annotations

import re
from typing import Protocol

from ablations.store.files import Write


class Folder(Protocol):
    """A study's folder. Names are relative to it, with ``/``; a file appears under its name complete or not at all.

    Attributes
    ----------
    location : absolute path or URL, for messages and for workers.
    """

    location: str

    def create(self, name: str, write: Write) -> bool:
        """Create a file exclusively; return False, and change nothing, where it exists already."""

    def replace(self, name: str, write: Write) -> None:
        """Create a file or replace it in one step."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where it does not exist."""

    def exists(self, name: str) -> bool:
        """Tell whether a file exists; one request."""

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the names of files in a folder that match as a whole; none where it does not exist."""

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the same names with the seconds since each was written."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def room(self) -> int | None:
        """Return the free bytes; None where the storage knows no limit."""
