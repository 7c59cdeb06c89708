"""Azure Blob Storage, accessed with its own library, azure-storage-blob.

The account and its credentials come from environment variables with the names that fsspec and Azure's command line use.
These are ``AZURE_STORAGE_CONNECTION_STRING``, or ``AZURE_STORAGE_ACCOUNT_NAME`` with ``AZURE_STORAGE_ACCOUNT_KEY`` or
``AZURE_STORAGE_SAS_TOKEN``. If only the account is set, the default chain of azure-identity is used (``az login``, a
managed identity).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import IO, Any

from aimlib.object_store.client import CONNECT_S, READ_S, RequestError, answered, by_ranges

PACKAGE = "azure-storage-blob"
_LARGEST = 5000 * 2**20
"""Maximum number of bytes in one request. Each object is written in one request, so that the condition covers the
entire object."""
_CODES = {"ContainerNotFound": "NoSuchBucket", "ContainerBeingDeleted": "NoSuchBucket", "BlobNotFound": "NoSuchKey"}
_UNFULFILLED = {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "UnauthorizedBlobOverwrite"}


class _Azure:
    """See `aimlib.object_store.client.Client`."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._requests: dict[str, Callable[..., dict[str, Any]]] = {
            "get_object": self._get,
            "head_object": self._head,
            "list_objects_v2": self._list,
            "put_object": self._put,
            "delete_object": self._delete,
        }

    def call(self, request: str, **parameters: Any) -> Mapping[str, Any]:
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 -- the extra

        dates: list[str | None] = [None]

        def note(response: Any) -> None:
            dates.append(response.http_response.headers.get("date"))

        try:
            answer = self._requests[request](note, **parameters)
        except HttpResponseError as error:
            raise _refusal(error) from error
        return answered(dates[-1], **answer)

    def opened(self, bucket: str, key: str) -> IO[bytes]:
        return by_ranges(self, bucket, key)

    def _get(self, note: Any, Bucket: str, Key: str, Range: str | None = None) -> dict[str, Any]:  # noqa: N803
        start, stop = map(int, Range.removeprefix("bytes=").split("-")) if Range else (None, None)
        length = None if start is None or stop is None else stop - start + 1
        blob = self._service.get_blob_client(Bucket, Key)
        found = blob.download_blob(start, length, max_concurrency=1, raw_response_hook=note)
        content, part = found.readall(), found.properties
        return {"Body": content, "ETag": part.etag, "ContentRange": str(part.content_range or "")}

    def _head(self, note: Any, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        found = self._service.get_blob_client(Bucket, Key).get_blob_properties(raw_response_hook=note)
        return {
            "ETag": found.etag,
            "LastModified": found.last_modified,
            "Metadata": found.metadata,
            "ContentLength": found.size,
        }

    def _list(
        self,
        note: Any,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        Delimiter: str,  # noqa: N803
        ContinuationToken: str | None = None,  # noqa: N803
        MaxKeys: int | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        container = self._service.get_container_client(Bucket)
        found = container.walk_blobs(
            name_starts_with=Prefix or None, delimiter=Delimiter, results_per_page=MaxKeys, raw_response_hook=note
        )
        pages = found.by_page(ContinuationToken)
        entries = list(next(pages, ()))
        folders = [entry for entry in entries if not hasattr(entry, "etag")]
        files = [entry for entry in entries if hasattr(entry, "etag")]
        return {
            "Contents": [
                {"Key": entry.name, "LastModified": entry.last_modified, "Size": entry.size} for entry in files
            ],
            "CommonPrefixes": [{"Prefix": entry.name} for entry in folders],
            "IsTruncated": bool(pages.continuation_token),
            "NextContinuationToken": pages.continuation_token,
        }

    def _put(
        self,
        note: Any,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        Metadata: dict[str, str],  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        from azure.core import MatchConditions  # noqa: PLC0415 -- the extra

        condition = {"etag": IfMatch, "match_condition": MatchConditions.IfNotModified} if IfMatch else {}
        blob = self._service.get_blob_client(Bucket, Key)
        answer = blob.upload_blob(
            Body, overwrite=IfNoneMatch is None, metadata=Metadata, raw_response_hook=note, **condition
        )
        return {"ETag": answer["etag"]}

    def _delete(self, note: Any, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 -- the extra

        try:
            self._service.get_blob_client(Bucket, Key).delete_blob("include", raw_response_hook=note)
        except ResourceNotFoundError as error:
            if _code(error) != "NoSuchKey":
                raise
        return {}


def _refusal(error: Any) -> RequestError:
    code, status = _code(error), int(error.status_code or 0)
    if code in _UNFULFILLED:
        status = 412
    message = str(error.message).strip().partition("\n")[0]  # the other lines contain only request ids or advice
    return RequestError(message, code, status)


def _code(error: Any) -> str:
    found = getattr(error, "error_code", None)
    name = str(getattr(found, "value", found) or "")
    if not name and error.status_code == 404:  # the response to a head request has no body
        return "NoSuchKey"
    return _CODES.get(name, name or type(error).__name__)


def client() -> _Azure:
    """Return a client for the account set in the environment; raise ImportError if the extra is not installed.

    Raises
    ------
    RequestError: the environment does not set an account.
    """
    from azure.storage.blob import BlobServiceClient, ExponentialRetry  # noqa: PLC0415 -- the extra

    options = {
        "max_single_put_size": _LARGEST,
        "max_single_get_size": _LARGEST,
        "connection_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=2, random_jitter_range=1),
    }
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if text:
        try:
            return _Azure(BlobServiceClient.from_connection_string(text, **options))
        except ValueError as error:
            message = f"AZURE_STORAGE_CONNECTION_STRING: {error}"
            raise RequestError(message, "NoCredentialsError", 0) from None
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    if not re.fullmatch("[a-z0-9]{3,24}", account):
        message = f"AZURE_STORAGE_ACCOUNT_NAME is {account!r}, not the name of a storage account"
        raise RequestError(message, "NoCredentialsError", 0)
    return _Azure(BlobServiceClient(f"https://{account}.blob.core.windows.net", _credential(), **options))


def _credential() -> Any:
    given = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY") or os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    if given:
        return given
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 -- the extra

    logging.getLogger("azure.identity").setLevel(logging.ERROR)  # the error message repeats the library's warnings
    return DefaultAzureCredential()
