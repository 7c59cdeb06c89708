"""The basic requests to object storage: get, head, list, put and delete.

The store of results needs conditional puts. Such a put either creates an object only if none exists, so that the first
writer wins, or replaces only the version that was read before. S3 and Azure compare ETags (``If-None-Match: *``,
``If-Match``); Google compares generations (``ifGenerationMatch``). Each storage service has its own module with a
client, which requires an optional extra of this package. All clients accept the same requests
(`aimlib.object_store.client.Client`). This module contains the common code: it handles lost responses, conflicts and
listings with many pages, and raises errors with a remedy.

Credentials and endpoints come from the environment and the standard credential chain of the provider's own clients.
Credentials are never part of an address, and anything that looks like a credential is removed from every message.
"""

from __future__ import annotations

import importlib
import os
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any

from aimlib.errors import StoreError
from aimlib.object_store.client import Client

_CONFLICTS = 20
"""Maximum number of attempts if the server asks to retry: S3 responds with 409 while another conditional request is in
progress."""

_MODULES = {"s3": "s3", "gs": "google", "az": "azure"}
SCHEMES = tuple(_MODULES)
FOLDERS = "s3://bucket/folder, gs://bucket/folder or az://container/folder"
"""Forms of the URLs of object storage folders, for messages."""
_VARIABLES = {
    "s3": "AWS_PROFILE, AWS_ACCESS_KEY_ID and so on, or a role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or a service account",
    "az": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, "
    "AZURE_STORAGE_SAS_TOKEN, `az login` or a managed identity",
}
_NETWORK = {
    "s3": "check the network and AWS_ENDPOINT_URL_S3",
    "gs": "check the network and STORAGE_EMULATOR_HOST",
    "az": "check the network and the account's name",
}
_OF_CREDENTIALS = {
    "AccessDenied",
    "AzureSigningError",
    "ClientAuthenticationError",
    "CredentialUnavailableError",
    "DefaultCredentialsError",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoCredentialsError",
    "PartialCredentialsError",
    "RefreshError",
    "SignatureDoesNotMatch",
}
_OF_THE_NETWORK = {
    "ConnectionError",
    "ConnectTimeout",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ServiceRequestError",
    "ServiceRequestTimeoutError",
}
_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct the URL",
    "RequestTimeTooSkewed": "set this machine's clock",
    "NotImplemented": "use a server with conditional writes (AWS S3, MinIO, SeaweedFS)",
}
_PATIENCE = "check the storage and run again; settled runs are kept"
_SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
)


@dataclass(frozen=True, order=True)
class Address:
    """The address of an object or a folder: the bucket and the key, which has no slash at either end.

    Attributes
    ----------
    scheme : the storage service, one of `SCHEMES`; on Azure, the bucket is called a container.
    """

    bucket: str
    key: str = ""
    scheme: str = "s3"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")


@dataclass(frozen=True)
class Entry:
    """One entry in a listing.

    Attributes
    ----------
    age : seconds since the object was written, according to the storage service's clock; 0 for a folder.
    folder : whether the entry is a folder.
    size : length in bytes; 0 for a folder.
    written : when the object was written, in seconds since 1970 by the storage service's clock; 0 for a folder.
    """

    name: str
    age: float
    folder: bool
    size: int = 0
    written: float = 0.0


@dataclass(frozen=True)
class Version:
    """The state of an object at one moment.

    Attributes
    ----------
    tag : the object's ETag, or its generation on Google; changes whenever different content is written.
    age : seconds since the object was written, according to the storage service's clock.
    writer : mark of the put request that wrote the object; empty if another program wrote it.
    """

    tag: str
    age: float
    writer: str


def get(address: Address) -> tuple[bytes, str]:
    """Return the content of an object and its tag; raise FileNotFoundError if the object does not exist."""
    answer = _call(address, "get_object", doing="read")
    return bytes(answer["Body"]), str(answer["ETag"])


def get_start(address: Address, size: int) -> tuple[bytes, bool]:
    """Return the first `size` bytes of an object and whether they are the entire object, using one request."""
    try:
        answer = _call(address, "get_object", doing="read", Range=f"bytes=0-{size - 1}")
    except _Refused as refused:
        if refused.status == 416:  # the object is empty
            return b"", True
        raise
    content = bytes(answer["Body"])
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
    """Return the entries in a folder. Names that a file cannot have, such as ``..``, are omitted."""
    prefix = f"{address.key}/" if address.key else ""
    found: list[Entry] = []
    more: dict[str, str] = {}
    while True:
        answer = _call(address, "list_objects_v2", doing="listed", whole=False, Prefix=prefix, Delimiter="/", **more)
        now = _now(answer)
        found += [
            Entry(
                item["Key"].removeprefix(prefix),
                now - item["LastModified"].timestamp(),
                folder=False,
                size=int(item["Size"]),
                written=item["LastModified"].timestamp(),
            )
            for item in answer.get("Contents", ())
        ]
        found += [
            Entry(item["Prefix"].removeprefix(prefix).removesuffix("/"), 0.0, folder=True)
            for item in answer.get("CommonPrefixes", ())
        ]
        if not answer.get("IsTruncated"):
            once = {entry.name: entry for entry in found}  # some servers repeat folders on every page
            return [entry for entry in once.values() if is_name(entry.name)]
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def put(address: Address, content: bytes, *, create: bool = False, match: str | None = None) -> str | None:
    """Write a complete object; return its new tag, or None if the condition is not met.

    If a response is lost, the client repeats the request; the repetition then fails if the first attempt succeeded.
    Every put therefore has a unique mark. If an object has the mark of a refused put, that put has succeeded.

    Parameters
    ----------
    create : write only if no object exists.
    match : write only if the object has this tag.
    """
    mark = uuid.uuid4().hex
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if create else {"IfMatch": match} if match else {}
    for attempt in range(_CONFLICTS):
        try:
            answer = _call(address, "put_object", doing="written", Body=content, Metadata={"writer": mark}, **condition)
            return str(answer["ETag"])
        except FileNotFoundError:  # there is no object that the tag could match
            return None
        except _Refused as refused:
            if refused.status == 412:
                there = head(address)
                return there.tag if there is not None and there.writer == mark else None
            if refused.status != 409:
                raise
        time.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311 -- writers must not retry in lockstep
    raise StoreError(
        f"{address}: cannot be written: the storage service answered {_CONFLICTS} times that it was busy; {_PATIENCE}"
    )


