from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ablations.store import ResultStore, files

from .conftest import Start
from .sample import identity, make_record, rows_in, temporary_files


def test_exactly_one_of_many_processes_wins(tmp_path: Path, start: Start) -> None:
    run_id = identity(1)
    racers = [start("racer.py", tmp_path, run_id, f"racer-{number}", wait=False) for number in range(5)]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    assert sorted(answers) == ["False"] * 4 + ["True"]
    assert rows_in(tmp_path) == {run_id: f"racer-{answers.index('True')}"}
    assert [racer.wait(60) for racer in racers] == [0] * 5
    assert temporary_files(tmp_path) == []


def test_exactly_one_of_many_threads_wins(store: ResultStore) -> None:
    run_id, barrier, kept = identity(1), threading.Barrier(6), []

    def commit(mark: str) -> None:
        record = make_record(run_id, host=mark)
        barrier.wait()
        if store.commit(record):
            kept.append(mark)

    threads = [threading.Thread(target=commit, args=(f"thread-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 1
    assert rows_in(store.directory) == {run_id: kept[0]}


def test_a_late_commit_loses_to_a_row_that_was_compacted_meanwhile(store: ResultStore, monkeypatch) -> None:
    """A slow process finds no row; then another process commits the run, and a compaction removes the run's file."""
    run_id, written, compacted = identity(1), threading.Event(), threading.Event()
    late = ResultStore(store.directory)
    synchronise = files.synchronise

    def slow(path: Path) -> None:
        synchronise(path)
        if threading.current_thread().name == "late" and path.name.endswith(".tmp"):
            written.set()
            assert compacted.wait(60)

    answers: list[bool] = []
    monkeypatch.setattr(files, "synchronise", slow)
    record = make_record(run_id, host="late")
    thread = threading.Thread(target=lambda: answers.append(late.commit(record)), name="late")
    thread.start()
    assert written.wait(60)
    assert store.commit(make_record(run_id, host="first"))
    assert store.compact(at_least=1) == 1
    compacted.set()
    thread.join()
    assert answers == [False]
    assert rows_in(store.directory) == {run_id: "first"}


def test_a_compaction_waits_for_a_commit_that_checked_earlier(store: ResultStore, monkeypatch) -> None:
    """No run file may vanish after a commit has checked the segments and before it makes its link."""
    from ablations.store import local_folder

    monkeypatch.setattr(local_folder, "_COMMIT_TIMEOUT_S", 0.05)
    run_id = identity(1)
    store.commit(make_record(run_id, host="first"))
    with store._folder.committing():
        assert store.compact(at_least=1) == 0
        assert list((store.directory / "segments").glob("*.parquet"))
        assert rows_in(store.directory) == {run_id: "first"}
    assert store.compact() == 1
    assert rows_in(store.directory) == {run_id: "first"}


def test_two_compactions_exclude_each_other(store: ResultStore) -> None:
    from ablations.store.file_locks import locked

    store.commit(make_record(identity(1)))
    with locked(store.directory / "locks" / "compaction.lock") as alone:
        assert alone
        assert store.compact(at_least=1) == 0
    assert store.compact(at_least=1) == 1


def test_a_reader_during_compactions_finds_every_row(store: ResultStore) -> None:
    ids = {identity(number) for number in range(40)}
    for run_id in ids:
        store.commit(make_record(run_id))
    reader, missing, done = ResultStore(store.directory), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            missing.append(len(ids - reader.settled()))

    thread = threading.Thread(target=read)
    thread.start()
    more = [identity(number) for number in range(100, 130)]
    for run_id in more:
        store.commit(make_record(run_id))
        store.compact(at_least=3)
    done.set()
    thread.join()
    assert len(missing) > 10
    assert set(missing) == {0}


@pytest.mark.parametrize("ask", [lambda store: store.settled(), lambda store: store.is_settled(identity(1))])
@pytest.mark.parametrize("place", ["runs", "segments"])
def test_a_row_that_is_moved_during_the_search_for_it_is_found(store: ResultStore, monkeypatch, ask, place) -> None:
    store.commit(make_record(identity(1)))
    mover, names = ResultStore(store.directory), files.names

    def names_then_compact(directory: Path, pattern: object) -> list[str]:
        found = names(directory, pattern)
        monkeypatch.setattr(files, "names", names)
        if directory.name == place:
            assert mover.compact(at_least=1) == 1
        else:
            monkeypatch.setattr(files, "names", names_then_compact)
        return found

    monkeypatch.setattr(files, "names", names_then_compact)
    assert ask(store)


@pytest.mark.parametrize("lost", [True, False])
def test_a_link_counts_even_if_its_answer_was_lost(store: ResultStore, monkeypatch, lost: bool) -> None:
    """NFS may repeat a request and report that the name exists, although the first request created it."""
    import os

    link = os.link

    def repeated(source: Path, target: Path) -> None:
        if lost:
            link(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", repeated)
    assert store.commit(make_record(identity(1))) is lost
