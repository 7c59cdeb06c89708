"""A study's folder in object storage. See `ablations.store.folder.Folder`.

The layout is the same as in a directory, so a copy made with any tool can be read as a directory. A put is atomic and,
if requested, exclusive, and every later request sees it. AWS S3, MinIO, SeaweedFS, Google Cloud Storage and Azure Blob
Storage guarantee this. ``leases/<name>`` corresponds to ``locks`` in a directory.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ablations.store import files
from ablations.store.checkpoints import RemoteCheckpoints
from ablations.store.files import Write
from ablations.store.leases import Leases, Terms
from ablations.store.run_locks import RunLock
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.paths import ObjectPath, Place

LEASES = "leases"
_FORGOTTEN_AFTER = 24 * 3600.0
"""Seconds after which the lease of a settled run is removed."""
_LEASE = re.compile(r"[0-9a-f]{20}")


class ObjectFolder:
    """A folder in a bucket.

    Parameters
    ----------
    root : location of the folder.
    terms : terms of the leases.
    """

    def __init__(self, root: ObjectPath, terms: Terms) -> None:
        self.root = root
        self._terms = terms
        self._leases = Leases(terms)
        self._checkpoints = RemoteCheckpoints(root)

    def __reduce__(self) -> tuple[Any, ...]:
        return (ObjectFolder, (self.root, self._terms))  # observation times refer to this machine's clock

    def prepare(self) -> None:
        """Raise an error if the server ignores the conditions of a put; such a server would overwrite results."""
        probe = self.root / f"probe-{uuid.uuid4().hex}"
        try:
            first = object_store.put(probe, b"1", create=True)
            again = object_store.put(probe, b"2", create=True)
            astray = object_store.put(probe, b"3", match='"00000000000000000000000000000000"')
            renewed = object_store.put(probe, b"4", match=first) if first else None
        finally:
            object_store.delete(probe)
        if first is None or renewed is None or again is not None or astray is not None:
            raise StoreError(
                f"{self.root}: the server does not honor conditional writes (If-None-Match, If-Match), so two workers "
                f"could overwrite each other's results; use a service that does (AWS S3, MinIO, SeaweedFS, "
                f"Google Cloud Storage, Azure Blob Storage), or a directory"
            )

    def attach(self) -> None:
        """Do nothing, because reading needs no preparation."""

    def refuse_absence(self) -> None:
        """Do nothing, because every request to a missing bucket fails."""

    def create_first(self, names: Iterable[str], write: Write) -> str | None:
        """Put an object if none exists."""
        content = self._content(write)
        return next((name for name in names if object_store.put(self.root / name, content, create=True)), None)

    def settle(self, name: str, write: Write, kept: Callable[[], bool | None]) -> bool:
        """Put the object, then check whether a compaction has already moved this run.

        A segment exists before the run objects that it contains are removed. If a put succeeded although the run was
        settled, because a compaction had just removed the run's object, the segment is visible now. In this case, the
        row in the segment counts, and the next compaction removes the new object, unless the segment contains the same
        row.
        """
        return object_store.put(self.root / name, self._content(write), create=True) is not None and kept() is not False

    def settling_ended(self) -> bool:
        """Do not wait, because `settle` checks again afterwards."""
        return True

    def replace(self, name: str, write: Write) -> None:
        """Put an object."""
        object_store.put(self.root / name, self._content(write))

    def read(self, name: str) -> bytes | None:
        """Get an object."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        """Return whether an object exists, using a HEAD request."""
        return object_store.head(self.root / name) is not None

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the matching names in a folder, using one request per thousand names."""
        return [entry.name for entry in object_store.listing(self.root / folder) if pattern.fullmatch(entry.name)]

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the seconds since each matching object was written, by the storage's clock."""
        return {
            entry.name: entry.age for entry in object_store.listing(self.root / folder) if pattern.fullmatch(entry.name)
        }

    def remove(self, name: str) -> None:
        """Delete an object."""
        object_store.delete(self.root / name)

    def clean(self, settled: set[str]) -> list[Place]:
        """Remove old leases of settled runs; an interrupted put does not leave a visible object."""
        self._checkpoints.clean()
        for run_id, age in self.ages(LEASES, _LEASE).items():
            if age > _FORGOTTEN_AFTER and run_id in settled:
                self.remove(f"{LEASES}/{run_id}")
        return []

    def room(self) -> int | None:
        """Return None, because a bucket has no size limit."""
        return None

    def lock(self, name: str) -> RunLock | None:
        """Lock a name with a lease; the previous holder's checkpoint replaces the local copy."""
        lease = self._leases.acquire(name, self.root / LEASES / name)
        if lease is not None:
            try:
                self._checkpoints.refresh(name)
            except BaseException:
                lease.release()
                raise
        return lease

    def holder(self, name: str) -> str | None:
        """Return the text that the lease's holder wrote."""
        return self._leases.holder(self.root / LEASES / name)

    def forget_lock(self, name: str) -> None:
        """Do nothing, because `clean` removes old leases."""

    def checkpoint_directory(self, run_id: str, *, create: bool = True) -> Path:
        """Return a local directory into which the stored checkpoint has been downloaded."""
        return self._checkpoints.directory(run_id)

    def keep_checkpoint(self, run_id: str, lock: RunLock | None) -> None:
        """Upload the checkpoint."""
        self._checkpoints.keep(run_id, lock)

    def save_slots(self) -> Path:
        """Return a local folder, because uploads are limited by this machine's connection to the storage."""
        return self._checkpoints.save_slots()

    def discard_checkpoint(self, run_id: str) -> None:
        """Delete the checkpoint locally and in the bucket."""
        self._checkpoints.discard(run_id)

    def _content(self, write: Write) -> bytes:
        """Return the bytes that `write` writes, using a file in the temporary folder."""
        with tempfile.TemporaryDirectory(prefix="aim-ablations-") as folder:
            path = Path(folder) / "content"
            with files.explained(path):
                write(path)
                return path.read_bytes()
