from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import analysis
from ablations.store import ResultStore, session_signals
from aimlib.errors import StoreError

from .sample import temporary_files

SESSION, OTHER = "0123456789ab", "ba9876543210"


def test_a_request_to_stop_is_made_and_cleared(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert not store.stop_requested(SESSION)
    store.request_stop(SESSION)
    store.request_stop(SESSION)
    there = ResultStore(store.location)
    assert there.stop_requested(SESSION)
    assert not there.stop_requested(OTHER)
    there.forget_stop(SESSION)
    there.forget_stop(SESSION)
    assert not store.stop_requested(SESSION)


def test_sessions_store_their_states(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert store.live() == []
    store.write_live(OTHER, {"running": ["größe", "<b>"]})
    store.write_live(SESSION, {"running": [1]})
    store.write_live(SESSION, {"running": [2, 3], "session": "somebody else"})
    store.request_stop(SESSION)
    expected = [{"running": [2, 3], "session": SESSION}, {"running": ["größe", "<b>"], "session": OTHER}]
    assert ResultStore(store.location).live() == expected
    store.forget_live(SESSION)
    store.forget_live(SESSION)
    assert store.live() == expected[1:]
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_live(OTHER, {"left": float("nan")})
    assert store.live() == expected[1:]
    assert store.settled() == set()
    with pytest.raises(StoreError, match=r"study\.json is missing"):
        analysis.load(store.location)


def test_node_hours_are_kept_when_the_states_of_sessions_are_removed(anywhere: str) -> None:
    store = ResultStore(anywhere)
    assert store.node_time() == {}
    store.write_live(SESSION, {})
    store.write_node_time(SESSION, 10.0)
    store.write_node_time(SESSION, 12.5)
    store.write_node_time(OTHER, 7.0)
    store.forget_live(SESSION)
    store.clean()
    assert ResultStore(store.location).node_time() == {SESSION: 12.5, OTHER: 7.0}
    with pytest.raises(StoreError, match="must be 12 hexadecimal digits"):
        store.write_node_time("../x", 1.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"node_seconds": "x"}', b'{"node_seconds": -1}', b'{"node_seconds": 1e999}', b"[" * 9999],
)
def test_damaged_node_hours_count_as_missing(tmp_path: Path, content: bytes) -> None:
    store = ResultStore(tmp_path)
    store.write_node_time(OTHER, 7.0)
    (tmp_path / "live" / f"{SESSION}.nodes").write_bytes(content)
    assert store.node_time() == {OTHER: 7.0, SESSION: 0.0}


@pytest.mark.parametrize("hostile", ["../../etc", "", "0" * 11, "A" * 12, "0" * 12 + "\n", None, "0" * 12 + "/x"])
def test_hostile_session_names_never_become_paths(anywhere: str, hostile: str) -> None:
    store = ResultStore(anywhere)
    for act in (store.request_stop, store.stop_requested, store.forget_stop, store.forget_live):
        with pytest.raises(StoreError, match="must be 12 hexadecimal digits"):
            act(hostile)
    with pytest.raises(StoreError, match="must be 12 hexadecimal digits"):
        store.write_live(hostile, {})
    assert store.live() == []


def test_files_that_are_not_messages_from_a_session_are_ignored(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    (tmp_path / "live" / "notes.json").write_text("[")
    (tmp_path / "live" / f"{SESSION}.json.bak").write_text("[")
    assert store.live() == []
    (tmp_path / "live" / f"{SESSION}.json").write_text("[1]")
    assert store.live() == [{"session": SESSION}]  # the state is unknown until the session writes it again


def test_clean_removes_the_files_of_dead_sessions(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for session in (SESSION, OTHER):
        store.write_live(session, {})
        store.request_stop(session)
    old = time.time() - 90_000
    for name in (f"{SESSION}.json", f"{SESSION}.stop", f"{OTHER}.stop"):
        os.utime(tmp_path / "live" / name, (old, old))
    store.clean()
    assert [each["session"] for each in store.live()] == [OTHER]
    assert store.stop_requested(OTHER), "the session is alive and may not have read the request yet"
    assert not store.stop_requested(SESSION)
    assert temporary_files(tmp_path) == []


def test_clean_removes_the_files_of_dead_sessions_in_a_bucket(remote: str, monkeypatch) -> None:
    store = ResultStore(remote)
    store.write_live(SESSION, {})
    store.request_stop(OTHER)
    store.clean()
    assert store.stop_requested(OTHER)
    assert len(store.live()) == 1
    monkeypatch.setattr(session_signals, "DEAD_AFTER", -10.0)
    store.clean()
    assert not store.stop_requested(OTHER)
    assert store.live() == []


def test_a_bucket_always_has_space(remote: str) -> None:
    assert ResultStore(remote).room() is None


def test_the_reported_free_space_is_that_of_the_disk(store: ResultStore) -> None:
    status = os.statvfs(store.directory)
    assert store.room() == pytest.approx(status.f_bavail * status.f_frsize, rel=0.1)
