"""Data archives in common formats; each archive is unpacked once, into a cache folder named by the archive's hash."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import json
import logging
import lzma
import os
import re
import shutil
import stat
import unicodedata
import uuid
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from aimlib.datasets.extraction import BLOCK, Limits, safe_path, twice, unpack
from aimlib.datasets.locations import cache_of
from aimlib.datasets.manifest import file_digest
from aimlib.errors import DataError, counted
from aimlib.paths import make_folder, resolved, share

log = logging.getLogger(__name__)

_COMPRESSED: dict[str, Any] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
SUFFIXES = (".tar", ".zip", *_COMPRESSED)
_MOST_MEMBERS = 20_000_000
_SPARE_BYTES = 1_000_000_000
"""Number of bytes to leave free on the disk; an unpacked archive may fill all other free space."""
_OF_MAC = "__MACOSX"
"""Folder in zip files made on a Mac; none of its files belong to the user's data."""


def is_archive(name: str) -> bool:
    """Return whether a file with this name is an archive that can be unpacked."""
    return name.lower().endswith(SUFFIXES)


def unpacked(archive: Path) -> Path:
    """Return the folder with an archive's content; the archive is unpacked first if necessary.

    The folder's name is the archive's SHA-256, which is computed again if the archive's size or modification time has
    changed. If everything is in one subfolder, that subfolder is returned.

    Raises
    ------
    DataError: the archive is damaged, encrypted or too large for the disk; a member is a link, a device or a duplicate;
        or a member's path leads out of the folder.
    """
    from filelock import FileLock  # noqa: PLC0415 -- needed only for archives

    place = resolved(archive.expanduser())
    cache = cache_of("unpacked")
    record = cache / f".{hashlib.sha256(str(place).encode()).hexdigest()[:20]}.json"
    try:
        if (found := _known(place, record)) is not None:
            return _content(found)
        make_folder(cache)
        with FileLock(record.with_suffix(".lock")):
            folder = _known(place, record) or _unpacked(place, cache, record)
    except OSError as error:
        if error.filename == str(place):
            raise DataError(f"{place}: cannot be read: {error.strerror}; allow reading (`chmod u+r FILE`)") from error
        remedy = "free some space there, or set AIM_CACHE_DIR to another disk"
        if error.errno == errno.ENAMETOOLONG:
            remedy = "shorten the names of its files (most disks allow 255 bytes), and create it again"
        raise DataError(f"{place}: cannot be unpacked into {cache}: {error.strerror or error}; {remedy}") from error
    return _content(folder)


def _known(archive: Path, record: Path) -> Path | None:
    """Return the folder with the unpacked archive; None if the archive has changed or the folder is missing."""
    try:
        known = json.loads(record.read_bytes())
        folder = record.parent / str(known["folder"])
        state = archive.stat()
        is_same = (known["bytes"], known["modified"]) == (state.st_size, state.st_mtime_ns)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return folder if is_same and folder.is_dir() else None


_BEGINNINGS = {
    b"PK\x03\x04": (".zip",),
    b"\x1f\x8b": (".tar.gz", ".tgz"),
    b"BZh": (".tar.bz2", ".tbz2"),
    b"\xfd7zXZ\x00": (".tar.xz", ".txz"),
    b"Rar!": (),
    b"7z\xbc\xaf": (),
    b"<": (),
    b"version https://git-lfs": (),
}
"""First bytes of files, and the suffixes that such files may have."""


def _refuse_misnamed(archive: Path) -> None:
    """Refuse a file whose first bytes do not match its suffix."""
    with archive.open("rb") as file:
        start = file.read(512)
        is_tar = start[257:262] == b"ustar"
    if not start:
        raise DataError(f"{archive}: is empty; fetch it again")
    suffixes = (
        (".tar",) if is_tar else next((kinds for mark, kinds in _BEGINNINGS.items() if start.startswith(mark)), None)
    )
    if suffixes is None or archive.name.lower().endswith(suffixes):
        return
    if suffixes:
        raise DataError(f"{archive}: it has the content of a {suffixes[0]} file; rename it")
    what = {
        b"<": "a web page, probably a server error: fetch it again",
        b"v": "a Git LFS pointer: run `git lfs pull`",
    }
    told = what.get(start[:1], "an archive of an unsupported kind: unpack it yourself and use the folder")
    raise DataError(f"{archive}: is {told}")


