"""Faults planted in the store; the schedules must find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from ablations.store import bucket_folder, leases, local_folder, result_store, segments
from aimlib import object_store
from analysis.reading import files as reading


def _overwriting_bucket() -> AbstractContextManager[Any]:
    """Rows are uploaded without the condition that no row exists."""

    def settle(folder: Any, name: str, write: Any, kept: Callable[[], bool | None]) -> bool:
        return object_store.put(folder.root / name, folder._content(write)) is not None and kept() is not False

    return mock.patch.object(bucket_folder.ObjectFolder, "settle", settle)


def _overwriting_directory() -> AbstractContextManager[Any]:
    """Rows replace an existing file instead of being created exclusively."""

    def settle(folder: Any, name: str, write: Any, kept: Callable[[], bool | None]) -> bool:
        with folder.committing():
            counts = kept() is None
            if counts:
                folder.replace(name, write)
            return counts

    return mock.patch.object(local_folder.LocalFolder, "settle", settle)


def _unchecked_put() -> AbstractContextManager[Any]:
    """An uploaded row counts, even if a compaction has already moved a different row for the same run."""

    def settle(folder: Any, name: str, write: Any, kept: Callable[[], bool | None]) -> bool:
        return object_store.put(folder.root / name, folder._content(write), create=True) is not None

    return mock.patch.object(bucket_folder.ObjectFolder, "settle", settle)


def _unfenced() -> AbstractContextManager[Any]:
    """A commit does not confirm its lock."""
    return mock.patch.object(result_store, "_confirmed")


def _impatient() -> AbstractContextManager[Any]:
    """A lease is taken over once it has not changed for a tenth of its term, even if the storage says it is new."""

    def unchanged_for(found: Any, address: Any, tag: str) -> float:
        return _unchanged_for(found, address, tag) * 10

    _unchanged_for = leases.Leases._unchanged_for

    class Storage:
        def __getattr__(self, name: str) -> Any:
            return self.head if name == "head" else getattr(object_store, name)

        @staticmethod
        def head(address: Any) -> Any:
            found = object_store.head(address)
            return found and object_store.Version(found.tag, 1e6, found.writer)

    both = mock.patch.multiple(leases.Leases, _unchanged_for=unchanged_for)
    return _Both(both, mock.patch.object(leases, "object_store", Storage()))


class _Both(AbstractContextManager[Any]):
    def __init__(self, *parts: AbstractContextManager[Any]) -> None:
        self._parts = parts

    def __enter__(self) -> None:
        for part in self._parts:
            part.__enter__()

    def __exit__(self, *error: Any) -> None:
        for part in reversed(self._parts):
            part.__exit__(*error)


def _hasty_compaction() -> AbstractContextManager[Any]:
    """Run files are removed before the segment with their rows is written."""
    write = segments.SettledRuns._write_segment

    def early(runs: Any, run_ids: list[str], lock: Any) -> None:
        content = {run_id: runs._folder.read(segments._name(run_id)) for run_id in run_ids}
        for run_id in run_ids:
            runs._folder.remove(segments._name(run_id))
        for run_id, found in content.items():
            runs._folder.replace(segments._name(run_id), lambda path, found=found: path.write_bytes(found))
        write(runs, run_ids, lock)

    return mock.patch.object(segments.SettledRuns, "_write_segment", early)


def _segments_first() -> AbstractContextManager[Any]:
    """Readers list the segments before the run files."""

    def ids(runs: Any) -> set[str]:
        moved = runs._in_segments()
        return moved | runs._in_files()

    return mock.patch.object(segments.SettledRuns, "ids", ids)


def _one_listing() -> AbstractContextManager[Any]:
    """Readers do not repeat the listing when a file has vanished."""

    def collect(directory: Any, read: Callable[[Any], Any]) -> list[Any]:
        paths: Iterable[Any] = [*reading.listed(directory / "segments"), *reading.listed(directory / "runs")]
        parts = [reading._or_vanished(read, path) for path in paths]
        return [part for part in parts if part is not None]

    return mock.patch.object(reading, "collect", collect)


BREAKAGES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "overwriting-bucket": _overwriting_bucket,
    "overwriting-directory": _overwriting_directory,
    "unchecked-put": _unchecked_put,
    "unfenced": _unfenced,
    "impatient": _impatient,
    "hasty-compaction": _hasty_compaction,
    "segments-first": _segments_first,
    "one-listing": _one_listing,
}
