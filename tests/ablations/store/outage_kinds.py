"""Errors that the store encounters when storage is unavailable, and a clock that simulates hours without waiting."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from ablations.store.outages import Outages
from aimlib.object_store import _Refused

Fault = Callable[[], Exception]


def of_the_system(name: str) -> Fault:
    number = getattr(errno, name)
    return lambda: OSError(number, os.strerror(number))


def of_a_server(status: int, code: str) -> Fault:
    return lambda: _Refused(f"s3://bucket/study: cannot be written: {code}; check the storage", status, code)


ON_DISKS = ("EIO", "ESTALE", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "ETIMEDOUT", "ENOTCONN", "EHOSTDOWN", "ENOLCK")
_ANSWERS = (
    *((403, "AccessDenied"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"), (400, "ExpiredToken")),
    *((401, "Unauthorized"), (408, "RequestTimeout"), (400, "RequestTimeout"), (429, "TooManyRequests")),
    *((500, "InternalError"), (502, "BadGateway"), (503, "SlowDown"), (504, "GatewayTimeout")),
    *((507, "InsufficientStorage"), (400, "IncompleteBody"), (0, "EndpointConnectionError")),
    *((0, "ConnectTimeoutError"), (0, "ReadTimeoutError"), (0, "ConnectionClosedError")),
    *((0, "ClientPayloadError"), (0, "ResponseStreamingError"), (0, "NoCredentialsError"), (0, "SSLError")),
)
FAULTS: dict[str, Fault] = {name: of_the_system(name) for name in ON_DISKS}
for status, code in _ANSWERS:
    FAULTS[f"{code} with {status}" if code in FAULTS else code] = of_a_server(status, code)


class Clock:
    """A clock that advances only when its `sleep` is called."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def outages(self, hours: float = 12.0, **options: Any) -> Outages:
        return Outages(hours * 3600, clock=self, sleep=self.sleep, **options)
