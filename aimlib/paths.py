"""Locations of results: a local directory, or an object storage folder given by its URL.

`ObjectPath` has the methods of `pathlib.Path` that readers of results use, so readers need not distinguish the two
kinds of location.

A local folder may be shared with a group (``chgrp GROUP FOLDER; chmod g+rwxs FOLDER``). The group can then write to the
folder, and because of the setgid bit, the kernel assigns new files to the group. `share` and `make_folder` let the
group read and write what this process creates in such a folder, regardless of the umask. In other folders, they do not
change permissions.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from aimlib import object_store
from aimlib.errors import StoreError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_WHOLE = 8 * 2**20
"""Maximum size, in bytes, of an object that is read in one request; of a larger object, only the required ranges are
read."""

_FOR_FILES = stat.S_IRGRP | stat.S_IWGRP
_FOR_FOLDERS = stat.S_IRWXG | stat.S_ISGID
_SHARED = stat.S_IWGRP | stat.S_ISGID


class ObjectPath(object_store.Address):
    """A location in object storage, with the interface of `pathlib.Path`. Its `str` is its URL."""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The end of the name, starting at its last dot."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPath:
        """The folder that contains it."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0], self.scheme)

    def __truediv__(self, name: str) -> ObjectPath:
        parts = name.split("/")
        assert all(map(object_store.is_name, parts)), f"{name!r} is not a name in a folder"
        return ObjectPath(self.bucket, "/".join([self.key, *parts]).lstrip("/"), self.scheme)

    def absolute(self) -> ObjectPath:
        """Return the path itself, because a URL is absolute."""
        return self

    def exists(self) -> bool:
        """Return whether an object exists or, for a folder, whether anything is in it."""
        return bool(self.key and object_store.head(self)) or bool(object_store.listing(self))

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield the entries of the folder; yield nothing if the folder does not exist."""
        for entry in object_store.listing(self):
            yield self / entry.name

    def read_bytes(self) -> bytes:
        """Return the content; raise FileNotFoundError if the object does not exist."""
        return object_store.get(self)[0]

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content as text."""
        return self.read_bytes().decode(encoding)


Place = Path | ObjectPath
"""A directory or file on this machine or in object storage."""


def place(source: str | Place) -> Place:
    """Return the location to which a path or URL refers, without accessing it.

    Raises
    ------
    StoreError: the URL is of an unknown kind, contains credentials, or does not refer to a folder.
    """
    if isinstance(source, ObjectPath):
        return source
    text = str(source)
    if re.match(r"[a-z][a-z0-9+.-]*:/[^/]", text) and not Path(text).exists():
        raise StoreError(
            f"{text}: a URL has two slashes; pass it as a string, because pathlib.Path removes one of them"
        )
    if "://" not in text:
        return Path(source)
    return _from_url(text)


def _from_url(text: str) -> ObjectPath:
    scheme, _, rest = text.partition("://")
    if "@" in rest.partition("/")[0]:
        raise StoreError(
            f"{scheme}://***@{rest.partition('@')[2]}: credentials do not belong in a URL; set them in the "
            f"environment{object_store.variables(scheme)}"
        )
    if re.search(r"[?#]", rest):
        raise StoreError(
            f"{re.split('[?#]', text)[0]}...: a study's URL must not contain '?' or '#'; use {object_store.FOLDERS}"
        )
    if scheme not in object_store.SCHEMES:
        raise StoreError(
            f"{text}: results are stored in a directory or at {object_store.FOLDERS}, but not at a {scheme}:// URL"
        )
    parts = urlsplit(text)
    key, example = parts.path.strip("/"), f"{scheme}://bucket/folder"
    if not _BUCKET.fullmatch(parts.netloc):
        raise StoreError(f"{text}: {parts.netloc!r} is not the name of a bucket; use {example}")
    if key and not all(map(object_store.is_name, key.split("/"))):
        raise StoreError(f"{text}: contains an empty part, '.' or '..'; use {example}")
    return ObjectPath(parts.netloc, key, scheme)


def is_remote(source: str | Place) -> bool:
    """Return whether a path or URL refers to a location in object storage."""
    return isinstance(place(source), ObjectPath)


