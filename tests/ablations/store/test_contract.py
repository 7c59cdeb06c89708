"""The store's guarantees for a study in a directory or in a bucket (see `storages`)."""

from __future__ import annotations

import json
import pickle
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ablations.store import ResultStore, Terms, read_mark
from ablations.store.references import StoredReference, device_key
from ablations.store.repair import inspected
from aimlib.errors import StoreError
from aimlib.paths import for_arrow
from aimlib.records import MODELS, SCHEMA_VERSION, TEST_IMAGES
from aimlib.records.checksums import intact_document

from .conftest import Start
from .sample import files_in, identity, make_record, rows_in
from .test_kill import logged, runs_after_kills
from .test_store import HOSTILE, row_of

RUN = identity(1)


@pytest.fixture
def remote(any_remote: str) -> str:
    """Return a folder in each kind of object storage."""
    return any_remote


def test_the_first_row_is_kept(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert store.location == anywhere
    assert store.commit(make_record(RUN, host="first"))
    assert not store.commit(make_record(RUN, host="second"))
    assert store.compact(at_least=1) == 1
    assert not store.commit(make_record(RUN, host="third"))
    assert not ResultStore(anywhere).commit(make_record(RUN, host="fourth"))
    assert rows_in(anywhere) == {RUN: "first"}
    assert store.settled() == {RUN}
    assert store.is_settled(RUN)
    assert not store.is_settled(identity(2))


def test_failures_are_numbered(anywhere: str, monkeypatch) -> None:
    store, failed = ResultStore(anywhere), make_record(RUN, status="failed")
    names = [store.record_failure(failed).name for _ in range(2)]
    with monkeypatch.context() as patch:  # another process takes the number after this process has checked it
        patch.setattr(ResultStore, "_failure_names", lambda self: [])
        names.append(store.record_failure(failed).name)
    assert names == [f"{RUN}.{number:03d}.parquet" for number in range(3)]
    assert store.failures() == {RUN: 3}
    assert store.settled() == set()


def test_plans_models_images_and_the_mark_are_stored(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert read_mark(anywhere) == ""
    assert store.mark() == store.mark() == read_mark(anywhere) == ResultStore(anywhere).mark() != ""
    assert store.read_plan() is None
    for plan in ({"arms": ["ä"]}, {"arms": []}, {"arms": ["ä"]}):
        store.write_plan(plan)
        assert ResultStore(anywhere).read_plan() == plan
    kept = [json.loads(path.read_text()) for path in sorted((store.place / "plans").iterdir())]
    assert all(document.pop("checksum") for document in kept)
    assert kept == [{"schema_version": SCHEMA_VERSION, "arms": arms} for arms in (["ä"], [])]
    store.write_models([row_of(MODELS)])
    store.write_models([row_of(MODELS) | {"arm": "second"}])
    assert pq.read_table(for_arrow(store.place / "models.parquet"))["arm"].to_pylist() == ["second"]
    store.write_images(RUN, [row_of(TEST_IMAGES)])
    store.write_images(RUN, [row_of(TEST_IMAGES)] * 2)
    assert pq.read_table(for_arrow(store.place / "images" / f"{RUN}.parquet")).num_rows == 1


def test_an_analysis_plan_is_frozen_only_once(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert not store.has_analysis_plan()
    frozen = store.freeze_analysis_plan({"looks": [5]})
    assert ResultStore(anywhere).freeze_analysis_plan({"looks": [3]}) == frozen
    assert store.has_analysis_plan()
    assert json.loads((store.place / "analysis_plan.json").read_text())["content"] == {"looks": [5]}


def test_a_checkpoint_survives_its_process(anywhere: str) -> None:
    first, second = ResultStore(anywhere), ResultStore(anywhere)
    folder = first.checkpoint_directory(RUN)
    first.keep_checkpoint(RUN)
    (folder / "checkpoint.pt").write_bytes(b"one")
    with first.lock_run(RUN) as lock:
        first.keep_checkpoint(RUN, lock)
        (folder / "checkpoint.pt").write_bytes(b"two")
        (folder / ".checkpoint.pt.7").write_bytes(b"half")
        first.keep_checkpoint(RUN, lock)
        assert first.checkpoint_directory(RUN) == folder
    there = second.checkpoint_directory(RUN)
    assert (there / "checkpoint.pt").read_bytes() == b"two"
    (there / "checkpoint.pt").write_bytes(b"three")
    with second.lock_run(RUN) as lock:
        second.keep_checkpoint(RUN, lock)
    second.discard_checkpoint(RUN)
    second.discard_checkpoint(RUN)
    assert not there.exists()
    assert list(ResultStore(anywhere).checkpoint_directory(RUN).iterdir()) == []


def test_clean_removes_checkpoints_of_settled_runs(anywhere: str) -> None:
    store = ResultStore(anywhere)
    for number in (1, 2):
        (store.checkpoint_directory(identity(number)) / "checkpoint.pt").write_bytes(b"state")
        store.keep_checkpoint(identity(number))
    store.commit(make_record(RUN))
    assert store.clean() == []
    left = ResultStore(anywhere)
    assert list(left.checkpoint_directory(RUN).iterdir()) == []
    assert (left.checkpoint_directory(identity(2)) / "checkpoint.pt").read_bytes() == b"state"
    left.discard_checkpoint(identity(2))
    left.discard_checkpoint(RUN)
    store.discard_checkpoint(identity(2))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_never_become_paths(anywhere: str, hostile: str) -> None:
    store = ResultStore(anywhere)
    acts = (store.lock_run, store.holder, store.checkpoint_directory, store.keep_checkpoint, store.discard_checkpoint)
    for act in (*acts, store.is_settled):
        with pytest.raises(StoreError, match="must be 20 hexadecimal digits"):
            act(hostile)


def test_a_store_can_be_sent_to_a_worker(anywhere: str) -> None:
    store = ResultStore(anywhere)
    store.commit(make_record(RUN))
    there = pickle.loads(pickle.dumps(store))
    assert there.commit(make_record(identity(2)))
    assert store.settled() == {RUN, identity(2)}
    with there.lock_run(RUN):
        assert store.lock_run(RUN) is None


def test_a_lock_excludes_other_holders_until_it_is_released(anywhere: str) -> None:
    store = ResultStore(anywhere)
    with store.lock_run(RUN) as lock:
        assert lock.run_id == RUN
        assert not lock.lost
        assert store.lock_run(RUN) is None
        assert ResultStore(anywhere).lock_run(RUN) is None
        assert " process " in ResultStore(anywhere).holder(RUN)
        with store.lock_run(identity(2)) as other:
            assert other.token != lock.token
    assert lock.lost
    assert store.holder(RUN) is None
    with store.lock_run(RUN) as again:
        assert store.commit(make_record(RUN), again)
    with pytest.raises(ValueError, match=f"the lock is on run {RUN}"):
        store.commit(make_record(identity(2)), again)
    lock.release()


def test_exactly_one_of_many_threads_acquires_the_lock(anywhere: str) -> None:
    store, barrier, got = ResultStore(anywhere), threading.Barrier(8), []

    def attempt() -> None:
        barrier.wait()
        got.append(store.lock_run(RUN))

    for _ in range(3 if "://" in anywhere else 20):
        got.clear()
        threads = [threading.Thread(target=attempt) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [lock for lock in got if lock is not None]
        assert len(winners) == 1
        winners[0].release()


def test_exactly_one_of_many_processes_acquires_the_lock(remote_of_processes: str, start: Start) -> None:
    """`test_races` does the same for a directory."""
    ResultStore(remote_of_processes)
    racers = [start("racer.py", remote_of_processes, RUN, f"racer-{number}", wait=False) for number in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.stdout.readline().strip() for racer in racers]
    assert sorted(answers) == ["False"] * 2 + ["True"]
    assert rows_in(remote_of_processes) == {RUN: f"racer-{answers.index('True')}"}


def test_killed_writers_neither_lose_nor_duplicate_rows(remote_of_processes: str, start: Start, tmp_path: Path) -> None:
    """`test_kill` does the same for a directory."""
    log, runs, term, chance = tmp_path / "log", 12, 2.0, random.Random(1)
    store = ResultStore(remote_of_processes, Terms(term))
    writers = [start("writer.py", remote_of_processes, log, runs, "fences", seed, term) for seed in range(2)]
    time.sleep(0.3)
    killed = chance.choice(writers)
    killed.kill()
    killed.wait()
    assert {run_id for run_id, _ in logged(log)} <= store.settled()
    assert [writer.wait(60) for writer in writers if writer is not killed] == [0]
    kept = rows_in(remote_of_processes)
    assert set(kept) == store.settled() == {identity(number) for number in range(runs)}
    assert max(Counter(run_id for run_id, _ in logged(log)).values()) == 1
    assert [run_id for run_id, mark in logged(log) if kept[run_id] != mark] == []
    deadline = time.monotonic() + 30  # the killed process may hold the lease for compaction
    while files_in(remote_of_processes, "runs") and time.monotonic() < deadline:
        store.compact(at_least=1)
    assert files_in(remote_of_processes, "runs") == []
    assert rows_in(remote_of_processes) == kept
    store.clean()
    assert store.failures() == {}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["locks", "fences"])
def test_repeatedly_killed_writers_neither_lose_nor_duplicate_rows(
    remote_of_processes: str, start: Start, tmp_path: Path, mode: str
) -> None:
    log, store = tmp_path / "log", ResultStore(remote_of_processes)
    runs = runs_after_kills(start, remote_of_processes, log, mode, 4, more=20, rest=1.0, term=(2.0,))
    kept = rows_in(remote_of_processes)
    assert set(kept) == store.settled() == {identity(number) for number in range(runs)}
    assert max(Counter(run_id for run_id, _ in logged(log)).values()) == 1
    assert [run_id for run_id, mark in logged(log) if kept[run_id] != mark] == []
    assert files_in(remote_of_processes, "segments")


def test_references_are_listed_by_name_and_written_only_once(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert store.references() == []
    first = StoredReference("a" * 16, device_key("boot cpu"), "b" * 16)
    other = StoredReference("a" * 16, device_key("GPU-1"), "c" * 16)
    store.keep_reference(first, {"name": "CPU of node7"})
    store.keep_reference(first, {"name": "changed"})
    store.keep_reference(other, {})
    assert sorted(ResultStore(anywhere).references(), key=str) == sorted([first, other], key=str)
    assert store.reference_device(first) == "CPU of node7"
    assert store.reference_device(other) == f"device {other.device}"


def test_a_studys_own_code_is_recorded_once_with_a_checksum(anywhere: str) -> None:
    store, code = ResultStore(anywhere), "a" * 64
    store.keep_code(code, {"component": "placements/own", "definitions": {"my_net.py: Own": "b"}})
    store.keep_code(code, {"component": "changed"})
    stored = intact_document((store.place / "code" / f"{code}.json").read_bytes())
    assert stored == {"component": "placements/own", "definitions": {"my_net.py: Own": "b"}}
    found = inspected(store.place)
    assert (found.read["code"], found.damages) == (1, [])
