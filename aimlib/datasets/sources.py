"""Data that is not a folder on this machine: an archive, or a folder or archive in object storage.

The data is copied once into the cache (`aimlib.datasets.locations.cache_of`, ``unpacked`` and ``fetched``) and used
from there. Every process that lists the data compares its copy with the object storage once, by the size and time of
each object; new and changed objects are fetched. Processes that know the data's fingerprint do not query the storage.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aimlib import object_store
from aimlib.datasets.archives import is_archive, unpacked
from aimlib.datasets.locations import cache_of
from aimlib.errors import DataError
from aimlib.object_store import Entry
from aimlib.paths import ObjectPath, make_folder, place, share

log = logging.getLogger(__name__)

_STATE = ".objects.json"
"""File next to the copies: the size and time of every fetched object, by its path."""
_THREADS = 8
_BETWEEN_STATES = 500
"""Number of objects after which the state is written, so that an interrupted copy can be continued."""
_BLOCK = 2**20

_compared: set[str] = set()
"""URLs of the data that this process has compared with the object storage."""


def is_source(root: str) -> bool:
    """Return whether a root is an archive or a URL instead of a folder."""
    return "://" in root or (is_archive(root) and Path(root).expanduser().is_file())


def local_copy(root: str, *, compare: bool = True) -> Path:
    """Return the folder on this machine with the content of an archive or a URL.

    Parameters
    ----------
    compare : whether to query object storage for changes and fetch what is missing. If False, the folder for the copy
        is returned even if it is empty; an archive is still fetched if it is missing.

    Raises
    ------
    DataError: there is nothing at the address, or the copy cannot be written.
    StoreError: the storage reports an error, or the URL is invalid.
    """
    if "://" not in root:
        return unpacked(Path(root))
    if root.partition("://")[0] in ("http", "https", "ftp", "file", "hf"):
        raise DataError(
            f"{root}: data.root must be a folder or an archive on this machine, or start with s3://, gs:// or "
            f"az://; fetch the data, and set data.root to its folder"
        )
    address = place(root)
    assert isinstance(address, ObjectPath), "it is a URL"
    folder = cache_of("fetched") / _name_of(address)
    is_one_file = is_archive(address.name)
    if str(address) not in _compared and (compare or (is_one_file and not (folder / address.name).is_file())):
        _fetch(address, folder, is_one_file=is_one_file)
        _compared.add(str(address))
    return unpacked(folder / address.name) if is_one_file else folder


def _name_of(address: ObjectPath) -> str:
    digest = hashlib.sha256(str(address).encode()).hexdigest()[:12]
    return re.sub(r"[^\w.-]", "_", f"{address.bucket}-{address.name}-{digest}")


def _fetch(address: ObjectPath, folder: Path, *, is_one_file: bool) -> None:
    """Copy what is at the address into the folder; remove and replace what is out of date."""
    from filelock import FileLock  # noqa: PLC0415 -- needed only for object storage

    listed = dict(_entry(address) if is_one_file else _entries(address))
    if not listed:
        raise DataError(f"{address}: nothing found there; set data.root to the URL of the folder with the data")
    origin = address.parent if is_one_file else address
    try:
        make_folder(folder.parent)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            _update(origin, folder, listed)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot store a copy of {address} there: {error.strerror or error}; free some space, or set "
            f"AIM_CACHE_DIR to another disk"
        ) from error


def _entry(address: ObjectPath) -> Iterator[tuple[str, Entry]]:
    """Yield the object at an address."""
    for entry in object_store.listing(address.parent):
        if entry.name == address.name and not entry.folder:
            yield entry.name, entry


def _entries(address: ObjectPath) -> Iterator[tuple[str, Entry]]:
    """Yield every object below an address with its path, folder by folder."""
    folders = [""]
    with ThreadPoolExecutor(_THREADS) as threads:
        while folders:
            places = [address / folder if folder else address for folder in folders]
            below: list[str] = []
            for folder, entries in zip(folders, threads.map(object_store.listing, places), strict=True):
                for entry in entries:
                    path = f"{folder}/{entry.name}".lstrip("/")
                    if entry.folder:
                        below.append(path)
                    else:
                        yield path, entry
            folders = below


def _update(origin: ObjectPath, folder: Path, listed: dict[str, Entry]) -> None:
    make_folder(folder)
    known = _state(folder)
    wanted = {path: [entry.size, entry.written] for path, entry in listed.items()}
    for path in known.keys() - wanted.keys():
        (folder / path).unlink(missing_ok=True)
    kept = {path: state for path, state in known.items() if wanted.get(path) == state and _has(folder / path, state)}
    missing = sorted(wanted.keys() - kept.keys())
    if not missing:
        _write_state(folder, kept)
        return
    _check_space(folder, sum(listed[path].size for path in missing))
    log.info("fetching %d of %d objects from %s into %s", len(missing), len(listed), origin, folder)
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(missing), _BETWEEN_STATES):
            part = missing[start : start + _BETWEEN_STATES]
            for path in threads.map(lambda path: _bring(origin, folder, path, listed[path]), part):
                kept[path] = wanted[path]
            _write_state(folder, kept)


def _has(path: Path, state: list[float]) -> bool:
    try:
        return path.stat().st_size == state[0]
    except OSError:
        return False


def _bring(origin: ObjectPath, folder: Path, path: str, entry: Entry) -> str:
    """Copy one object; return its path."""
    target = folder / path
    make_folder(target.parent)
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as out:
            if entry.size > 8 * _BLOCK:
                with object_store.opened(origin / path) as source:
                    shutil.copyfileobj(source, out, _BLOCK)
            else:
                out.write((origin / path).read_bytes())
        length = temporary.stat().st_size
        if length != entry.size:
            raise DataError(
                f"{origin / path}: {length:,} bytes were received instead of {entry.size:,}; it changed in the "
                f"meantime, or the connection was lost: try again"
            )
        share(temporary)
        temporary.replace(target)
    except FileNotFoundError as error:
        raise DataError(f"{origin / path}: was removed while the data was being fetched; try again") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _state(folder: Path) -> dict[str, list[float]]:
    try:
        content = json.loads((folder / _STATE).read_bytes())
        return {str(path): [int(size), float(written)] for path, (size, written) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_state(folder: Path, state: dict[str, list[float]]) -> None:
    temporary = folder / f"{_STATE}.{os.getpid()}"
    temporary.write_text(json.dumps(state), encoding="utf-8")
    share(temporary)
    temporary.replace(folder / _STATE)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {free / 1e9:.1f} GB free, but the data to fetch takes up {needed / 1e9:.1f} GB; free some "
            f"space, "
            f"or set AIM_CACHE_DIR to a larger disk"
        )
