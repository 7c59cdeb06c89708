"""A study's folder on a POSIX file system: a disk of this machine, or NFS."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from ablations.store import files
from ablations.store.files import Write


class LocalFolder:
    """See `ablations.store.folders.Folder`.

    Parameters
    ----------
    root : the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)

    def create(self, name: str, write: Write) -> bool:
        """Create a file exclusively; False where it exists."""
        return files.create(self.root / name, write)

    def replace(self, name: str, write: Write) -> None:
        """Create or replace a file in one step."""
        files.replace(self.root / name, write)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None."""
        path = self.root / name
        with files.explained(path, "read"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        """Tell whether a file exists."""
        return (self.root / name).exists()

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the matching names in a folder."""
        return files.names(self.root / folder, pattern)

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the seconds since each matching file was written."""
        found = {}
        for name in self.names(folder, pattern):
            with suppress(FileNotFoundError):  # removed meanwhile
                found[name] = time.time() - (self.root / folder / name).stat().st_mtime
        return found

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        files.remove(self.root / name)

    def room(self) -> int | None:
        """Return the free bytes of the disk."""
        with files.explained(self.root, "examined"):
            return shutil.disk_usage(self.root).free