def delete(address: Address) -> None:
    """Remove an object if it exists."""
    _call(address, "delete_object", doing="removed")


def opened(address: Address) -> IO[bytes]:
    """Return an object as a file that is read in ranges; for large objects of which only a small part is needed."""
    with _explained(address, "read"):
        return _client(os.getpid(), address.scheme).opened(address.bucket, address.key)
    raise AssertionError("unreachable: the context manager passes every error on")


def variables(scheme: str) -> str:
    """Return a phrase, for the end of a message, that says where a storage service's credentials are set."""
    return f": {_VARIABLES[scheme]}" if scheme in _VARIABLES else ""


def is_name(text: str) -> bool:
    """Return whether a string is a valid name of a single file: not a path, and without control characters."""
    return bool(text) and text not in {".", ".."} and not re.search(r"[/\\\x00-\x1f\x7f]", text)


class _Refused(StoreError):
    """The storage service refused a request.

    Attributes
    ----------
    status : HTTP status; 0 if there was no response.
    code : the server's name for the error, or the class of the client's exception.
    """

    def __init__(self, message: str, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Answer(dict[str, Any]):
    """A response from the storage service; a missing part is an error."""

    def __init__(self, content: Mapping[str, Any], address: Address, doing: str) -> None:
        super().__init__(content)
        self._address, self._doing = address, doing

    def __missing__(self, key: str) -> Any:
        message = f"{self._address}: cannot be {self._doing}: the response lacks {key}; {_PATIENCE}"
        raise _Refused(message, 0, "IncompleteAnswer")


class _explained:  # noqa: N801 -- a context manager
    """Convert a client's exception about an address to a StoreError with a remedy and without secrets."""

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
            raise FileNotFoundError(f"{self.address}: does not exist") from None
        advice = _advice(self.address.scheme, code, status)
        told = " ".join(_without_secrets(str(error)).split())
        message = f"{self.address}: cannot be {self.doing}: {code}: {told}; {advice}"
        # `from None`, because the original exception contains the request with its signature.
        raise _Refused(message, status, code) from None


def _advice(scheme: str, code: str, status: int) -> str:
    """Return what to do about an error, based on its code, or on its HTTP status if the code is unknown."""
    if code in _ADVICE:
        return _ADVICE[code]
    if code in _OF_CREDENTIALS or status in {401, 403}:
        return f"set credentials that have permission to read and write there: {_VARIABLES[scheme]}"
    return _NETWORK[scheme] if code in _OF_THE_NETWORK else _PATIENCE


def _call(address: Address, request: str, doing: str, whole: bool = True, **parameters: Any) -> Mapping[str, Any]:
    target = {"Bucket": address.bucket, "Key": address.key} if whole else {"Bucket": address.bucket}
    with _explained(address, doing):
        return _Answer(_client(os.getpid(), address.scheme).call(request, **target, **parameters), address, doing)
    raise AssertionError("unreachable: the context manager passes every error on")


def _response(error: BaseException) -> Mapping[str, Any]:
    """Return the server response that caused an error; empty if there was none."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return response
        cause = cause.__cause__
    return {}


def answer_of(error: BaseException) -> tuple[int, str]:
    """Return the status and the code of a refused object storage request; ``(0, "")`` for other errors.

    If there was no response, the status is 0 and the code is the class of the client's exception.
    """
    if isinstance(error, StoreError):
        return int(getattr(error, "status", 0)), str(getattr(error, "code", ""))
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return 0, ""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return status, str(response.get("Error", {}).get("Code") or type(error).__name__)


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    return re.sub(r"(?i)(signature|credential|token|accesskeyid)=[^&\s\"']+", r"\1=***", text)


def _now(answer: Mapping[str, Any]) -> float:
    """Return the storage service's own time when it responded, in seconds since 1970."""
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    found: datetime | None = parsedate_to_datetime(date) if date else None
    return found.timestamp() if found is not None else time.time()


def renew_credentials() -> None:
    """Make the next request read the credential files again; clients read keys that do not expire only once."""
    for scheme in SCHEMES:
        _clients.pop((os.getpid(), scheme), None)


_clients: dict[tuple[int, str], Client] = {}
"""Clients, keyed by process and storage service. A child process also keeps its parent's client, because closing that
client would unregister the parent's connections.
"""


def _client(process: int, scheme: str) -> Client:
    """Return this process's client for a storage service; a forked child creates its own client."""
    if (process, scheme) not in _clients:
        _clients[process, scheme] = _new_client(scheme)
    return _clients[process, scheme]


def _new_client(scheme: str) -> Client:
    module = importlib.import_module(f"{__name__}.{_MODULES[scheme]}")
    try:
        client: Client = module.client()
    except ImportError as error:
        raise StoreError(
            f"{scheme}://: object storage needs the package {module.PACKAGE} ({error}); install it: "
            f"pip install 'aim-ablations[{scheme}]'"
        ) from error
    return client
