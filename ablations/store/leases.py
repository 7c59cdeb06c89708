"""Leases: locks on runs in object storage, which has no locks of its own and does not notice when a holder dies.

A lease is an object that contains a token, the holder, the term and a number that grows with every renewal. A lease is
acquired by a conditional put (`If-None-Match`). It is renewed, taken over and released by replacing exactly the version
that was seen (`If-Match` on its ETag), so exactly one of two competing processes succeeds. A daemon thread renews the
lease every third of its term.

Expiry is never decided by comparing timestamps from two machines, because a wall clock may jump. A process that tries
to acquire the lease watches the object, using its own monotonic clock. It takes the lease over if the object has not
changed for longer than a term. The holder counts its term from the start of its last successful renewal, on its own
monotonic clock, so it gives up before a watcher takes over. The clock continues while a machine sleeps
(`CLOCK_BOOTTIME`). If a process is suspended during a request and loses its lease meanwhile, its conditional put fails.

The age of the object, measured only by the storage's clock, decides whether watching is worthwhile: a lease that was
written less than a term ago is alive, and an attempt to acquire it fails immediately.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from ablations.store.run_locks import Fenced, signature
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.object_store import Address
from aimlib.records.checksums import DOCUMENT_KEY, document_checksum, document_is_intact

T = TypeVar("T")

_MARGIN = 1.1
"""Number of terms that a watcher waits. More than one term is necessary, because clocks run at different rates and a
holder needs time between checking and acting."""

_RENEWALS = 3
"""Number of consecutive late answers to renewals after which a lease counts as not confirmed."""

_LONGEST = 24 * 3600.0
"""Maximum term, in seconds, that is accepted from a lease."""


def since_boot() -> float:
    """Return seconds on a clock that never jumps and continues while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


@dataclass(frozen=True)
class Terms:
    """Times that determine when leases are kept or taken over.

    Attributes
    ----------
    term : seconds without renewal after which a lease of this process may be taken over; the term is written to the
        lease.
    clock : returns seconds; must never jump.
    sleep : waits the given number of seconds while a lease is being watched.
    """

    term: float = 60.0
    clock: Callable[[], float] = since_boot
    sleep: Callable[[float], None] = time.sleep


