"""The basic requests to object storage: get, head, list, put, delete.

The client is s3fs, the extra ``aim-ablations[s3]``. The store needs the conditional put: ``If-None-Match: *`` creates
an object only if none exists, so the first writer wins; ``If-Match`` replaces exactly the version that was read.
pyarrow's ``S3FileSystem`` has neither: its output streams overwrite existing objects. fsspec's own ``mode="create"``
has the first but not the second, and does not return the new ETag; so requests go through ``S3FileSystem.call_s3``,
which passes on every parameter of the protocol and returns the server's complete answer.

Credentials and endpoint come from the environment and the standard chain of the AWS clients (``AWS_PROFILE``,
``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL_S3``, the role of the machine). They are never part of an address, and
anything that looks like one is removed from every message.
"""

from __future__ import annotations

import functools
import os
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from aimlib.errors import StoreError

_CONFLICTS = 20
"""Number of attempts while the server asks to retry: S3 answers 409 while another conditional request is in
progress."""

_GIVE = "give credentials that may read and write there: AWS_PROFILE, AWS_ACCESS_KEY_ID and so on, or a role"
_ADVICE = {
    "AccessDenied": _GIVE,
    "ExpiredToken": _GIVE,
    "InvalidAccessKeyId": _GIVE,
    "SignatureDoesNotMatch": _GIVE,
    "InvalidToken": _GIVE,
    "403": _GIVE,
    "NoCredentialsError": _GIVE,
    "PartialCredentialsError": _GIVE,
    "NoSuchBucket": "create the bucket, or correct the URL",
    "RequestTimeTooSkewed": "set this machine's clock",
    "EndpointConnectionError": "check the network and AWS_ENDPOINT_URL_S3",
    "ConnectTimeoutError": "check the network and AWS_ENDPOINT_URL_S3",
    "NotImplemented": "use a server with conditional writes (AWS S3, MinIO, SeaweedFS)",
}
_PATIENCE = "check the storage and run again; settled runs are kept"
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@dataclass(frozen=True, order=True)
class Address:
    """The address of an object or of a folder: bucket and key; the key has no slash at either end."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".rstrip("/")


@dataclass(frozen=True)
class Entry:
    """One name in a listing.

    Attributes
    ----------
    age : seconds since it was written, by the storage's own clock; 0 for a folder.
    folder : whether it is a folder.
    """

    name: str
    age: float
    folder: bool


@dataclass(frozen=True)
class Version:
    """An object at one moment.

    Attributes
    ----------
    tag : its ETag; changes whenever different content is put.
    age : seconds since it was written, by the storage's own clock.
    writer : mark of the put that wrote it; empty if another program wrote it.
    """

    tag: str
    age: float
    writer: str


def get(address: Address) -> tuple[bytes, str]:
    """Return the content of an object and its ETag; FileNotFoundError if the object does not exist."""
    answer = _call(address, "get_object", doing="read")
    return _body(address, answer), answer["ETag"]


def get_start(address: Address, size: int) -> tuple[bytes, bool]:
    """Return the first `size` bytes of an object, and whether that is the whole object, with one request."""
    try:
        answer = _call(address, "get_object", doing="read", Range=f"bytes=0-{size - 1}")
    except _Refused as refused:
        if refused.status == 416:  # it is empty
            return b"", True
        raise
    content = _body(address, answer)
    total = answer.get("ContentRange", "").rpartition("/")[2]
    return content, not total.isdigit() or int(total) <= len(content)


def head(address: Address) -> Version | None:
    """Return the metadata of an object, or None if it does not exist."""
    try:
        answer = _call(address, "head_object", doing="read")
    except FileNotFoundError:
        return None
    writer = answer.get("Metadata", {}).get("writer", "")
    return Version(answer["ETag"], _now(answer) - answer["LastModified"].timestamp(), writer)


def listing(address: Address) -> list[Entry]:
    """Return the names in a folder. Names that no file can have, such as ``..``, are omitted."""
    prefix = f"{address.key}/" if address.key else ""
    found: list[Entry] = []
    more: dict[str, str] = {}
    while True:
        answer = _call(address, "list_objects_v2", doing="listed", whole=False, Prefix=prefix, Delimiter="/", **more)
        now = _now(answer)
        found += [
            Entry(item["Key"].removeprefix(prefix), now - item["LastModified"].timestamp(), folder=False)
            for item in answer.get("Contents", ())
        ]
        found += [
            Entry(item["Prefix"].removeprefix(prefix).removesuffix("/"), 0.0, folder=True)
            for item in answer.get("CommonPrefixes", ())
        ]
        if not answer.get("IsTruncated"):
            return [entry for entry in found if is_name(entry.name)]
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def put(address: Address, content: bytes, *, create: bool = False, match: str | None = None) -> str | None:
    """Write a complete object; return its new ETag, or None if the condition is not met.

    If a response is lost, the client repeats the request, which then fails because of its own first attempt. So every
    put has a unique mark, and a put that finds its own mark in place has succeeded.

    Parameters
    ----------
    create : write only if no object exists.
    match : write only if the object has this ETag.
    """
    mark = uuid.uuid4().hex
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if create else {"IfMatch": match} if match else {}
    for attempt in range(_CONFLICTS):
        try:
            answer = _call(address, "put_object", doing="written", Body=content, Metadata={"writer": mark}, **condition)
            return str(answer["ETag"])
        except FileNotFoundError:  # there is no object that could match
            return None
        except _Refused as refused:
            if refused.status == 412:
                there = head(address)
                return there.tag if there is not None and there.writer == mark else None
            if refused.status != 409:
                raise
        time.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311 -- colliding writers must not retry in lockstep
    raise StoreError(
        f"{address}: cannot be written: the storage answered {_CONFLICTS} times that it is busy; {_PATIENCE}"
    )


def delete(address: Address) -> None:
    """Remove an object if it exists."""
    _call(address, "delete_object", doing="removed")


def opened(address: Address) -> Any:
    """Return an object as a file that is read by ranges, for a large object of which only a small part is needed."""
    with _explained(address, "read"):
        return _client(os.getpid()).open(f"{address.bucket}/{address.key}", "rb", block_size=2**20)


def is_name(text: str) -> bool:
    """Return whether a text is a valid name of a single file: not a path, and without control characters."""
    return bool(text) and text not in {".", ".."} and not re.search(r"[/\\\x00-\x1f\x7f]", text)


class _Refused(StoreError):
    """The storage refused a request.

    Attributes
    ----------
    status : HTTP status; 0 if there was no answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _explained:  # noqa: N801 -- a context manager
    """Turn a client's exception about an address into a StoreError with a remedy, without secrets."""

    def __init__(self, address: Address, doing: str) -> None:
        self.address, self.doing = address, doing

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, StoreError) or not isinstance(error, Exception):
            return
        response = _response(error)
        code = str(response.get("Error", {}).get("Code") or type(error).__name__)
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        gone = status == 404 and code != "NoSuchBucket"
        if gone or (isinstance(error, FileNotFoundError) and not response):
            raise FileNotFoundError(f"{self.address}: is not there") from None
        advice = _ADVICE.get(code, _PATIENCE)
        message = f"{self.address}: cannot be {self.doing}: {code}: {_without_secrets(str(error))}; {advice}"
        # `from None`: the cause contains the request with its signature.
        raise _Refused(message, status) from None


