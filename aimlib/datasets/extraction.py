"""Safe unpacking of untrusted tar archives: only plain files and folders, only below one folder, and each only once."""

from __future__ import annotations

import shutil
import tarfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aimlib.errors import DataError

BLOCK = 1 << 20
END = bytes(1024)
"""A tar archive ends with two blocks of zeros; an archive without them is truncated."""


@dataclass(frozen=True)
class Limits:
    """The maximum number of members, and the maximum total size in bytes, of an archive."""

    members: int = 200_000
    bytes: int = 8_000_000_000


def unpack(
    archive: Path,
    folder: Path,
    limits: Limits,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Unpack `archive` into the new folder `folder`, which is removed again on any error.

    Parameters
    ----------
    archive : uncompressed tar.
    folder : must not exist.
    limits : larger archives are refused.
    progress : called as progress("unpacking <name>", bytes done, total bytes).

    Raises
    ------
    DataError: the archive is damaged, truncated or too large; or a member is a link, a device, a pipe or a duplicate,
        or has a path outside the folder.
    """
    folder.mkdir(parents=True)
    try:
        _unpack(archive, folder, limits, progress)
    except (tarfile.TarError, EOFError, ValueError) as error:
        shutil.rmtree(folder)
        if isinstance(error, DataError):
            raise
        raise DataError(f"{archive}: a damaged or incomplete archive: {error}; fetch it again") from error
    except BaseException:
        shutil.rmtree(folder)
        raise


def _unpack(archive: Path, folder: Path, limits: Limits, progress: Callable[[str, int, int], None] | None) -> None:
    size = archive.stat().st_size
    seen: set[str] = set()
    content = members = 0
    with tarfile.open(archive, "r:", errorlevel=2) as tar:
        for member in tar:
            members, content = members + 1, content + member.size
            if members > limits.members or content > limits.bytes:
                raise DataError(
                    f"{archive}: more than {limits.members:,} members or {limits.bytes:,} bytes; this is not the "
                    f"expected archive; fetch it again"
                )
            path = _checked(archive, folder, member)
            if path.parts:
                _place(archive, tar, member, folder / path, seen)
            if progress is not None:
                progress(f"unpacking {archive.name}", min(tar.offset, size), size)
        _check_end(archive, tar.offset)


def _check_end(archive: Path, offset: int) -> None:
    """Refuse an archive without an end mark at `offset`, where tarfile stopped reading without an error."""
    with archive.open("rb") as file:
        file.seek(offset)
        if file.read(len(END)) != END:
            raise tarfile.ReadError(f"truncated, or no valid header, at byte {offset:,}")


def safe_path(archive: Path, name: str) -> PurePosixPath:
    """Return a member's path; refuse a path that leads out of the folder.

    Raises
    ------
    DataError: the path leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        remedy = "create it again with relative paths whose parts are separated by /, or unpack it and use the folder"
        raise DataError(f"{archive}: {name!r} leads out of the folder; fetch it again, or, if it is your own, {remedy}")
    return path


def _checked(archive: Path, folder: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return the member's path below the folder; refuse a member that must not be unpacked."""
    if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
        kind = "a link" if member.issym() or member.islnk() else f"type {member.type!r}"
        raise DataError(
            f"{archive}: {member.name!r} is not a plain file or folder ({kind}); fetch it again, or, if it is your "
            f"own, create it again with files in place of links (`tar --dereference --hard-dereference`)"
        )
    path = safe_path(archive, member.name)
    data_filter = getattr(tarfile, "data_filter", None)  # an additional check, if this Python has it
    if data_filter is not None:
        data_filter(member, str(folder))
    return path


def twice(archive: Path, name: str) -> str:
    """Return the message about a name that is in an archive twice; names that differ only in case count as equal."""
    return (
        f"{archive}: {name!r} is in the archive twice, perhaps with names that differ only in case, which some "
        f"disks cannot distinguish; fetch it again, or, if it is your own, create it again with every file only once"
    )


def _place(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, seen: set[str]) -> None:
    """Write one member. Files are created exclusively, so existing files cannot be overwritten."""
    key = unicodedata.normalize("NFC", str(target)).casefold()
    if key in seen:
        raise DataError(twice(archive, member.name))
    try:
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            seen.add(key)
            _write(tar, member, target)
    except (FileExistsError, NotADirectoryError) as error:
        raise tarfile.ReadError(f"{member.name!r} is in the archive both as a file and as a folder") from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None, "regular files have content"
    with source, target.open("xb") as out:
        shutil.copyfileobj(source, out, BLOCK)
        if out.tell() != member.size:
            raise tarfile.ReadError(f"{member.name!r} ends after {out.tell():,} of {member.size:,} bytes")
