"""Checkpoints of runs whose study is in object storage: training writes local files, which are uploaded as a whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path

from ablations.store import files
from ablations.store.run_locks import RunLock
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.paths import ObjectPath
from aimlib.records import CHECKPOINTS

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ATTEMPTS = 5


class RemoteCheckpoints:
    """One checkpoint file for each run, at ``checkpoints/<run_id>/<name>``, with a copy on this machine.

    Every store has its own directories, in the user's part of the temporary folder, because a process that was
    considered dead must not share files with its successor. The directories are removed when the run is discarded or
    the store is closed. If the process was killed, the next store for this study on the same machine removes them. A
    checkpoint replaces exactly the version that this store last fetched or wrote. If another process has written a
    different version, the lock is confirmed first.

    Parameters
    ----------
    root : the study's folder.
    """

    def __init__(self, root: ObjectPath) -> None:
        self._root = root / CHECKPOINTS
        self._here = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        self._directories: dict[str, Path] = {}
        self._tags: dict[str, str | None] = {}

    def directory(self, run_id: str) -> Path:
        """Return the local directory of the stored checkpoint; until it is discarded, the directory stays the same."""
        if run_id not in self._directories:
            self.clean()
            path = self._cache() / f"{run_id}.{files.host_name()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
            with files.explained(path, "created"):
                path.mkdir(parents=True, mode=0o700)
            weakref.finalize(self, _remove, path, os.getpid())
            try:
                self._fetch(run_id, path)
            except StoreError:
                shutil.rmtree(path, ignore_errors=True)
                raise
            self._directories[run_id] = (
                path  # set only now, so that after an error the next call fetches the checkpoint
            )
        return self._directories[run_id]

    def refresh(self, run_id: str) -> None:
        """Remove the local copy if another process has written or discarded the checkpoint since it was copied.

        Call this after locking the run, because the previous holder of the lock may have progressed further than this
        process.
        """
        if (path := self._directories.get(run_id)) is None:
            return
        names = [entry.name for entry in object_store.listing(self._root / run_id) if not entry.folder]
        there = object_store.head(self._root / run_id / names[0]) if names else None
        if (there.tag if there is not None else None) != self._tags.get(run_id):
            _remove(path, os.getpid())
            del self._directories[run_id]
            self._tags.pop(run_id, None)

    def _fetch(self, run_id: str, path: Path) -> None:
        for entry in object_store.listing(self._root / run_id):
            if entry.folder or not _NAME.fullmatch(entry.name):
                continue
            try:
                content, self._tags[run_id] = object_store.get(self._root / run_id / entry.name)
            except FileNotFoundError:  # discarded in the meantime
                continue
            with files.explained(path / entry.name):
                (path / entry.name).write_bytes(content)

    def keep(self, run_id: str, lock: RunLock | None) -> None:
        """Upload the checkpoint; do nothing if there is none yet.

        Raises
        ------
        Fenced: the lock was lost; the successor's checkpoint is kept.
        """
        written = sorted(path for path in self.directory(run_id).iterdir() if _NAME.fullmatch(path.name))
        if not written:
            return
        if len(written) > 1:
            raise StoreError(
                f"{self.directory(run_id)}: contains {len(written)} files, but a checkpoint is a single file"
            )
        address = self._root / run_id / written[0].name
        with files.explained(written[0], "read"):
            content = written[0].read_bytes()
        if lock is None:
            self._tags[run_id] = object_store.put(address, content)
            return
        for _ in range(_ATTEMPTS):
            known = self._tags.get(run_id)
            tag = object_store.put(address, content, create=known is None, match=known)
            if tag is not None:
                self._tags[run_id] = tag
                return
            lock.confirm()  # either the other writer had lost its lock, or this process has
            there = object_store.head(address)
            self._tags[run_id] = there.tag if there is not None else None
        raise StoreError(
            f"{address}: is repeatedly written by other processes; end the other processes that are computing this run"
        )

    def discard(self, run_id: str) -> None:
        """Remove the checkpoint and its local copy."""
        for entry in object_store.listing(self._root / run_id):
            if not entry.folder:
                object_store.delete(self._root / run_id / entry.name)
        self._tags.pop(run_id, None)
        if path := self._directories.pop(run_id, None):
            _remove(path, os.getpid())

    def save_slots(self) -> Path:
        """Return a folder next to the copies, for the locks that limit the number of simultaneous local saves."""
        copies = self._cache()
        return copies.with_name(f"{copies.name}-saves")

    def clean(self) -> None:
        """Remove the copies left by processes on this machine that have ended."""
        for name in files.names(self._cache(), re.compile(r"[0-9a-f]{20}\.[\w-]+\.\d+\.[0-9a-f]{12}")):
            _, host, process, _ = name.split(".")
            if host == files.host_name() and not files.is_alive(int(process)):
                shutil.rmtree(self._cache() / name, ignore_errors=True)

    def _cache(self) -> Path:
        """Return this study's folder, inside a folder that only this user can access."""
        own = files.private_folder(Path(tempfile.gettempdir()) / f"aim-checkpoints-{os.getuid()}")
        with files.explained(own, "created"):
            (own / self._here).mkdir(mode=0o700, exist_ok=True)
        return own / self._here


def _remove(path: Path, process: int) -> None:
    """Remove a directory, and the study's folder if it is then empty; do nothing in a forked child."""
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.parent.rmdir()
