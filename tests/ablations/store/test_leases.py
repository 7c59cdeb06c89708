"""Leases: which process holds a run in object storage, and how a process learns that it has lost the run."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from ablations.store import Fenced, ResultStore, Terms, leases
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.paths import place

from .conftest import Start
from .sample import identity, make_record, rows_in

RUN = identity(1)
TERM = 4.0


@pytest.fixture
def remote(any_remote: str) -> str:
    """Return a folder in each kind of object storage."""
    return any_remote


class Clock:
    """A clock that advances only when its `sleep` is called."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store_of(remote: str, monkeypatch) -> Callable[..., ResultStore]:
    """Return a function that opens the same study with a given clock; leases are renewed only by explicit calls."""
    monkeypatch.setattr(leases.Lease, "_keep", lambda lease: None)
    return lambda clock: ResultStore(remote, Terms(60.0, clock, clock.sleep))


@pytest.fixture
def old(monkeypatch) -> None:
    """Make every object look as old as possible; its age must not matter."""
    look_old(monkeypatch, lambda tag: True)


def look_old(monkeypatch: pytest.MonkeyPatch, chosen: Callable[[str], bool]) -> None:
    """Make the objects with selected ETags look old; the storage reports the true age of the others."""
    head = object_store.head

    def aged(address: object_store.Address) -> object_store.Version | None:
        found = head(address)
        return object_store.Version(found.tag, 1e6, found.writer) if found and chosen(found.tag) else found

    monkeypatch.setattr(leases.object_store, "head", aged)


def document(remote: str) -> dict:
    return json.loads((place(remote) / "leases" / RUN).read_bytes())


def test_a_lease_identifies_its_holder(remote: str) -> None:
    store = ResultStore(remote)
    with store.lock_run(RUN) as lock:
        found = document(remote)
        assert found["token"] == lock.token
        assert found["holder"] == store.holder(RUN)
        assert f" process {os.getpid()} since " in found["holder"]
        assert not found["released"]
    assert document(remote)["released"]


def test_a_lease_that_does_not_change_for_a_term_is_taken_over(store_of, clock: Clock, old) -> None:
    first = store_of(clock).lock_run(RUN)
    assert not first.lost
    second = store_of(clock).lock_run(RUN)
    assert clock.now > 1000 + 60
    assert first.lost
    assert not second.lost
    with pytest.raises(Fenced, match=f"run {RUN}: this process lost its lock"):
        first.confirm()
    first.release()
    assert not second.lost
    second.confirm()


def test_a_lease_that_is_renewed_is_not_taken_over(store_of, clock: Clock, old, remote: str) -> None:
    """Only changes to a lease count, no matter how old the lease seems."""
    first, watching = store_of(clock).lock_run(RUN), Clock()

    def sleep(seconds: float) -> None:
        watching.sleep(seconds)
        clock.sleep(seconds)
        if watching.now > 1050:
            first.renew()

    other = ResultStore(remote, Terms(60.0, watching, sleep))
    assert other.lock_run(RUN) is None
    assert watching.now < 1000 + 60
    assert not first.lost


def test_the_holders_term_applies(store_of, clock: Clock, old, remote: str) -> None:
    first = ResultStore(remote, Terms(300.0, clock, clock.sleep)).lock_run(RUN)
    assert document(remote)["term"] == 300
    second = store_of(clock).lock_run(RUN)
    assert clock.now > 1000 + 300
    assert first.lost
    assert not second.lost


def test_a_recent_lease_is_not_watched(store_of, clock: Clock) -> None:
    first = store_of(clock).lock_run(RUN)
    assert store_of(clock).lock_run(RUN) is None
    assert clock.now == 1000
    assert not first.lost


def test_wall_clocks_have_no_effect_on_leases(store_of, clock: Clock, monkeypatch) -> None:
    store = store_of(clock)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 0.0)
        first = store.lock_run(RUN)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not first.lost
    assert store_of(clock).lock_run(RUN) is None
    first.confirm()


def test_an_overdue_lock_is_lost_before_another_process_may_take_it(store_of, clock: Clock, old) -> None:
    first = store_of(clock).lock_run(RUN)
    watcher = store_of(clock)
    assert watcher.holder(RUN)
    clock.sleep(60)
    assert first.lost
    assert watcher.holder(RUN), "a watcher waits slightly longer than a term"
    clock.sleep(7)
    assert watcher.holder(RUN) is None
    first.confirm()  # no other process took it
    assert not first.lost
    assert watcher.holder(RUN)


def test_a_lock_is_lost_after_a_term_without_an_answer_from_the_storage(store_of, clock: Clock, monkeypatch) -> None:
    store = store_of(clock)
    lock = store.lock_run(RUN)

    def unreachable(*arguments: object, **options: object) -> None:
        raise StoreError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(object_store, "put", unreachable)
        clock.sleep(59)
        with pytest.raises(StoreError, match="no route"):
            lock.confirm()
        assert not lock.lost
        clock.sleep(1)
        assert lock.lost
        lock.release()  # prints nothing: the lease expires by itself


