"""The ledger: which changes it reveals by itself, and which changes only a separately kept head reveals."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.commands.verify import Verified, lines, verify
from ablations.store import ResultStore
from ablations.store.ledger import SessionLedger
from ablations.store.repair import repair
from aimlib.errors import StoreError, UsageError
from aimlib.paths import for_arrow, place
from aimlib.records import RUNS, RunRecord, write_table
from aimlib.records.ledger import LEDGER, NO_HASH, Entry, Ledger, Page, entry
from aimlib.records.row_digests import row_digests
from analysis.reading.proofs import OF_SELECTED

from .sample import files_in, identity
from .sample import make_record as any_record
from .test_repair import DAMAGINGS

Session = Callable[..., str]
OTHER = {"test_accuracy": 0.99, "epochs.test_accuracy": [0.99, 0.3, 0.3]}
SESSIONS = ["a" * 12, "b" * 12, "c" * 12]


def make_record(run_id: str, **values: Any) -> RunRecord:
    """Return a record whose values are consistent with its selected epoch."""
    made = any_record(run_id, **values)
    if made.epochs:
        made.run.update({name: made.epochs[0][name] for name in OF_SELECTED})
    return made


def session(store: ResultStore, name: str, numbers: range, *, flush: bool = False) -> str:
    """Settle runs in a session, and return the head at the end of the session."""
    ledger = store.ledger(name)
    ledger.join()
    for number in numbers:
        ledger.row(identity(number), store.settle(make_record(identity(number))))
        if flush:
            ledger.flush()
    return ledger.end().head


def rewritten(path: Path, change: dict[str, Any]) -> None:
    """Rewrite a row with different values and with checksums that match the new values."""
    table = pq.read_table(path)
    (row,) = table.to_pylist()
    path.unlink()
    write_table(pa.Table.from_pylist([row | change], schema=table.schema), path)


def forged(directory: Path) -> None:
    """Rewrite the entire ledger for the current rows."""
    shutil.rmtree(directory / LEDGER)
    ResultStore(directory).ledger(SESSIONS[0]).end()


def contradictions(found: Verified) -> tuple[str, ...]:
    return found.ledger.contradictions


def test_every_settled_row_is_entered_and_the_head_covers_all_of_them(anywhere: str) -> None:
    store = ResultStore(anywhere)
    head = session(store, SESSIONS[0], range(3), flush=True)
    found = verify(anywhere, head=head)
    assert found.is_intact
    assert found.confirmed == head
    assert (found.ledger.head, found.ledger.entered, found.ledger.sessions) == (head, 3, 1)
    assert found.ledger.notes == ()
    assert f"Its head is {head}" in "\n".join(lines(found))
    assert verify(anywhere, head=head[:32].upper()).confirmed == head[:32]


def test_an_earlier_head_stays_valid_while_the_study_grows_and_is_compacted(anywhere: str) -> None:
    store = ResultStore(anywhere)
    heads = [session(store, SESSIONS[0], range(3)), session(store, SESSIONS[1], range(3, 5))]
    assert store.compact(1) == 5
    heads.append(session(store, SESSIONS[2], range(5, 6)))
    for head in heads:
        assert verify(anywhere, head=head).confirmed == head
    assert verify(anywhere).ledger.head == heads[-1]
    assert len(set(heads)) == 3


def test_a_replaced_row_is_found_without_a_head(tmp_path: Path) -> None:
    session(ResultStore(tmp_path), SESSIONS[0], range(3))
    rewritten(tmp_path / RUNS / f"{identity(1)}.parquet", OTHER)
    (text,) = contradictions(verify(tmp_path))
    assert text.startswith(f"run {identity(1)}: its row in runs/{identity(1)}.parquet is not the row that the ledger")


def test_a_row_replaced_together_with_the_ledger_is_found_only_with_the_head(tmp_path: Path) -> None:
    head = session(ResultStore(tmp_path), SESSIONS[0], range(3))
    rewritten(tmp_path / RUNS / f"{identity(1)}.parquet", OTHER)
    forged(tmp_path)
    assert verify(tmp_path).is_intact
    (text,) = contradictions(verify(tmp_path, head=head))
    assert text.startswith(f"--head {head}: no entry in the ledger has this hash")


def test_a_loss_that_a_forger_enters_is_noted_and_contradicts_the_head(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    head = session(store, SESSIONS[0], range(3))
    path = tmp_path / RUNS / f"{identity(1)}.parquet"
    (old,) = row_digests(pq.read_table(path))
    rewritten(path, OTHER)
    ledger = store.ledger(SESSIONS[1])
    ledger._add("lost", identity(1), old)
    ledger.row(identity(1), row_digests(pq.read_table(path))[0])
    ledger.end()
    found = verify(tmp_path)
    assert found.is_intact
    assert "1 run was computed again" in " ".join(found.ledger.notes)
    (text,) = contradictions(verify(tmp_path, head=head))
    assert text.startswith(f"run {identity(1)}: the row that the head covers was damaged or deleted")


def test_a_second_row_for_a_run_without_a_loss_is_a_contradiction(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    session(store, SESSIONS[0], range(2))
    ledger = store.ledger(SESSIONS[1])
    ledger.row(identity(0), "e" * 64)
    ledger.end()
    (text,) = contradictions(verify(tmp_path))
    assert text == f"run {identity(0)}: the ledger contains 2 different rows, and no lost row explains this"


def test_a_deleted_row_is_reported_and_the_next_session_records_the_loss(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    head = session(store, SESSIONS[0], range(3))
    (tmp_path / RUNS / f"{identity(1)}.parquet").unlink()
    (text,) = contradictions(verify(tmp_path))
    assert text.startswith(f"run {identity(1)}: the ledger contains its row, but no file does")
    again = store.ledger(SESSIONS[1])
    assert again.join().lost == (identity(1),)
    again.row(identity(1), store.settle(make_record(identity(1), host="another")))
    again.end()
    assert store.ledger(SESSIONS[2]).join().lost == ()
    assert verify(tmp_path).is_intact
    assert contradictions(verify(tmp_path, head=head))


def test_a_replaced_analysis_plan_is_found(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.freeze_analysis_plan({"name": "first"})
    head = session(store, SESSIONS[0], range(1))
    assert verify(tmp_path, head=head).confirmed
    (tmp_path / "analysis_plan.json").unlink()
    store.freeze_analysis_plan({"name": "second"})
    found = verify(tmp_path, head=head)
    assert found.inspection.damages == []
    assert [text.partition(":")[0] for text in contradictions(found)] == ["analysis_plan.json"] * 2
    session(store, SESSIONS[1], range(1, 2))
    assert contradictions(verify(tmp_path))


def test_rows_without_an_entry_are_settled_and_the_next_session_enters_them(anywhere: str) -> None:
    store = ResultStore(anywhere)
    session(store, SESSIONS[1], range(4, 5))
    for number in range(4):
        assert store.commit(make_record(identity(number)))
        if number == 1:
            store.compact(1)
    found = verify(anywhere)
    assert found.is_intact
    assert "4 settled runs are not in the ledger yet" in found.ledger.notes[0]
    head = store.ledger(SESSIONS[0]).end().head
    assert verify(anywhere, head=head).ledger.entered == 5


def test_an_entry_read_from_a_row_equals_the_entry_made_when_it_was_settled(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for number in range(3):
        digest = store.settle(make_record(identity(number), epochs=number))
        (path,) = [path for path in files_in(tmp_path, RUNS) if path.stem == identity(number)]
        assert row_digests(pq.read_table(for_arrow(path))) == [digest]
    store.compact(1)
    assert store.ledger(SESSIONS[0]).end().entered == 3


def test_a_row_that_does_not_count_is_not_entered(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert store.settle(make_record(identity(0), host="first"))
    assert store.settle(make_record(identity(0), host="second")) == ""


def test_a_session_without_new_rows_does_not_write(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    head = session(store, SESSIONS[0], range(2))
    before = {path: path.read_bytes() for path in (tmp_path / LEDGER).iterdir()}
    assert session(store, SESSIONS[1], range(0)) == head
    assert {path: path.read_bytes() for path in (tmp_path / LEDGER).iterdir()} == before


def test_the_session_that_ends_last_joins_the_chains_of_concurrent_sessions(anywhere: str) -> None:
    store = ResultStore(anywhere)
    ledgers = [store.ledger(name) for name in SESSIONS]
    for ledger in ledgers:
        ledger.join()
    for number in range(9):
        ledgers[number % 3].row(identity(number), store.settle(make_record(identity(number))))
    heads = [ledger.end().head for ledger in ledgers]
    found = verify(anywhere, head=heads[-1])
    assert (found.confirmed, found.ledger.head, found.ledger.entered) == (heads[-1], heads[-1], 9)
    assert not found.ledger.notes


def test_a_killed_driver_loses_entries_but_not_rows(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    child = os.fork()
    if not child:
        ledger = store.ledger(SESSIONS[0])
        for number in range(5):
            ledger.row(identity(number), store.settle(make_record(identity(number))))
            if number == 2:
                ledger.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(store.settled()) == 5
    assert verify(tmp_path).ledger.entered == 3
    head = session(store, SESSIONS[1], range(5, 6))
    found = verify(tmp_path, head=head)
    assert found.is_intact
    assert (found.ledger.entered, found.ledger.sessions) == (6, 2)


def test_pages_are_bounded_and_form_one_chain(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    ledger = store.ledger(SESSIONS[0])
    for number in range(2500):
        ledger.row(identity(number), f"{number:064x}")
        if number in (10, 998, 999, 1000, 1700):
            ledger.flush()
    ledger.flush()
    pages = sorted((tmp_path / LEDGER).iterdir())
    assert [len(page.read_text().splitlines()) for page in pages] == [1001, 1001, 502]
    found = Ledger.of({page.name: page.read_bytes() for page in pages})
    assert (found.problems, found.damaged, len(found.rows)) == ({}, {}, 2500)
    del pages[1]
    found = Ledger.of({page.name: page.read_bytes() for page in pages})
    assert found.problems == {
        f"{LEDGER}/{SESSIONS[0]}.0001": "it is missing or was changed, and aaaaaaaaaaaa.0002 follows it"
    }


def test_a_removed_chain_is_found_if_another_session_joined_it(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    session(store, SESSIONS[0], range(2))
    head = session(store, SESSIONS[1], range(2, 4))
    (tmp_path / LEDGER / f"{SESSIONS[0]}.0000").unlink()
    assert "is missing or was changed" in contradictions(verify(tmp_path))[0]
    later = session(store, SESSIONS[2], range(4, 5))
    found = verify(tmp_path, head=later)
    assert found.is_intact
    assert found.ledger.entered == 5
    assert "1 page of the ledger is missing" in found.ledger.notes
    assert any("no longer contains" in text for text in contradictions(verify(tmp_path, head=head)))


def test_a_ledger_that_cannot_be_written_does_not_stop_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path)
    ledger = store.ledger(SESSIONS[0])
    ledger.row(identity(0), store.settle(make_record(identity(0))))
    real = type(store._folder).replace

    def refused(*_: Any) -> None:
        raise StoreError("full")

    monkeypatch.setattr(type(store._folder), "replace", refused)
    monkeypatch.setattr("ablations.store.ledger.PACE_S", 0.0)
    ledger._due = 0.0
    ledger.flush_if_due()
    assert list((tmp_path / LEDGER).iterdir()) == []
    monkeypatch.setattr(type(store._folder), "replace", real)
    assert verify(tmp_path, head=ledger.end().head).ledger.entered == 1


@pytest.mark.parametrize("text", ["", "abc", "x" * 64, "a" * 31, "a" * 65])
def test_a_head_that_is_not_a_hash_is_refused(tmp_path: Path, text: str) -> None:
    session(ResultStore(tmp_path), SESSIONS[0], range(1))
    with pytest.raises(UsageError, match="use the head as"):
        verify(tmp_path, head=text)


@pytest.fixture(scope="module")
def damageable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = ResultStore(tmp_path_factory.mktemp("ledger"))
    for number, name in enumerate(SESSIONS):
        session(store, name, range(3 * number, 3 * number + 3))
    return store.directory


@pytest.mark.parametrize("tries", [40, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("damaging", DAMAGINGS)
def test_a_damaged_page_is_reported_and_set_aside_and_its_rows_are_entered_again(
    damageable: Path, tmp_path: Path, damaging: Callable[[bytes, random.Random], bytes], tries: int
) -> None:
    rng = random.Random(f"{damaging.__name__} {tries}")
    contents = {path.name: path.read_bytes() for path in (damageable / LEDGER).iterdir()}
    whole = Ledger.of(contents)
    for _ in range(tries):
        name = rng.choice(sorted(contents))
        damaged = damaging(contents[name], rng)
        found = Ledger.of({**contents, name: damaged})
        if not (damaged.endswith(b"\n") and contents[name].startswith(damaged)):  # such a page is an earlier state
            assert found.damaged or found.problems
        for run_id, digests in found.rows.items():
            assert digests == whole.rows[run_id], "wrong entries are never read"
    directory = Path(shutil.copytree(damageable, tmp_path / "copy"))
    path = directory / LEDGER / f"{SESSIONS[1]}.0000"
    path.write_bytes(flipped_once(contents[path.name]))
    (text,) = repair(directory)
    assert text.startswith(f"ledger/{path.name} is damaged (")
    store = ResultStore(directory)
    head = session(store, "d" * 12, range(0))
    assert verify(directory, head=head).ledger.entered == 9


def flipped_once(content: bytes) -> bytes:
    return content[:300] + bytes([content[300] ^ 1]) + content[301:]


def test_an_entry_depends_on_all_earlier_entries() -> None:
    first = entry(NO_HASH, "row", identity(0), "1" * 64)
    assert entry(first.hash, "row", identity(1), "2" * 64) != entry(NO_HASH, "row", identity(1), "2" * 64)
    page = Page(SESSIONS[0], 0, NO_HASH, (first,))
    moved = Page(SESSIONS[0], 0, NO_HASH, (Entry(first.kind, identity(1), first.digest, first.hash),))
    assert not Ledger.of({page.name: page.text().encode()}).damaged
    assert Ledger.of({moved.name: moved.text().encode()}).damaged


def test_a_sessions_ledger_does_not_read_other_sessions(tmp_path: Path) -> None:
    ledger = ResultStore(tmp_path / "one").ledger(SESSIONS[0])
    assert isinstance(ledger, SessionLedger)
    assert place(tmp_path / "one" / LEDGER).exists()
    assert ledger.join().head == ""
