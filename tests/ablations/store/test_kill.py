"""Writers are killed with `kill -9` at random times: no run is lost or settled twice, and every row can be read."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from ablations.store import ResultStore

from .conftest import Start
from .sample import identity, make_record, rows_in, temporary_files

KILLS = [2, pytest.param(16, marks=pytest.mark.slow)]  # in each mode


def logged(log: Path) -> list[tuple[str, str]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [(run_id, mark) for run_id, mark in (line.split() for line in lines)]


def runs_after_kills(
    start: Start,
    place: object,
    log: Path,
    mode: str,
    kills: int,
    *,
    more: int,
    rest: float,
    term: tuple[float, ...] = (),
) -> int:
    """Kill a number of active writers, let two writers finish, and return the number of runs.

    Parameters
    ----------
    more : number of runs by which the list grows for each new pair of writers.
    rest : maximum number of seconds before a pair of writers is killed.
    """
    chance, store, killed, runs = random.Random(mode), ResultStore(str(place)), 0, 0

    def writers() -> list[subprocess.Popen[str]]:
        return [start("writer.py", place, log, runs, mode, chance.getrandbits(30), *term) for _ in range(2)]

    while killed < kills:
        runs += more
        pair = writers()
        time.sleep(chance.uniform(0.0, rest))
        for writer in chance.sample(pair, k=chance.choice([1, 2, 2])):
            killed += writer.poll() is None
            writer.kill()
            writer.wait()
        assert {run_id for run_id, _ in logged(log)} <= store.settled()
        for writer in pair:
            writer.kill()
            writer.wait()
    assert [writer.wait(120) for writer in writers()] == [0, 0]
    return runs


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("mode", ["locks", "fences"])
def test_killed_writers_neither_lose_nor_duplicate_rows(tmp_path: Path, start: Start, mode: str, kills: int) -> None:
    directory, log = tmp_path / "study", tmp_path / "log"
    store = ResultStore(directory)
    runs = runs_after_kills(start, directory, log, mode, kills, more=60, rest=0.4)

    ids = {identity(number) for number in range(runs)}
    kept = rows_in(directory)
    assert set(kept) == store.settled() == ids
    assert max(Counter(run_id for run_id, _ in logged(log)).values()) == 1
    assert [run_id for run_id, mark in logged(log) if kept[run_id] != mark] == []
    assert list((directory / "segments").glob("*.parquet"))
    store.clean()
    assert temporary_files(directory) == []
    store.compact(at_least=1)
    assert rows_in(directory) == kept
    assert list((directory / "runs").iterdir()) == []
    assert store.failures() == {}


def test_clean_keeps_files_of_active_writers_and_other_machines(tmp_path: Path, start: Start) -> None:
    store = ResultStore(tmp_path / "study")
    process = start("lock_holder.py", tmp_path / "study", "alone")
    from ablations.store.files import host_name

    folder, unique = store.directory / "runs", "0" * 32
    living = folder / f".{unique}.{host_name()}.{process.pid}.tmp"
    foreign = folder / f".{unique}.another-machine.{process.pid}.tmp"
    living.write_bytes(b"half")
    foreign.write_bytes(b"half")
    assert store.clean() == []
    process.kill()
    process.wait()
    assert store.clean() == [living]
    assert temporary_files(store.directory) == [foreign]
    import os

    os.utime(foreign, (time.time() - 90_000,) * 2)
    assert store.clean() == [foreign]


def test_a_compaction_killed_before_it_removes_anything_is_continued(store: ResultStore, monkeypatch) -> None:
    from ablations.store import files

    ids = [identity(number) for number in range(6)]
    for run_id in ids:
        store.commit(make_record(run_id, host="first"))

    def die(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", die)
        with pytest.raises(KeyboardInterrupt):
            store.compact(at_least=1)
    assert len(list((store.directory / "runs").glob("*.parquet"))) == 6
    reopened = ResultStore(store.directory)
    assert reopened.settled() == set(ids) == set(rows_in(store.directory))
    assert not reopened.commit(make_record(ids[0], host="second"))
    assert reopened.compact() == 6, "even a few leftover files are removed"
    assert set(rows_in(store.directory).values()) == {"first"}
    assert not reopened.commit(make_record(ids[0], host="second"))