def test_the_holder_of_a_lost_lock_cannot_write(store_of, clock: Clock, old, remote: str) -> None:
    zombie, successor = store_of(clock), store_of(clock)
    first = zombie.lock_run(RUN)
    (zombie.checkpoint_directory(RUN) / "checkpoint.pt").write_text("zombie, before")
    zombie.keep_checkpoint(RUN, first)
    second = successor.lock_run(RUN)
    found = successor.checkpoint_directory(RUN) / "checkpoint.pt"
    assert found.read_text() == "zombie, before"
    found.write_text("successor")
    successor.keep_checkpoint(RUN, second)
    (zombie.checkpoint_directory(RUN) / "checkpoint.pt").write_text("zombie, after")
    for act in (
        lambda: zombie.keep_checkpoint(RUN, first),
        lambda: zombie.commit(make_record(RUN, host="zombie"), first),
    ):
        with pytest.raises(Fenced):
            act()
    assert (place(remote) / "checkpoints" / RUN / "checkpoint.pt").read_text() == "successor"
    assert successor.settled() == set()
    assert successor.commit(make_record(RUN, host="successor"), second)
    assert rows_in(remote) == {RUN: "successor"}


def test_a_zombie_that_wakes_during_an_upload_is_fenced_by_the_storage(store_of, clock: Clock, old, remote) -> None:
    """The process confirms its lock, is stopped, and continues after another process has taken over the run."""
    zombie, successor = store_of(clock), store_of(clock)
    first = zombie.lock_run(RUN)
    (zombie.checkpoint_directory(RUN) / "checkpoint.pt").write_text("zombie")
    confirm = first.confirm

    def stopped() -> None:
        confirm()
        second = successor.lock_run(RUN)
        (successor.checkpoint_directory(RUN) / "checkpoint.pt").write_text("successor")
        successor.keep_checkpoint(RUN, second)
        first.confirm = confirm

    first.confirm = stopped
    with pytest.raises(Fenced):
        zombie.keep_checkpoint(RUN, first)
    assert (place(remote) / "checkpoints" / RUN / "checkpoint.pt").read_text() == "successor"


def test_a_process_that_reacquires_a_run_continues_from_the_checkpoint_of_the_holder_in_between(
    store_of, clock: Clock, old
) -> None:
    """The process's own copy is older, so the run would otherwise lose the other process's work."""
    store, other = store_of(clock), store_of(clock)
    lock = store.lock_run(RUN)
    (store.checkpoint_directory(RUN) / "checkpoint.pt").write_text("step 1")
    store.keep_checkpoint(RUN, lock)
    lock.release()
    with store.lock_run(RUN):
        assert (store.checkpoint_directory(RUN) / "checkpoint.pt").read_text() == "step 1", "no other process has saved"
    with other.lock_run(RUN) as between:
        (other.checkpoint_directory(RUN) / "checkpoint.pt").write_text("step 5")
        other.keep_checkpoint(RUN, between)
    with store.lock_run(RUN) as again:
        assert (store.checkpoint_directory(RUN) / "checkpoint.pt").read_text() == "step 5"
        (store.checkpoint_directory(RUN) / "checkpoint.pt").write_text("step 6")
        store.keep_checkpoint(RUN, again)
    with other.lock_run(RUN):
        other.discard_checkpoint(RUN)
    with store.lock_run(RUN):
        assert list(store.checkpoint_directory(RUN).iterdir()) == [], "the checkpoint was discarded"


def test_a_successor_replaces_a_late_write_of_a_zombie(store_of, clock: Clock, old, remote: str) -> None:
    store = store_of(clock)
    lock = store.lock_run(RUN)
    folder = store.checkpoint_directory(RUN)
    object_store.put(place(remote) / "checkpoints" / RUN / "checkpoint.pt", b"zombie")
    (folder / "checkpoint.pt").write_text("successor")
    store.keep_checkpoint(RUN, lock)
    assert (place(remote) / "checkpoints" / RUN / "checkpoint.pt").read_text() == "successor"


