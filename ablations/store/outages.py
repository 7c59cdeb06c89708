"""Outages of a study's storage: which errors pass without a change to the study, and how long operations wait.

Only this module makes these decisions, for all operations: reads, commits, checkpoints, leases and session states.

=============  =========================================================================================================
kind of error  consequence
=============  =========================================================================================================
full           no space, or a quota is reached: operations wait
away           the disk, the server or the network fails: operations wait
unreachable    no server answers at the address: operations wait, but only for `START_LIMIT_S` until the storage has
               been used once, because the address may be wrong
refused        credentials, permissions, or a read-only or missing folder: operations wait if the storage has already
               been used; otherwise, the error is raised immediately, because waiting does not help
=============  =========================================================================================================

All other errors, such as a nonexistent bucket, a damaged file or a lost lock, are raised immediately.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from ablations.spec.durations import duration
from aimlib import object_store
from aimlib.errors import StoreError, text_of
from aimlib.records.escaping import shortened

T = TypeVar("T")
Kind = Literal["full", "away", "unreachable", "refused"]

START_LIMIT_S = 600.0
"""Maximum number of seconds to wait for an address at which no server has answered yet."""
NOTICE_INTERVAL_S = 600.0
"""Seconds between two notices about the same outage."""
_FLAPPING_S = 60.0
"""Seconds. An outage that begins within this time after the previous one is reported only after half this time."""
_FIRST_DELAY_S, _LONGEST_DELAY_S, _SLICE_S = 1.0, 30.0, 0.5
_RENEWAL_INTERVAL_S = 10.0
"""Minimum number of seconds between two attempts with freshly read credentials."""
_LONGEST_REASON = 400

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_THE_DISK = frozenset(
    {errno.EIO, errno.ESTALE, *(getattr(errno, name) for name in ("EREMOTEIO",) if hasattr(errno, name))}
)
"""Errors that plugins never raise themselves, unlike network errors."""
_AWAY = _OF_THE_DISK | {
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EINTR", "EBUSY", "ETIMEDOUT", "EPIPE", "ENODEV", "ENXIO", "ENOTCONN", "ESHUTDOWN"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ECONNRESET", "ECONNABORTED"),
        *("ECONNREFUSED", "ENOLINK", "ECOMM"),
    )
    if hasattr(errno, name)
}
_REFUSED = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "ENOLCK"),
        *("ENOKEY", "EKEYEXPIRED", "EKEYREVOKED", "EKEYREJECTED"),  # Kerberos tickets on NFS
    )
    if hasattr(errno, name)
)
_AWAY_STATUS = frozenset({408, 423, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 598, 599})
_REFUSED_STATUS = frozenset({401, 403, 407})
_FULL_STATUS = frozenset({507})
_AWAY_CODES = frozenset(
    {
        *("RequestTimeout", "IncompleteBody", "BadDigest", "SlowDown", "Throttling", "ThrottlingException"),
        *("RequestLimitExceeded", "InternalError", "ServiceUnavailable", "XAmzContentSHA256Mismatch"),
    }
)
_REFUSED_CODES = frozenset(
    {
        *("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"),
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),
        *(
            "UnauthorizedSSOTokenError",
            "SSOTokenLoadError",
            "NoAuthTokenError",
            "RefreshError",
            "DefaultCredentialsError",
            "ClientAuthenticationError",
            "CredentialUnavailableError",
            "AzureSigningError",
        ),
    }
)
_UNREACHABLE_CODES = frozenset(
    {
        *("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "gaierror"),
        *("ClientConnectorError", "ClientConnectorDNSError", "ServiceRequestError", "ConnectionRefusedError"),
        *(
            "ConnectionError",
            "ConnectTimeout",
            "ServiceRequestTimeoutError",
        ),  # exceptions of requests and of Azure's client
    }
)
_PERMANENT_CODES = frozenset(
    {
        *("ParamValidationError", "ProfileNotFound", "NoRegionError", "InvalidRegionError", "ConfigParseError"),
        *("ConfigNotFound", "NoSuchBucket", "UnknownServiceError", "InvalidBucketName"),
        *("ValueError", "TypeError", "KeyError", "AttributeError", "AssertionError", "ImportError"),
    }
)
_CLIENT_MODULES = ("aiohttp", "botocore", "aiobotocore", "azure", "google", "requests", "urllib3")


class OutageTooLong(StoreError):  # noqa: N818 -- an outage, not a user error
    """The storage was unavailable for longer than the limit."""


def kind_of(error: BaseException, *, of_storage: bool = True) -> Kind | None:
    """Return the kind of outage that caused an error; None if waiting does not help.

    Parameters
    ----------
    of_storage : whether a store operation raised the error. For any other operation, only a full disk, disk errors, and
        storage errors that the store has explained count as outages.
    """
    for each in _causes(error):
        if isinstance(each, OutageTooLong):
            return None
        of_storage = of_storage or isinstance(each, StoreError)
        if (kind := _kind_of_one(each, of_storage=of_storage)) is not None:
            return kind
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the original cause last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _kind_of_one(error: BaseException, *, of_storage: bool) -> Kind | None:
    status, code = object_store.answer_of(error)
    if code or status:
        return _kind_of_answer(status, code)
    if isinstance(error, OSError) and error.errno:
        return _kind_of_number(error.errno, of_storage=of_storage)
    if not of_storage:
        return None
    if type(error).__module__.partition(".")[0] in _CLIENT_MODULES:
        return _kind_of_answer(0, type(error).__name__)
    return "away" if isinstance(error, (TimeoutError, ConnectionError)) else None


def _kind_of_number(number: int, *, of_storage: bool) -> Kind | None:
    if number in _FULL:
        return "full"
    if number in (_AWAY if of_storage else _OF_THE_DISK):
        return "unreachable" if number == errno.ECONNREFUSED else "away"
    return "refused" if of_storage and number in _REFUSED else None


def _kind_of_answer(status: int, code: str) -> Kind | None:
    if code in _PERMANENT_CODES:
        return None
    if code in _REFUSED_CODES or status in _REFUSED_STATUS:
        return "refused"
    if status in _FULL_STATUS:
        return "full"
    if code in _UNREACHABLE_CODES:
        return "unreachable"
    return "away" if not status or status in _AWAY_STATUS or code in _AWAY_CODES else None


@dataclass(frozen=True)
class Outage:
    """A current outage.

    Attributes
    ----------
    kind : kind of the last error.
    reason : the last error in words.
    since : time of the first error, on the clock of `Outages`.
    at_start : whether the storage has never been used successfully.
    of_writes : whether a write has failed; in that case, the outage lasts until a write succeeds.
    """

    kind: Kind
    reason: str
    since: float
    at_start: bool
    of_writes: bool


class Outages:
    """Waits for a study's storage, and reports outages. Threads can share an instance.

    Parameters
    ----------
    limit_s : maximum duration of an outage in seconds; 0 means no waiting.
    worked : whether the storage is known to be usable for reading and writing.
    notify : called with one line when an outage begins, every `NOTICE_INTERVAL_S` seconds, and when it ends.
    interrupted : called every half second while waiting; once it returns true, waiting ends with the storage's error.
    clock, sleep : a function that returns monotonic seconds, and a function that waits for a number of seconds.
    """

    def __init__(
        self,
        limit_s: float = 0.0,
        *,
        worked: bool = False,
        notify: Callable[[str], None] | None = None,
        interrupted: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit_s, self.notify, self.interrupted = limit_s, notify, interrupted
        self._worked = self._wrote = worked
        self._clock, self._sleep = clock, sleep
        self._lock = threading.RLock()
        self._current: Outage | None = None
        self._told, self._is_told = 0.0, False
        self._ended = self._renewed = float("-inf")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Outages, (self.limit_s,))

    @property
    def current(self) -> Outage | None:
        """The current outage, or None."""
        return self._current

    @property
    def seconds(self) -> float:
        """Seconds that the current outage has lasted; 0 if there is none."""
        outage = self._current
        return 0.0 if outage is None else self._clock() - outage.since

    @property
    def is_too_long(self) -> bool:
        """Whether the current outage has exceeded its limit."""
        outage = self._current
        return bool(self.limit_s) and outage is not None and self.seconds >= self._limit_of(outage)

    @contextmanager
    def reporting(
        self, notify: Callable[[str], None] | None, interrupted: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Within the block, call these callbacks instead of the usual ones."""
        before = self.notify, self.interrupted
        self.notify, self.interrupted = notify, interrupted or self.interrupted
        try:
            yield
        finally:
            self.notify, self.interrupted = before

    def passes(self, error: BaseException, *, of_storage: bool = True, writes: bool = False) -> bool:
        """Return whether an error is due to an outage that this object would wait out.

        Parameters
        ----------
        of_storage : see `kind_of`.
        writes : whether the operation writes; a folder that was never written to may be read-only.
        """
        kind = kind_of(error, of_storage=of_storage)
        return kind is not None and (kind != "refused" or (self._wrote if writes else self._worked))

    def wait_out(self, act: Callable[[], T], *, writes: bool = False) -> T:
        """Return the result of `act`, which is called again as long as an outage makes it fail.

        Raises
        ------
        OutageTooLong: the outage has lasted longer than the limit.
        Exception: raised by `act`, if waiting does not help or was interrupted.
        """
        delay = _FIRST_DELAY_S
        while True:
            try:
                return self.observe(act, writes=writes)
            except Exception as error:
                if not self.limit_s or not self.passes(error, writes=writes):
                    raise
                self._refuse_too_long(error)
                if not self._wait(delay):
                    raise
            delay = min(2 * delay, _LONGEST_DELAY_S)

    def observe_failure(self, error: Exception) -> None:
        """Record the error of a write that is repeated later."""
        if self.passes(error):
            self._failed(error, writes=True)

    def observe(self, act: Callable[[], T], *, writes: bool = False) -> T:
        """Return the result of `act`, and record whether it shows an outage; exceptions are raised immediately."""
        try:
            result = act()
        except Exception as error:
            if self.passes(error, writes=writes):
                self._failed(error, writes=writes)
            raise
        self._succeeded(writes=writes)
        return result

    def _limit_of(self, outage: Outage) -> float:
        if outage.kind == "unreachable" and outage.at_start:
            return min(START_LIMIT_S, self.limit_s)
        return self.limit_s

    def _refuse_too_long(self, error: BaseException) -> None:
        if self.is_too_long:
            text = f"{text_of(error)}; waited for {duration(self.seconds)} (resources.outage_hours)"
            raise OutageTooLong(text) from error

    def _wait(self, seconds: float) -> bool:
        """Wait up to `seconds`, randomized so that processes do not all retry together; return False if interrupted."""
        end = self._clock() + seconds * random.uniform(2 / 3, 1)  # noqa: S311 -- no secret
        while (left := end - self._clock()) > 0:
            if self.interrupted is not None and self.interrupted():
                return False
            self._sleep(min(_SLICE_S, left))
        return not (self.interrupted is not None and self.interrupted())

    def _failed(self, error: Exception, *, writes: bool) -> None:
        kind, reason = kind_of(error), shortened(text_of(error).partition("\n")[0], _LONGEST_REASON)
        assert kind is not None, "asked before"
        with self._lock:
            now, before = self._clock(), self._current
            if kind == "refused" and now - self._renewed >= _RENEWAL_INTERVAL_S:
                self._renewed = now
                object_store.renew_credentials()
            if before is None:
                self._current = Outage(kind, reason, now, not self._worked, writes)
                self._is_told = False
                if now - self._ended >= _FLAPPING_S:
                    self._tell_begin(self._current)
                return
            self._current = replace(before, kind=kind, reason=reason, of_writes=before.of_writes or writes)
            if not self._is_told:
                if now - before.since >= _FLAPPING_S / 2:
                    self._tell_begin(self._current)
            elif now - self._told >= NOTICE_INTERVAL_S:
                self._tell(
                    f"the storage has been unavailable for {duration(now - before.since)}, still waiting: {reason}"
                )

    def _succeeded(self, *, writes: bool) -> None:
        self._worked, self._wrote = True, self._wrote or writes
        outage = self._current
        if outage is None or (outage.of_writes and not writes):
            return
        with self._lock:
            if self._current is not outage:
                return
            self._current, self._ended = None, self._clock()
            if self._is_told:
                self._tell(f"the storage is available again after {duration(self._ended - outage.since)}; continuing")

    def _tell_begin(self, outage: Outage) -> None:
        if not self.limit_s:
            return
        self._is_told = True
        self._tell(
            f"the storage is unavailable: {outage.reason}. Waiting for up to {duration(self._limit_of(outage))} "
            "(resources.outage_hours); runs continue, and results that they cannot store now are stored later"
        )

    def _tell(self, text: str) -> None:
        self._told = self._clock()
        if self.notify is not None:
            self.notify(text)