def read_file(path: Place, most: int = 2**30) -> bytes:
    """Return the content of a regular file or an object.

    Other kinds of file are refused, because reading a pipe could block forever, and a device may have no end.

    Raises
    ------
    FileNotFoundError: the file does not exist.
    OSError: the path is not a regular file, is a broken link, is larger than `most` bytes, or cannot be read.
    """
    if not isinstance(path, Path):
        return path.read_bytes()
    with _link_to_nothing_refused(path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # otherwise, opening a pipe would block
    try:
        _refuse_special(os.fstat(handle))
        file = os.fdopen(handle, "rb")
    except OSError:
        os.close(handle)
        raise
    with file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes, the limit")
    return content


def _refuse_special(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file")


@contextmanager
def _link_to_nothing_refused(path: Path) -> Iterator[None]:
    """Convert FileNotFoundError to another OSError if the path exists as a broken link."""
    try:
        yield
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link to a file that does not exist") from None
        raise


def obstruction(path: Place) -> str:
    """Describe what is at a path in place of a file; empty for a regular file, an object, or a missing file."""
    if not isinstance(path, Path):
        return ""
    try:
        with _link_to_nothing_refused(path):
            _refuse_special(path.stat())
    except OSError as error:
        return (error.strerror or str(error)) if error.errno in _IN_THE_WAY else ""
    return ""


def advice_on(error: BaseException, if_damaged: str = "") -> str:
    """Return what to do about a stored file that cannot be read.

    Parameters
    ----------
    if_damaged : what to do if the file's content is damaged, or something other than a file is in its place. If
        permissions are missing or the disk fails, the remedy is different: the file may be intact and must not be
        deleted.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in _ADVICE:
        return _ADVICE[number]
    if number in _IN_THE_WAY:
        return if_damaged or "move what is in its place elsewhere, and restore the file from a copy"
    return if_damaged or "check the disk, and run again"


_PERMISSION = "get permission to read it, or ask its owner to do this; the file may be intact"
_ADVICE = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EIO: "check the disk, and try again",
    errno.ESTALE: "check the network file system, and try again",
}
_IN_THE_WAY = frozenset({errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENOTDIR})


def resolved(path: Path) -> Path:
    """Return a path with links resolved, like `Path.resolve`; return a link to itself unchanged instead of raising."""
    return Path(os.path.realpath(path))


def for_arrow(path: Place) -> Any:
    """Return a source from which pyarrow can read the file: a local path, or an open file.

    Raises
    ------
    FileNotFoundError: the object does not exist.
    OSError: the path is not a regular file, or is a broken link.
    """
    if isinstance(path, Path):
        with _link_to_nothing_refused(path):
            _refuse_special(path.stat())
        return path
    content, complete = object_store.get_start(path, _WHOLE)
    if complete:
        file: IO[bytes] = io.BytesIO(content)
        return file
    return object_store.opened(path)


def share(path: Path) -> None:
    """Let the group read and write a file or folder that this process created, if its parent folder is shared."""
    if not _is_shared(path.parent):
        return
    with suppress(PermissionError, FileNotFoundError):  # another user owns and shares the file, or it has been removed
        mode = path.stat().st_mode
        wanted = mode | (_FOR_FOLDERS if stat.S_ISDIR(mode) else _FOR_FILES)
        if wanted != mode:
            path.chmod(stat.S_IMODE(wanted))


def share_opened(handle: int, path: Path) -> None:
    """Let the group read and write an open file, as `share` does."""
    if not _is_shared(path.parent):
        return
    mode = os.fstat(handle).st_mode
    if mode | _FOR_FILES != mode:
        with suppress(PermissionError):
            os.fchmod(handle, stat.S_IMODE(mode | _FOR_FILES))


def replace_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, replacing an existing file atomically; the file is shared like its folder.

    Raises
    ------
    OSError: the file cannot be written; the attempt does not leave anything behind.
    """
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        share(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # on a read-only file system, even removing a missing file fails
            temporary.unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, each shared like its parent."""
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        with suppress(FileExistsError):  # another process created it meanwhile
            missing.mkdir()
            share(missing)
    path.mkdir(exist_ok=True)  # raises an error if a file has the folder's name


def _is_shared(folder: Path) -> bool:
    return folder.stat().st_mode & _SHARED == _SHARED