def test_exactly_one_of_many_processes_acquires_an_abandoned_lease(
    store_of, clock: Clock, remote: str, monkeypatch
) -> None:
    """No thread sleeps, so no clock advances: the winner's lease is recent, so late processes are refused."""
    first = store_of(clock).lock_run(RUN)
    forsaken = object_store.head(place(remote) / "leases" / RUN).tag
    look_old(monkeypatch, lambda tag: tag == forsaken)
    stores = [store_of(clock) for _ in range(4)]
    assert all(store.holder(RUN) for store in stores)
    clock.sleep(100)
    got, barrier = [], threading.Barrier(4)

    def attempt(store: ResultStore) -> None:
        barrier.wait()
        got.append(store.lock_run(RUN))

    threads = [threading.Thread(target=attempt, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got.append(store_of(clock).lock_run(RUN))
    assert len(got) == 5
    assert len([lock for lock in got if lock is not None]) == 1
    assert clock.now == 1100
    with pytest.raises(Fenced):
        first.confirm()


def test_observed_leases_are_not_sent_to_workers(store_of, clock: Clock, old) -> None:
    """Observation times refer to this machine's clock, which is unrelated to the clocks of other machines."""
    store_of(clock).lock_run(RUN)
    store = store_of(clock)
    store.holder(RUN)
    clock.sleep(100)
    monotonic = Clock()
    store._folder._terms = Terms(60.0)
    there = pickle.loads(pickle.dumps(store))
    there._folder._leases._terms = Terms(60.0, monotonic, monotonic.sleep)
    assert there.holder(RUN)


def test_a_lease_renews_itself(remote: str) -> None:
    """On a busy machine, the lease may be temporarily overdue; the next renewal makes it valid again."""
    store = ResultStore(remote, Terms(0.6))
    deadline = time.monotonic() + 60
    with store.lock_run(RUN) as lock:
        while document(remote)["renewals"] < 3 or lock.lost:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    while f"lease {RUN}" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_forked_child_has_no_lock(remote_of_processes: str) -> None:
    lock = ResultStore(remote_of_processes).lock_run(RUN)
    child = os.fork()
    if child == 0:
        lost = lock.lost
        lock.release()
        os._exit(0 if lost else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not lock.lost
    lock.confirm()
    lock.release()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"released": false, "holder": "x", "term": 1e300}', b'{"term": NaN}']
)
def test_a_damaged_lease_is_taken_over_after_the_watchers_term(
    remote: str, content: bytes, store_of: Callable[..., ResultStore], old: None
) -> None:
    clock = Clock()
    store = store_of(clock)
    object_store.put(place(remote) / "leases" / RUN, content)
    begun = clock.now
    lock = store.lock_run(RUN)
    assert lock is not None
    assert 60 <= clock.now - begun <= 90
    assert store.holder(RUN) not in (None, "an unknown process: its lease is damaged")
    lock.release()


def test_a_changed_term_in_a_lease_does_not_extend_the_wait(
    remote: str, store_of: Callable[..., ResultStore], old: None
) -> None:
    clock = Clock()
    store = store_of(clock)
    store.lock_run(RUN)
    address = place(remote) / "leases" / RUN
    object_store.put(address, address.read_bytes().replace(b'"term": 60.0', b'"term": 70000.0'))
    begun = clock.now
    assert store_of(clock).lock_run(RUN) is not None
    assert 60 <= clock.now - begun <= 90


def test_old_leases_of_settled_runs_are_removed(remote: str, monkeypatch) -> None:
    store = ResultStore(remote)
    for number in (1, 2):
        store.lock_run(identity(number)).release()
    store.commit(make_record(RUN))
    store.clean()
    assert (place(remote) / "leases" / RUN).exists()
    from ablations.store import bucket_folder as module

    monkeypatch.setattr(module, "_FORGOTTEN_AFTER", -10.0)
    store.clean()
    assert not (place(remote) / "leases" / RUN).exists()
    assert (place(remote) / "leases" / identity(2)).exists()


def tell(process: subprocess.Popen, mark: str) -> str:
    process.stdin.write(f"{mark}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def held(store: ResultStore, patience: float = 30.0) -> object:
    """Lock the run as soon as possible."""
    deadline = time.monotonic() + patience
    while (lock := store.lock_run(RUN)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lock is not None
    return lock


def test_a_killed_holder_is_replaced(remote_of_processes: str, start: Start) -> None:
    store = ResultStore(remote_of_processes, Terms(TERM))
    holder = start("lessee.py", remote_of_processes, RUN, TERM)
    assert store.lock_run(RUN) is None
    assert f" process {holder.pid} " in store.holder(RUN)
    holder.kill()
    holder.wait()
    begun = time.monotonic()
    with held(store) as lock:
        assert time.monotonic() - begun > 0.6 * TERM, "until then, the holder could have been alive"
        assert store.commit(make_record(RUN, host="successor"), lock)


def test_a_holder_that_hung_notices_that_it_is_fenced(remote_of_processes: str, start: Start) -> None:
    store = ResultStore(remote_of_processes, Terms(TERM))
    zombie = start("lessee.py", remote_of_processes, RUN, TERM)
    assert tell(zombie, "before") == "False kept kept"
    store._folder.remove(f"runs/{RUN}.parquet")  # as if the process had only saved a checkpoint
    os.kill(zombie.pid, signal.SIGSTOP)
    with held(store) as lock:
        assert (store.checkpoint_directory(RUN) / "checkpoint.pt").read_text() == "before"
        os.kill(zombie.pid, signal.SIGCONT)
        assert tell(zombie, "after") == "True fenced fenced"
        assert not lock.lost
        assert store.settled() == set()
        assert store.commit(make_record(RUN, host="successor"), lock)
    assert (place(remote_of_processes) / "checkpoints" / RUN / "checkpoint.pt").read_text() == "before"
    assert rows_in(remote_of_processes) == {RUN: "successor"}
