"""A lock's holder notices that its file was moved, replaced or removed, and continues if it still has the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations.store.file_locks import FileLock

TOKEN = "a token that nobody else writes"


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[FileLock]:
    (tmp_path / "locks").mkdir()
    held = FileLock(tmp_path / "locks" / "run")
    assert held.acquire()
    held.sign(f"a host, a process {TOKEN}")
    yield held
    held.close()


def test_a_holder_that_tries_again_still_holds_the_lock(lock: FileLock) -> None:
    assert lock.holds(TOKEN)
    assert lock.reacquire(TOKEN), "the holder itself still has the lock, so the file cannot be locked again"
    assert lock.holds(TOKEN)


def test_a_lost_lock_is_reacquired_if_no_other_process_has_held_it(lock: FileLock) -> None:
    lock.unlock()  # as a restarting server does
    assert lock.reacquire(TOKEN)
    other = FileLock(lock.path)
    assert not other.acquire(), "it is locked again"
    other.close()


def test_a_lost_lock_that_another_process_has_held_is_not_reacquired(lock: FileLock) -> None:
    lock.unlock()
    other = FileLock(lock.path)
    assert other.acquire()
    other.sign("another host, another process, another token")
    assert not lock.reacquire(TOKEN)
    other.close()
    assert not lock.reacquire(TOKEN)


def test_a_removed_file_is_distinguished_from_a_removed_folder(lock: FileLock) -> None:
    """A missing folder may just not be mounted, and the lock may still exist once the folder is mounted again."""
    lock.path.unlink()
    assert not lock.is_signed(TOKEN)
    assert not lock.reacquire(TOKEN)
    lock.path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        lock.is_signed(TOKEN)
    assert not lock.holds(TOKEN)


def test_a_replaced_lock_file_is_a_different_lock(lock: FileLock) -> None:
    lock.path.rename(lock.path.with_name("moved"))
    lock.path.write_text(f"the same text {TOKEN}")
    assert not lock.is_signed(TOKEN)
