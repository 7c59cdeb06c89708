"""The store waits during outages, and immediately raises errors that waiting cannot resolve."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ablations.store import Fenced, ResultStore, files
from ablations.store.bounded_calls import BoundedCalls
from ablations.store.local_folder import LocalFolder
from ablations.store.outages import NOTICE_INTERVAL_S, START_LIMIT_S, Outages, OutageTooLong, kind_of
from aimlib.errors import StoreError
from aimlib.records import MODELS, TEST_IMAGES
from aimlib.records.checksums import Damaged

from .outage_kinds import FAULTS, Clock, Fault, of_a_server, of_the_system
from .sample import identity, make_record, rows_in
from .test_store import row_of

RUN = identity(1)
LENGTHS = (1.0, 60.0, 600.0, 3600.0)
COMMITTED = ("EIO", "ENOSPC", "EROFS", "ESTALE", "SlowDown", "AccessDenied", "ReadTimeoutError")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"


def explained(error: Exception) -> Exception:
    """Return the error as the store raises it."""
    try:
        with files.explained(Path("x")):
            raise error  # noqa: TRY301 -- that is the point
    except Exception as found:
        return found


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_store_waits_during_every_kind_of_outage(name: str, length: float) -> None:
    clock, said = Clock(), []
    outages = clock.outages(notify=said.append, worked=True)

    def act() -> str:
        if clock.now < length:
            raise explained(FAULTS[name]())
        return "done"

    assert outages.wait_out(act) == "done"
    assert length <= clock.now <= length + 31, "the call is repeated at least every half minute"
    assert outages.current is None
    assert said[0].startswith("the storage is unavailable: ")
    assert "Waiting for up to 12 h (resources.outage_hours)" in said[0]
    assert said[-1].startswith("the storage is available again after ")
    assert abs(len(said) - 2 - length // (NOTICE_INTERVAL_S + 31)) <= 1, "one line per interval"


@pytest.mark.parametrize(
    "error",
    [
        of_a_server(404, "NoSuchBucket")(),
        of_a_server(501, "NotImplemented")(),
        of_a_server(0, "ParamValidationError")(),
        of_a_server(301, "PermanentRedirect")(),
        explained(of_the_system("ELOOP")()),
        explained(of_the_system("ENOTSUP")()),
        StoreError("x: is damaged"),
        Damaged("its checksum"),
        Fenced(RUN),
        ValueError("a bug"),
        KeyError("a bug"),
    ],
    ids=str,
)
def test_errors_that_waiting_cannot_resolve_are_raised_immediately(error: Exception) -> None:
    clock, said = Clock(), []

    def act() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        clock.outages(notify=said.append, worked=True).wait_out(act)
    assert raised.value is error
    assert (clock.now, said) == (0, [])


@pytest.mark.parametrize(
    "name", ["EACCES", "EROFS", "AccessDenied", "InvalidAccessKeyId", "ExpiredToken", "NoCredentialsError", "ENOLCK"]
)
def test_the_store_waits_only_for_storage_that_has_worked_before(name: str) -> None:
    clock, calls = Clock(), []
    outages = clock.outages()

    def refused() -> str:
        calls.append(clock.now)
        if clock.now < 600:
            raise explained(FAULTS[name]())
        return "done"

    with pytest.raises(StoreError):
        outages.wait_out(refused)
    assert calls == [0]
    outages.wait_out(lambda: None)
    assert outages.wait_out(refused) == "done"


def test_the_store_waits_only_briefly_for_an_address_that_never_answered() -> None:
    clock = Clock()
    outages = clock.outages()

    def act() -> None:
        raise FAULTS["EndpointConnectionError"]()

    with pytest.raises(OutageTooLong, match=r"EndpointConnectionError.*waited for 10 min"):
        outages.wait_out(act)
    assert START_LIMIT_S <= clock.now <= START_LIMIT_S + 31
    clock = Clock()
    with pytest.raises(OutageTooLong, match="waited for 12 h"):
        clock.outages(worked=True).wait_out(act)
    assert 12 * 3600 <= clock.now <= 12 * 3600 + 31


def test_the_error_at_the_limit_contains_the_option_and_the_cause_and_later_calls_do_not_wait() -> None:
    clock = Clock()
    outages = clock.outages(0.5, worked=True)

    def act() -> None:
        raise FAULTS["SlowDown"]()

    for _ in range(2):
        with pytest.raises(OutageTooLong, match=r"SlowDown.*waited for 30 min( [0-9]+ s)? \(resources.outage_hours\)"):
            outages.wait_out(act)
        assert clock.now < 1800 + 31, "the second call does not wait again"
    with pytest.raises(OutageTooLong) as nested:
        outages.wait_out(lambda: outages.wait_out(act))
    assert str(nested.value).count("waited for") == 1


def test_without_a_limit_the_store_neither_waits_nor_reports() -> None:
    said: list[str] = []
    outages, calls = Outages(notify=said.append, worked=True), []

    def act() -> None:
        calls.append(1)
        raise FAULTS["EIO"]()

    with pytest.raises(OSError, match="Input/output"):
        outages.wait_out(act)
    assert (len(calls), said) == (1, [])


def test_waiting_ends_when_it_is_interrupted() -> None:
    clock = Clock()
    outages = clock.outages(worked=True, interrupted=lambda: clock.now >= 100)

    def act() -> None:
        raise FAULTS["SlowDown"]()

    with pytest.raises(StoreError, match="SlowDown") as raised:
        outages.wait_out(act)
    assert not isinstance(raised.value, OutageTooLong)
    assert 100 <= clock.now < 101


def test_an_outage_during_a_write_lasts_until_a_write_succeeds() -> None:
    clock = Clock()
    outages = clock.outages(worked=True)
    with pytest.raises(OSError, match="Read-only"):
        outages.observe(lambda: (_ for _ in ()).throw(FAULTS["EROFS"]()), writes=True)
    outages.observe(lambda: None)
    assert outages.current is not None
    assert outages.current.reason == "[Errno 30] Read-only file system"
    outages.observe(lambda: None, writes=True)
    assert outages.current is None


def test_storage_that_fails_every_other_time_does_not_fill_the_log() -> None:
    clock, said = Clock(), []
    outages = clock.outages(worked=True, notify=said.append)
    for number in range(1000):
        clock.sleep(5)
        with pytest.raises(OSError, match="Input/output") if number % 2 else contextmanager(lambda: (yield))():
            outages.observe(FAULTS_AT[number % 2])
    assert len(said) <= 2 * 1000 * 5 / 60


def fail() -> None:
    raise FAULTS["EIO"]()


FAULTS_AT = (lambda: None, fail)


def test_a_waiting_store_can_be_sent_to_another_process_with_its_limit() -> None:
    there = pickle.loads(pickle.dumps(Outages(7.0, notify=print)))
    assert there.limit_s == 7.0
    assert there.notify is None


@pytest.mark.parametrize("cause", [TimeoutError("timed out"), ConnectionResetError(), BrokenPipeError()])
def test_network_errors_count_only_in_the_store(cause: Exception) -> None:
    """A plugin that downloads files may raise network errors as well."""
    error = StoreError("x")
    error.__cause__ = cause
    assert kind_of(error, of_storage=False) == "away"
    assert kind_of(cause, of_storage=False) is None
    assert kind_of(cause) == "away"


def test_disk_errors_count_everywhere() -> None:
    assert kind_of(OSError(errno.EIO, "x"), of_storage=False) == "away"
    assert kind_of(OSError(errno.ENOSPC, "x"), of_storage=False) == "full"
    assert kind_of(OSError(errno.EACCES, "x"), of_storage=False) is None


# The store, with a fault in every operation.


class Faulty:
    """Makes operations fail, before or after they take effect, until the clock reaches the end of the outage."""

    def __init__(self, clock: Clock, fault: Fault, length: float, *, late: bool) -> None:
        self.clock, self.fault, self.end, self.late = clock, fault, clock.now + length, late
        self.failed = 0

    def wrap(self, original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.clock.now >= self.end:
                return original(*arguments, **options)
            self.failed += 1
            if self.late:
                original(*arguments, **options)
            raise explained(self.fault())

        return call


PRIMITIVES = (
    "create_first",
    "settle",
    "settling_ended",
    "replace",
    "read",
    "exists",
    "names",
    "remove",
    "clean",
    "room",
)
OPERATIONS: dict[str, Any] = {
    "commit": lambda store: store.commit(make_record(RUN)),
    "record_failure": lambda store: (
        store.record_failure(make_record(RUN, status="failed")).name == f"{RUN}.000.parquet"
    ),
    "write_plan": lambda store: store.write_plan({"arms": ["a"]}),
    "read_plan": lambda store: store.read_plan() == {"name": "before"},
    "mark": lambda store: len(store.mark()) == 32,
    "settled": lambda store: store.settled() == {identity(0)},
    "is_settled": lambda store: store.is_settled(identity(0)),
    "failures": lambda store: store.failures() == {},
    "compact": lambda store: store.compact(1) == 1,
    "clean": lambda store: store.clean() == [],
    "freeze": lambda store: store.freeze_analysis_plan({"looks": [5]}),
    "models": lambda store: store.write_models([row_of(MODELS)]),
    "images": lambda store: store.write_images(RUN, [row_of(TEST_IMAGES)]),
    "shares": lambda store: store.write_shares({"a": 1}),
    "live": lambda store: store.write_live("0" * 12, {"beat": 1}),
    "sessions": lambda store: store.live() == [],
    "stop": lambda store: store.request_stop("0" * 12),
    "stopped": lambda store: store.stop_requested("0" * 12),
    "measurements": lambda store: store.keep_measurements({"a": 1}),
    "log": lambda store: store.write_log(RUN, "{}\n"),
    "room": lambda store: store.room() > 0,
}


@pytest.mark.parametrize("late", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_waits_and_is_performed_once(
    operation: str, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = ResultStore(tmp_path / "study", outages=clock.outages())
    store.write_plan({"name": "before"})
    store.commit(make_record(identity(0)))
    faulty = Faulty(clock, FAULTS["ESTALE"], 3600.0, late=late)
    for name in PRIMITIVES:
        monkeypatch.setattr(LocalFolder, name, faulty.wrap(getattr(LocalFolder, name)))
    done = OPERATIONS[operation](store)
    assert done not in (False,) or operation in ("stopped",) or (operation == "compact" and late)
    assert faulty.failed > 1
    assert clock.now >= 3600
    monkeypatch.undo()
    found = ResultStore(tmp_path / "study")
    assert found.settled() >= {identity(0)}
    assert sum(found.failures().values()) == (operation == "record_failure")
    assert len(rows_in(store.directory)) == len(found.settled())
    assert len(list((store.directory / "plans").iterdir())) == (2 if operation == "write_plan" else 1)


@pytest.mark.parametrize("late", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("name", COMMITTED)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_commit_counts_once_whatever_the_storage_answers(
    name: str, length: float, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = ResultStore(tmp_path / "study", outages=clock.outages())
    faulty = Faulty(clock, FAULTS[name], length, late=late)
    monkeypatch.setattr(LocalFolder, "settle", faulty.wrap(LocalFolder.settle))
    with store.lock_run(RUN) as lock:
        assert store.commit(make_record(RUN, host="mine"), lock), "even if the first answer was lost"
    assert not store.commit(make_record(RUN, host="another"))
    assert rows_in(store.directory) == {RUN: "mine"}


def test_the_documentation_contains_the_numbers_from_these_tests() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    lasting = "lasting 1 s, 1 min, 10 min and 1 h"
    assert f"The tests cover {len(FAULTS)} kinds of errors {lasting} on a simulated clock" in text
    assert f"an outage of an hour at each of {len(OPERATIONS)} operations of the store" in text
    assert f"for {len(COMMITTED)} kinds, commits in both ways" in text
    assert LENGTHS == (1.0, 60.0, 600.0, 3600.0)


def test_a_store_that_does_not_wait_reports_the_outage_to_the_store_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = ResultStore(tmp_path / "study", outages=clock.outages())
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "replace", Faulty(clock, FAULTS["EIO"], 60, late=False).wrap(LocalFolder.replace))
        with pytest.raises(StoreError, match="Input/output error"):
            store.at_once().write_live("0" * 12, {})
    assert clock.now == 0
    assert store.outages.current is not None
    store.write_live("0" * 12, {})
    assert store.outages.current is None


def test_an_unmounted_folder_is_not_an_empty_study(tmp_path: Path) -> None:
    clock, there, away = Clock(), tmp_path / "mount", tmp_path / "elsewhere"
    store = ResultStore(there / "study", outages=clock.outages())
    store.commit(make_record(RUN))
    (there / "study").rename(away)
    with pytest.raises(StoreError, match="No such file or directory"):
        store.at_once().settled()
    mounted = lambda: clock.now >= 600 and not (there / "study").exists() and away.rename(there / "study")  # noqa: E731
    store.outages.interrupted = lambda: bool(mounted()) and False
    assert store.settled() == {RUN}
    assert clock.now >= 600


def test_the_store_does_not_wait_for_a_hanging_call_twice() -> None:
    hang, calls = threading.Event(), BoundedCalls(0.05, "/mnt/study")
    with pytest.raises(StoreError, match=r"/mnt/study: the storage has not answered within 0\.05 s") as raised:
        calls(hang.wait)
    assert kind_of(raised.value) == "away"
    with pytest.raises(StoreError, match="has not answered"):
        calls(lambda: 1)
    hang.set()
    while threading.active_count() > 1 and any(thread.name == "storage" for thread in threading.enumerate()):
        pass
    assert calls(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        calls(lambda: 1 / 0)


# Locks in a directory.


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Return a set of descriptors that have become stale."""
    known: set[int] = set()
    pread, fstat = os.pread, os.fstat

    def check(handle: int) -> None:
        if handle in known:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "pread", lambda handle, *rest: check(handle) or pread(handle, *rest))
    monkeypatch.setattr(os, "fstat", lambda handle: check(handle) or fstat(handle))
    yield known
    known.clear()