def _unpacked(archive: Path, cache: Path, record: Path) -> Path:
    _refuse_misnamed(archive)
    state = archive.stat()
    digest = file_digest(archive)
    stem = archive.name[: -len(next(suffix for suffix in SUFFIXES if archive.name.lower().endswith(suffix)))]
    folder = cache / re.sub(r"[^\w.-]", "_", f"{stem}-{digest[:16]}")
    if not folder.is_dir():
        log.info("unpacking %s into %s", archive, folder)
        temporary = cache / f".unpacking-{uuid.uuid4().hex[:8]}"
        try:
            _unpack(archive, temporary, Limits(_MOST_MEMBERS, shutil.disk_usage(cache).free - _SPARE_BYTES))
            share(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    known = {"archive": str(archive), "bytes": state.st_size, "modified": state.st_mtime_ns, "sha256": digest}
    written = record.with_suffix(f".{os.getpid()}")
    written.write_text(json.dumps({**known, "folder": folder.name}), encoding="utf-8")
    share(written)
    written.replace(record)
    return folder


def _content(folder: Path) -> Path:
    """Return the folder, or its only subfolder if it contains nothing else."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _unpack(archive: Path, folder: Path, limits: Limits) -> None:
    name = archive.name.lower()
    if name.endswith(".zip"):
        _unpack_zip(archive, folder, limits)
        return
    opener = next((opener for suffix, opener in _COMPRESSED.items() if name.endswith(suffix)), None)
    if opener is None:
        unpack(archive, folder, limits)
        return
    expanded = folder.with_suffix(".tar")
    try:
        with opener(archive, "rb") as source, expanded.open("xb") as out:
            _copied(archive, source, out, limits.bytes)
        unpack(expanded, folder, limits)
    except DataError as error:  # `unpack` reports the path of the decompressed file
        raise DataError(str(error).replace(str(expanded), str(archive))) from error
    finally:
        expanded.unlink(missing_ok=True)


def _unpack_zip(archive: Path, folder: Path, limits: Limits) -> None:
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as content:
            members = [each for each in content.infolist() if each.filename.split("/")[0] != _OF_MAC]
            if len(members) > limits.members:
                raise DataError(f"{archive}: more than {limits.members:,} members; this is not the right archive")
            _tell_encoding(archive, members)
            seen: set[str] = set()
            left = limits.bytes
            for member in members:
                left -= _write_member(archive, content, member, folder, seen, left)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{archive}: a damaged or incomplete archive: {error}; fetch it again") from error


def _tell_encoding(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Warn about names whose encoding the archive does not declare, because some letters may be wrong."""
    if guessed := [each.filename for each in members if not each.flag_bits & 0x800 and not each.filename.isascii()]:
        log.warning(
            "%s: %s not marked as UTF-8, read as CP437: %s; if letters are wrong, unpack it yourself and use the "
            "folder",
            archive,
            counted(len(guessed), "name"),
            guessed[0],
        )


def _write_member(
    archive: Path, content: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, seen: set[str], most: int
) -> int:
    """Write one member; return the member's length in bytes."""
    name = member.filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{archive}: {name!r} is not a plain file or folder; create the archive without links")
    if member.flag_bits & 1:
        raise DataError(f"{archive}: {name!r} is encrypted; unpack the archive yourself and use the folder")
    target = folder / safe_path(archive, name)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    key = unicodedata.normalize("NFC", str(target)).casefold()
    if key in seen:
        raise DataError(twice(archive, name))
    seen.add(key)
    with suppress(FileExistsError):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with content.open(member) as source, target.open("xb") as out:
            return _copied(archive, source, out, most)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(
            f"{archive}: {name!r} is in the archive both as a file and as a folder; fetch it again"
        ) from error


def _read(archive: Path, source: IO[bytes]) -> bytes:
    try:
        return source.read(BLOCK)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:  # bz2 and gzip raise OSError
        raise DataError(f"{archive}: a damaged or incomplete archive: {error}; fetch it again") from error


def _copied(archive: Path, source: IO[bytes], out: IO[bytes], most: int) -> int:
    """Copy at most `most` bytes; return how many were copied."""
    done = 0
    while block := _read(archive, source):
        done += len(block)
        if done > most:
            raise DataError(
                f"{archive}: unpacks to more than the disk has room for ({most:,} bytes); free some space, or set "
                f"AIM_CACHE_DIR to a larger disk"
            )
        out.write(block)
    return done
