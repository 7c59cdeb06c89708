"""Where results are: a directory of this machine, or a folder in object storage by its URL.

`ObjectPath` has those methods of `pathlib.Path` that reading results takes, so that readers need not ask which of the
two they were given.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from aimlib import object_store
from aimlib.errors import StoreError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_WHOLE = 8 * 2**20
"""Bytes up to which an object is read at once; a larger one by the ranges that are asked for."""


class ObjectPath(object_store.Address):
    """A place in object storage, in the manner of `pathlib.Path`. `str` is its URL."""

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """End of the name from its last dot."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """Name without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPath:
        """The folder it is in."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    def __truediv__(self, name: str) -> ObjectPath:
        parts = name.split("/")
        assert all(map(object_store.is_name, parts)), f"{name!r} is no name in a folder"
        return ObjectPath(self.bucket, "/".join([self.key, *parts]).lstrip("/"))

    def absolute(self) -> ObjectPath:
        """Return the place itself: a URL is absolute."""
        return self

    def exists(self) -> bool:
        """Tell whether an object is there; of a folder: whether anything is in it."""
        return bool(self.key and object_store.head(self)) or bool(object_store.listing(self))

    def iterdir(self) -> Iterator[ObjectPath]:
        """Yield what is in the folder; nothing where there is no such folder."""
        for entry in object_store.listing(self):
            yield self / entry.name

    def read_bytes(self) -> bytes:
        """Return the content; FileNotFoundError where there is no such object."""
        return object_store.get(self)[0]

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content as text."""
        return self.read_bytes().decode(encoding)


Place = Path | ObjectPath
"""A directory or file of this machine, or of object storage."""


def place(source: str | Place) -> Place:
    """Return the place that a path or URL names; nothing is looked at there.

    Raises
    ------
    StoreError: the URL is of an unknown kind, holds credentials, or is none of a folder.
    """
    if isinstance(source, ObjectPath):
        return source
    text = str(source)
    if re.match(r"[a-z][a-z0-9+.-]*:/[^/]", text) and not Path(text).exists():
        raise StoreError(f"{text}: a URL has two slashes; give it as a text, pathlib.Path takes one of them away")
    if "://" not in text:
        return Path(source)
    return _from_url(text)


def _from_url(text: str) -> ObjectPath:
    scheme, _, rest = text.partition("://")
    if "@" in rest.partition("/")[0]:
        raise StoreError(
            f"{scheme}://***@{rest.partition('@')[2]}: credentials do not belong into a URL; give them in the "
            f"environment: AWS_PROFILE, AWS_ACCESS_KEY_ID and its like"
        )
    if re.search(r"[?#]", rest):
        raise StoreError(
            f"{re.split('[?#]', text)[0]}...: a study's URL has neither '?' nor '#'; give s3://bucket/folder"
        )
    if scheme != "s3":
        raise StoreError(f"{text}: results are kept in a directory or at s3://bucket/folder; {scheme}:// is neither")
    parts = urlsplit(text)
    key = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc):
        raise StoreError(f"{text}: {parts.netloc!r} is no name of a bucket; give s3://bucket/folder")
    if key and not all(map(object_store.is_name, key.split("/"))):
        raise StoreError(f"{text}: has an empty part, '.' or '..' in it; give s3://bucket/folder")
    return ObjectPath(parts.netloc, key)


def is_remote(source: str | Place) -> bool:
    """Tell whether a path or URL names a place in object storage."""
    return isinstance(place(source), ObjectPath)


def for_arrow(path: Place) -> Any:
    """Return what pyarrow reads a file from: a path of this machine, or a file that is open.

    Raises
    ------
    FileNotFoundError: there is no such object.
    """
    if isinstance(path, Path):
        return path
    content, complete = object_store.get_start(path, _WHOLE)
    if complete:
        file: IO[bytes] = io.BytesIO(content)
        return file
    return object_store.opened(path)
