"""S3, and servers with the S3 API, accessed through s3fs.

pyarrow's ``S3FileSystem`` has no conditional put: its output streams overwrite existing objects. fsspec's own
``mode="create"`` creates objects exclusively, but cannot replace a version and does not return the new ETag. Requests
therefore go through ``S3FileSystem.call_s3``, which passes on all parameters of the protocol and returns the server's
complete response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from aimlib.object_store.client import BLOCK, CONNECT_S, CONNECTIONS, READ_S

PACKAGE = "s3fs"
_SETTINGS = {
    "connect_timeout": CONNECT_S,
    "read_timeout": READ_S,
    "max_pool_connections": CONNECTIONS,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
"""With these settings, and including the client's own retries, a request without a response fails after a minute and a
half."""


class _S3:
    """See `aimlib.object_store.client.Client`."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def call(self, request: str, **parameters: Any) -> Mapping[str, Any]:
        from fsspec.asyn import sync  # noqa: PLC0415 -- the extra

        answer: dict[str, Any] = self._files.call_s3(request, **parameters)
        stream = answer.get("Body")
        if stream is None:
            return answer

        async def read() -> bytes:
            async with stream:
                return bytes(await stream.read())

        return {**answer, "Body": sync(self._files.loop, read)}

    def opened(self, bucket: str, key: str) -> IO[bytes]:
        file: IO[bytes] = self._files.open(f"{bucket}/{key}", "rb", block_size=BLOCK)
        return file


def client() -> _S3:
    """Return a client with credentials from the standard AWS chain; raise ImportError if the extra is not installed.

    Without the change made here, the client would ask for permission before it sends content (``Expect: 100-continue``)
    and wait for the response without a timeout. A put to a server that hangs would then never fail.
    """
    from aiobotocore.session import AioSession  # noqa: PLC0415 -- the extra
    from botocore.handlers import add_expect_header  # noqa: PLC0415
    from s3fs import S3FileSystem  # noqa: PLC0415

    session = AioSession()
    session.unregister("before-call.s3", add_expect_header)
    files = S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=_SETTINGS, session=session)
    files.retries = 1  # s3fs would repeat requests that the client has already repeated
    return _S3(files)
