from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from ablations.store import Fenced, ResultStore
from ablations.store.file_locks import FileLock

from .conftest import Start
from .sample import identity, make_record

RUN = identity(1)


def test_a_lock_excludes_other_holders_until_it_is_released(store: ResultStore) -> None:
    with store.lock_run(RUN) as lock:
        assert lock.run_id == RUN
        assert store.lock_run(RUN) is None
        assert ResultStore(store.directory).lock_run(RUN) is None
        assert store.lock_run(identity(2)) is not None
    lock.release()
    again = store.lock_run(RUN)
    assert again is not None
    again.release()


def test_a_lock_is_released_after_an_error(store: ResultStore) -> None:
    with pytest.raises(ZeroDivisionError), store.lock_run(RUN):
        _ = 1 / 0
    assert store.lock_run(RUN) is not None


def test_a_lock_survives_partial_reads_and_writes_of_its_file(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX allows partial reads and writes.

    In earlier versions, a lock whose token was only partly read counted as lost, and the run was abandoned.
    """
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda handle, size, at: pread(handle, min(size, 5), at))
    monkeypatch.setattr(os, "pwrite", lambda handle, content, at: pwrite(handle, content[:7], at))
    with store.lock_run(RUN) as lock:
        lock.confirm()
        assert not lock.lost
        assert store.holder(RUN).startswith(f"{socket.gethostname()} process {os.getpid()} since ")
        assert store.commit(make_record(RUN), lock)


def test_holder_returns_the_process_that_holds_the_lock(store: ResultStore) -> None:
    assert store.holder(RUN) is None
    with store.lock_run(RUN):
        assert store.holder(RUN).startswith(f"{socket.gethostname()} process {os.getpid()} since ")
    assert store.holder(RUN) is None


def test_asking_for_the_holder_does_not_make_locking_fail(store: ResultStore) -> None:
    store.lock_run(RUN).release()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            store.holder(RUN)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    failed = 0
    for _ in range(200):
        lock = store.lock_run(RUN)
        failed += lock is None
        if lock:
            lock.release()
    done.set()
    for thread in threads:
        thread.join()
    assert failed == 0


def test_a_lock_ends_with_its_process(tmp_path: Path, start: Start) -> None:
    store = ResultStore(tmp_path)
    process = start("lock_holder.py", tmp_path, "alone", RUN)
    assert store.lock_run(RUN) is None
    assert f"process {process.pid} " in store.holder(RUN)
    process.kill()
    process.wait()
    assert store.holder(RUN) is None
    with store.lock_run(RUN):
        assert f"process {os.getpid()} " in store.holder(RUN)


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path: Path, start: Start) -> None:
    """A data loader's workers outlive a killed parent process for a while."""
    store = ResultStore(tmp_path)
    process = start("lock_holder.py", tmp_path, "fork", RUN)
    child = int(process.stdout.readline())
    assert store.lock_run(RUN) is None, "the child closed its copy without unlocking"
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while (lock := store.lock_run(RUN)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert lock is not None


def test_two_drivers_share_the_work(tmp_path: Path, start: Start) -> None:
    ids = [identity(number) for number in range(10)]
    drivers = [start("lock_holder.py", tmp_path, "alone", *ids) for _ in range(2)]
    assert sorted(int(driver.stdout.readline()) for driver in drivers) == [0, 10]
    assert {ResultStore(tmp_path).lock_run(run_id) for run_id in ids} == {None}


def test_a_lock_whose_holder_cannot_be_written_is_not_held(store: ResultStore, monkeypatch) -> None:
    def full(lock: FileLock, text: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "sign", full)
        with pytest.raises(OSError, match="No space"):
            store.lock_run(RUN)
    assert store.lock_run(RUN) is not None


@pytest.mark.parametrize("how", ["removed", "replaced", "signed by another", "closed"])
def test_a_lock_whose_file_was_removed_is_lost(store: ResultStore, how: str) -> None:
    """A user may have removed the file, or an NFS server may have lost its locks."""
    lock = store.lock_run(RUN)
    path = store.directory / "locks" / f"{RUN}.lock"
    assert not lock.lost
    lock.confirm()
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        path.rename(path.with_suffix(".old"))
        path.write_text(path.with_suffix(".old").read_text())
    elif how == "signed by another":
        path.write_text("somebody else process 1 since yesterday\nanother-token")
    else:
        lock.release()
    assert lock.lost
    for act in (
        lock.confirm,
        lambda: store.keep_checkpoint(RUN, lock),
        lambda: store.commit(make_record(RUN), lock),
    ):
        with pytest.raises(Fenced, match=f"run {RUN}: this process lost its lock"):
            act()
    assert store.settled() == set()


def test_tokens_are_not_shown(store: ResultStore) -> None:
    with store.lock_run(RUN) as lock:
        assert lock.token not in store.holder(RUN)
        assert store.keep_checkpoint(RUN, lock) is None
        assert store.commit(make_record(RUN), lock)


def test_the_fenced_error_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(Fenced(RUN)))
    assert isinstance(error, Fenced)
    assert str(error) == str(Fenced(RUN))


def test_a_forked_child_has_lost_the_lock(store: ResultStore) -> None:
    lock = store.lock_run(RUN)
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.lost else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not lock.lost
    lock.release()


def test_lock_files_of_compacted_runs_are_removed_unless_they_are_held(store: ResultStore) -> None:
    """Otherwise, a study of 10,000 runs would keep 10,000 lock files."""
    for number in range(3):
        with store.lock_run(identity(number)) as lock:
            store.commit(make_record(identity(number)), lock)
    held = store.lock_run(identity(2))
    assert store.compact(at_least=1) == 3
    assert {path.name for path in (store.directory / "locks").glob("?" * 20 + ".lock")} == {f"{identity(2)}.lock"}
    assert not held.lost
    assert store.lock_run(identity(2)) is None
    held.release()
    with store.lock_run(identity(0)):
        assert store.is_settled(identity(0))


def test_a_process_that_locks_a_removed_file_finds_the_run_settled_and_its_lock_lost(store: ResultStore) -> None:
    opened = FileLock(store.directory / "locks" / f"{RUN}.lock")
    store.commit(make_record(RUN))
    assert store.compact(at_least=1) == 1
    assert opened.acquire()
    opened.sign("token")
    assert not opened.holds("token")
    assert store.is_settled(RUN)
    opened.close()