def _call(address: Address, request: str, doing: str, whole: bool = True, **parameters: Any) -> Mapping[str, Any]:
    target = {"Bucket": address.bucket, "Key": address.key} if whole else {"Bucket": address.bucket}
    with _explained(address, doing):
        answer: Mapping[str, Any] = _client(os.getpid()).call_s3(request, **target, **parameters)
        return answer
    raise AssertionError("unreachable: the context manager passes every error on")


def _body(address: Address, answer: Mapping[str, Any]) -> bytes:
    from fsspec.asyn import sync  # noqa: PLC0415

    async def read() -> bytes:
        async with answer["Body"] as stream:
            return bytes(await stream.read())

    with _explained(address, "read"):
        return bytes(sync(_client(os.getpid()).loop, read))
    raise AssertionError("unreachable: the context manager passes every error on")


def _response(error: BaseException) -> Mapping[str, Any]:
    """Return the server's answer behind an error; empty if there was none."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return response
        cause = cause.__cause__
    return {}


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    return re.sub(r"(?i)(signature|credential|token|accesskeyid)=[^&\s\"']+", r"\1=***", text)


def _now(answer: Mapping[str, Any]) -> float:
    """Return the storage's own time when it answered, as seconds since 1970."""
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    found: datetime | None = parsedate_to_datetime(date) if date else None
    return found.timestamp() if found is not None else time.time()


@functools.cache  # a child also keeps its parent's client: closing it would unregister the parent's connections
def _client(process: int) -> Any:  # noqa: ARG001 -- the cache's key
    """Return the client of this process; a forked child creates its own."""
    try:
        from s3fs import S3FileSystem  # noqa: PLC0415 -- the extra
    except ImportError as error:
        raise StoreError(
            f"s3://: object storage needs the package s3fs ({error}); install it: pip install 'aim-ablations[s3]'"
        ) from error
    return S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 32},
    )
