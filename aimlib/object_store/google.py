"""Google Cloud Storage, accessed through its JSON API with google-auth.

Google's own library and gcsfs send large objects in several requests, and not every server then checks the condition.
Here, each object is sent in one request, together with its condition (``uploadType=multipart``). The tag of a version
is its generation, a number that changes with every put.

`STORAGE_EMULATOR_HOST` is the address of an emulator, which is used without credentials.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import IO, Any
from urllib.parse import quote

from aimlib.object_store.client import CONNECT_S, CONNECTIONS, READ_S, RequestError, answered, by_ranges

PACKAGE = "google-auth"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_HOST = "https://storage.googleapis.com"
_REPEATED = 2
"""Maximum number of times a request is repeated; a request without a response fails after a minute and a half."""
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_NEVER = "1"
"""A generation that no object has, because generations are microseconds since 1970."""


class _Google:
    """See `aimlib.object_store.client.Client`."""

    def __init__(self, session: Any, host: str) -> None:
        self._session, self._host = session, host
        self._requests: dict[str, Callable[..., dict[str, Any]]] = {
            "get_object": self._get,
            "head_object": self._head,
            "list_objects_v2": self._list,
            "put_object": self._put,
            "delete_object": self._delete,
        }

    def call(self, request: str, **parameters: Any) -> Mapping[str, Any]:
        return self._requests[request](**parameters)

    def opened(self, bucket: str, key: str) -> IO[bytes]:
        return by_ranges(self, bucket, key)

    def _get(self, Bucket: str, Key: str, Range: str | None = None) -> dict[str, Any]:  # noqa: N803 -- names from S3
        headers = {"Range": Range} if Range else {}
        response = self._sent("GET", _path(Bucket, Key), params={"alt": "media"}, headers=headers)
        return answered(
            response.headers.get("date"),
            Body=response.content,
            ETag=response.headers["x-goog-generation"],
            ContentRange=response.headers.get("content-range", ""),
        )

    def _head(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        response = self._sent("GET", _path(Bucket, Key))
        found = response.json()
        return answered(
            response.headers.get("date"),
            ETag=found["generation"],
            LastModified=datetime.fromisoformat(found["timeCreated"]),
            Metadata=found.get("metadata", {}),
            ContentLength=int(found["size"]),
        )

    def _list(
        self,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        Delimiter: str,  # noqa: N803
        ContinuationToken: str | None = None,  # noqa: N803
        MaxKeys: int | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        fields = "items(name,timeCreated,size),prefixes,nextPageToken"
        wanted = {"prefix": Prefix, "delimiter": Delimiter, "fields": fields, "pageToken": ContinuationToken}
        response = self._sent("GET", _path(Bucket), params={**wanted, "maxResults": MaxKeys})
        page = response.json()
        found = [
            {"Key": item["name"], "LastModified": datetime.fromisoformat(item["timeCreated"]), "Size": item["size"]}
            for item in page.get("items", ())
        ]
        more = page.get("nextPageToken")
        return answered(
            response.headers.get("date"),
            Contents=found,
            CommonPrefixes=[{"Prefix": prefix} for prefix in page.get("prefixes", ())],
            IsTruncated=bool(more),
            NextContinuationToken=more,
        )

    def _put(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        Metadata: dict[str, str],  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        condition = "0" if IfNoneMatch else IfMatch if IfMatch is None or IfMatch.isdigit() else _NEVER
        md5 = base64.b64encode(hashlib.md5(Body, usedforsecurity=False).digest()).decode()  # the server checks the hash
        boundary = uuid.uuid4().hex
        response = self._sent(
            "POST",
            f"/upload{_path(Bucket)}",
            params={"uploadType": "multipart", "ifGenerationMatch": condition},
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            data=_parts(boundary, {"name": Key, "metadata": Metadata, "md5Hash": md5}, Body),
        )
        return answered(response.headers.get("date"), ETag=response.json()["generation"])

    def _delete(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        try:
            response = self._sent("DELETE", _path(Bucket, Key))
        except RequestError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return answered(None)
        return answered(response.headers.get("date"))

    def _sent(self, method: str, path: str, **options: Any) -> Any:
        """Send a request; return a successful response.

        Raises
        ------
        RequestError: the storage service reported an error.
        """
        response = self._session.request(method, self._host + path, timeout=(CONNECT_S, READ_S), **options)
        if response.ok:
            return response
        message = _message(response)
        of_bucket = path.endswith("/o") or "bucket" in message
        code = {404: "NoSuchBucket" if of_bucket else "NoSuchKey"}.get(response.status_code, str(response.status_code))
        raise RequestError(message, code, response.status_code)


def _path(bucket: str, key: str | None = None) -> str:
    objects = f"/storage/v1/b/{quote(bucket, safe='')}/o"
    return objects if key is None else f"{objects}/{quote(key, safe='')}"


def _parts(boundary: str, metadata: dict[str, Any], content: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
    head += f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return b"".join([head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])


def _message(response: Any) -> str:
    """Return the message of a refused request, in any of the formats that occur."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.text)[:500] or str(response.reason)


def client() -> _Google:
    """Return a client with the application's default credentials; raise ImportError if the extra is not installed."""
    import google.auth  # noqa: PLC0415 -- the extra
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415
    from urllib3.util import Retry  # noqa: PLC0415

    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    host = emulator if "://" in emulator else f"http://{emulator}" if emulator else _HOST
    credentials = AnonymousCredentials() if emulator else google.auth.default(scopes=[_SCOPE])[0]
    session = AuthorizedSession(credentials)
    # Every method may be repeated, because a repeated put is recognized by its mark.
    retries = Retry(
        _REPEATED, backoff_factor=0.5, status_forcelist=_TRANSIENT, allowed_methods=None, raise_on_status=False
    )
    for kind in ("http://", "https://"):
        session.mount(kind, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retries))
    session.headers["Accept-Encoding"] = "identity"  # return the bytes exactly as they were written
    return _Google(session, host)