def test_a_lock_whose_handle_is_stale_is_reacquired(tmp_path: Path, stale: set[int]) -> None:
    store = ResultStore(tmp_path / "study")
    lock: Any = store.lock_run(RUN)
    before = lock._lock._handle
    os.close(before)  # the server has restarted: the lock no longer exists
    lock._lock._handle = os.open(tmp_path / "study" / "locks" / f"{RUN}.lock", os.O_RDWR)
    stale.add(lock._lock._handle)
    assert lock.lost
    assert not lock.taken, "this process may still hold the lock"
    lock.confirm()
    stale.clear()  # the number of the closed handle is reused for other files
    assert not lock.lost
    assert ResultStore(tmp_path / "study").lock_run(RUN) is None, "the lock is held again"
    assert store.commit(make_record(RUN), lock)


def test_a_lock_that_another_process_has_held_meanwhile_is_not_reacquired(tmp_path: Path, stale: set[int]) -> None:
    store = ResultStore(tmp_path / "study")
    lock: Any = store.lock_run(RUN)
    os.close(lock._lock._handle)
    lock._lock._handle = os.open(tmp_path / "study" / "locks" / f"{RUN}.lock", os.O_RDWR)
    other = ResultStore(tmp_path / "study").lock_run(RUN)
    assert other is not None
    other.release()
    stale.add(lock._lock._handle)
    with pytest.raises(Fenced):
        store.commit(make_record(RUN), lock)
    assert store.settled() == set()


class Answer(Exception):
    """The error that an object storage client raises for a response with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": str(status)}}


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 598, 599])
def test_the_store_waits_after_answers_from_a_busy_server_or_its_proxy(status: int) -> None:
    assert kind_of(Answer(status)) == "away"


@pytest.mark.parametrize(("status", "kind"), [(401, "refused"), (403, "refused"), (407, "refused"), (507, "full")])
def test_answers_from_a_server_that_refuses_access_and_from_a_full_server_are_distinguished(
    status: int, kind: str
) -> None:
    assert kind_of(Answer(status)) == kind


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 412, 416, 501, 505, 525])
def test_the_store_does_not_wait_after_permanent_answers(status: int) -> None:
    assert kind_of(Answer(status)) is None


def test_an_outage_lasts_from_its_first_error_until_it_ends() -> None:
    clock = Clock()
    outages = clock.outages()
    assert outages.seconds == 0
    outages.observe_failure(ConnectionError("away"))
    clock.sleep(40)
    outages.observe_failure(ConnectionError("still away"))
    clock.sleep(2)
    assert outages.seconds == 42
    outages.observe(lambda: None, writes=True)
    assert outages.seconds == 0
