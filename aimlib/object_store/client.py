"""The requests that every object storage client must support, and code that the clients share."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO, Any, Protocol

BLOCK = 2**20
"""Number of bytes per request if an object is read in ranges."""
CONNECT_S, READ_S = 10, 30
"""Timeouts of a request, in seconds."""
CONNECTIONS = 32


class Client(Protocol):
    """A client for five requests of the S3 API, with responses in S3's format.

    The requests are ``get_object`` (with ``Range``), ``head_object``, ``list_objects_v2`` (with ``Prefix``,
    ``Delimiter``, ``MaxKeys`` and ``ContinuationToken``), ``put_object`` (with ``Body``, ``Metadata``, and
    ``IfNoneMatch`` or ``IfMatch``) and ``delete_object``, which succeeds if no object exists. ``Body`` is bytes, in
    requests and in responses. ``ResponseMetadata`` contains the header ``date``.

    A refused request raises an exception with an attribute ``response``, like `RequestError`; if a condition is not
    met, the HTTP status is 412.
    """

    def call(self, request: str, **parameters: Any) -> Mapping[str, Any]:
        """Send a request and return the response."""

    def opened(self, bucket: str, key: str) -> IO[bytes]:
        """Return an object as a file that is read in ranges."""


class RequestError(Exception):
    """A request that the storage service refused.

    Parameters
    ----------
    code : the service's name for the error.
    status : HTTP status.
    """

    def __init__(self, message: str, code: str, status: int) -> None:
        super().__init__(message)
        self.response: dict[str, dict[str, Any]] = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


def answered(date: str | None, **answer: Any) -> dict[str, Any]:
    """Return a response with the time at which the storage service sent it."""
    return {**answer, "ResponseMetadata": {"HTTPHeaders": {"date": date} if date else {}}}


class Ranges(io.RawIOBase):
    """An object as a file; every read is a request for a range.

    Parameters
    ----------
    client, bucket, key : the client of the object's storage service, and the object's address.
    """

    def __init__(self, client: Client, bucket: str, key: str) -> None:
        super().__init__()
        self._client, self._target = client, {"Bucket": bucket, "Key": key}
        self._size = int(client.call("head_object", **self._target)["ContentLength"])
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset from the start, the current position or the end."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as are left, up to the size of the buffer."""
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        content = self._client.call("get_object", Range=f"bytes={self._at}-{stop - 1}", **self._target)["Body"]
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def by_ranges(client: Client, bucket: str, key: str) -> IO[bytes]:
    """Return an object as a buffered file."""
    return io.BufferedReader(Ranges(client, bucket, key), BLOCK)