class Lease:
    """A lease that this process holds. See `ablations.store.run_locks.RunLock`.

    Parameters
    ----------
    tag : ETag of the object as written by this process.
    since : start of the request that wrote the object, on the clock of `terms`.
    """

    def __init__(self, run_id: str, address: Address, content: dict[str, Any], tag: str, since: float, terms: Terms):
        self.run_id, self.token = run_id, str(content["token"])
        self._address, self._content, self._tag, self._terms = address, content, tag, terms
        self._renewed = since
        self._taken = False
        self._ended = threading.Event()
        self._process = os.getpid()
        self._one_at_a_time = threading.Lock()
        threading.Thread(target=self._keep, name=f"lease {run_id}", daemon=True).start()

    @property
    def lost(self) -> bool:
        """Whether the lease was released or taken over, or has not been renewed for a term.

        An overdue lease that no other process has taken becomes valid again with the next successful renewal.
        """
        return self.taken or self._is_overdue

    @property
    def taken(self) -> bool:
        """Whether the lease was released or is known to have been taken over; an overdue lease may be neither."""
        return self._taken or self._ended.is_set() or os.getpid() != self._process

    @property
    def _is_overdue(self) -> bool:
        return self._terms.clock() - self._renewed >= self._terms.term

    def renew(self) -> None:
        """Rewrite the lease; mark it as lost if another process has written it.

        Raises
        ------
        StoreError: the storage does not answer; the lease is valid until its term is over.
        """
        if os.getpid() != self._process:  # forked: the lock may be held by a thread that does not exist in this process
            return
        with self._one_at_a_time:
            if self._taken or self._ended.is_set():
                return
            begun = self._terms.clock()
            self._content["renewals"] += 1
            tag = object_store.put(self._address, _encoded(self._content, self._terms.term), match=self._tag)
            if tag is None:
                self._taken = True
            else:
                self._tag, self._renewed = tag, begun

    def confirm(self) -> None:
        """Renew the lease, so that no other process can take it for a term; Fenced if another process has taken it.

        Raises
        ------
        StoreError: the storage does not answer, or takes longer to answer than the lease is valid.
        """
        for _ in range(_RENEWALS):
            self.renew()
            if self.taken:
                raise Fenced(self.run_id)
            if not self._is_overdue:
                return
        raise StoreError(
            f"{self._address}: cannot be renewed: the storage takes longer than {self._terms.term:.0f} s to answer; "
            f"check the storage and run again"
        ) from TimeoutError()

    def release(self) -> None:
        """Release the run; leave a lost lease to its current holder."""
        if os.getpid() != self._process:
            return
        with self._one_at_a_time:
            if not self._taken and not self._ended.is_set():
                self._content["released"] = True
                with suppress(StoreError):  # the lease then expires
                    object_store.put(self._address, _encoded(self._content, self._terms.term), match=self._tag)
            self._ended.set()

    def _keep(self) -> None:
        pause = self._terms.term / 3
        while not self._ended.wait(pause) and not self._taken:
            try:
                self.renew()
                pause = self._terms.term / 3
            except Exception:  # noqa: BLE001 -- `lost` reports when it has lasted too long; this thread must not end
                pause = self._terms.term / 12

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Leases:
    """The leases of a study, as one process sees them."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._seen: dict[Address, tuple[str, float]] = {}
        self._unanswered: dict[Address, dict[str, Any]] = {}
        """Leases whose acquisition failed; the storage may have written a lease although its answer was lost."""

    def acquire(self, run_id: str, address: Address) -> Lease | None:
        """Return the lease on a run, or None while another process holds it.

        If the object seems abandoned, this call watches it for a term first.

        Raises
        ------
        StoreError: the storage does not answer; repeating the call later acquires the lease, even if the storage has
            already written it.
        """
        new = {"run": run_id, "token": uuid.uuid4().hex, "holder": signature(), "renewals": 0, "released": False}
        content = self._unanswered.pop(address, new)
        try:
            return self._acquire(run_id, address, content)
        except StoreError:
            self._unanswered[address] = content
            raise

    def _acquire(self, run_id: str, address: Address, content: dict[str, Any]) -> Lease | None:
        begun = self._terms.clock()
        tag = object_store.put(address, _encoded(content, self._terms.term), create=True)
        if tag is None:
            free = self._free(address, str(content["token"]))
            if free is None:
                return None
            begun = self._terms.clock()
            tag = object_store.put(address, _encoded(content, self._terms.term), match=free)
        return None if tag is None else Lease(run_id, address, content, tag, begun, self._terms)

    def holder(self, address: Address) -> str | None:
        """Return the holder's text; None if no process holds the lease, or the lease has not changed for a term."""
        try:
            content, tag = self._watched(lambda: object_store.get(address))
        except FileNotFoundError:
            return None
        released, holder, term = _decoded(content, self._terms.term)
        return None if released or self._unchanged_for(address, tag) >= term * _MARGIN else holder

    def _free(self, address: Address, own: str) -> str | None:
        """Return the ETag of a lease that may be replaced; None while the lease is held.

        Parameters
        ----------
        own : token of this process's own attempt, whose answer may have been lost.
        """
        try:
            content, tag = self._watched(lambda: object_store.get(address))
        except FileNotFoundError:
            return None  # just removed; the caller may ask again
        released, _, term = _decoded(content, self._terms.term)
        if released or _token(content) == own:
            return tag
        while self._unchanged_for(address, tag) < term * _MARGIN:
            there = self._watched(lambda: object_store.head(address))
            if there is None or there.tag != tag or there.age < term:
                return None
            self._terms.sleep(term / 10)
        return tag

    def _watched(self, ask: Callable[[], T]) -> T:
        """Return the storage's answer; if it does not answer, watching starts again.

        During an outage, no holder can renew its lease, so an unchanged lease does not prove that its holder died.
        """
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception:
            self._seen.clear()
            raise

    def _unchanged_for(self, address: Address, tag: str) -> float:
        """Return how many seconds this process has seen the object with this ETag."""
        now = self._terms.clock()
        known, since = self._seen.get(address, ("", now))
        if known != tag:
            since = now
            self._seen[address] = (tag, since)
        return now - since


def _encoded(content: dict[str, Any], term: float) -> bytes:
    expires = datetime.now(UTC) + timedelta(seconds=term)  # for people only: no program reads it
    document = {**content, "term": term, "expires": expires.isoformat(timespec="seconds")}
    return json.dumps({**document, DOCUMENT_KEY: document_checksum(document)}, indent=1).encode()


def _token(content: bytes) -> str:
    """Return the token in a lease; empty if it is damaged."""
    try:
        return str(json.loads(content)["token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _decoded(content: bytes, term: float) -> tuple[bool, str, float]:
    """Return whether a lease was released, who holds it, and its term.

    A damaged lease counts as held for the reader's own `term`, because a holder that is alive renews its lease within
    that time.
    """
    try:
        document = json.loads(content)
        if document_is_intact(document) is not False and 0 < float(document["term"]) <= _LONGEST:
            return bool(document["released"]), str(document["holder"]), float(document["term"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return False, "an unknown process: its lease is damaged", term
