"""Damaged documents on which no result depends are reported; such a document counts as missing or stops a search."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.search.journal import Journal, Rung
from ablations.store import ResultStore
from ablations.store.repair import inspected, repair
from aimlib.errors import StoreError

from .test_repair import DAMAGINGS

SESSION = "0123456789ab"
SHARES = {"key": {"arm": "aim", "too_little": 0.25, "enough": 0.5}}
MEASURED = {"key": {"seconds": 1.25, "peak_bytes": 123456, "history": [1, 2, 3]}}
LIVE = {"runs": {"a": 1}, "beat": 3}
TRIES = [40, pytest.param(2000, marks=pytest.mark.slow)]  # 2,000 damaged files of each kind


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    found = ResultStore(tmp_path / "study")
    found.write_shares(SHARES)
    found.keep_measurements(MEASURED)
    found.write_live(SESSION, LIVE)
    return found


READERS: dict[str, tuple[Callable[[ResultStore], Any], Any, Any]] = {
    "shares.json": (ResultStore.read_shares, SHARES, {}),
    "measurements.json": (ResultStore.measurements, MEASURED, {}),
    f"live/{SESSION}.json": (ResultStore.live, [{**LIVE, "session": SESSION}], [{"session": SESSION}]),
}


def known(found: Any, whole: Any) -> Any:
    """Remove the unknown key that a damaged checksum key becomes, as if a different version had written the
    document."""
    if isinstance(found, list):
        return [known(each, whole[0]) for each in found]
    return {key: value for key, value in found.items() if key in whole}


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_document_is_read_completely_or_not_at_all(store: ResultStore, name: str, tries: int) -> None:
    read, whole, nothing = READERS[name]
    path = store.directory / name
    content, rng = path.read_bytes(), random.Random(f"{name} {tries}")
    assert read(store) == whole
    for _ in range(tries):
        path.write_bytes(rng.choice(DAMAGINGS)(content, rng))
        assert known(read(store), whole) in (whole, nothing)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_document_is_reported_and_set_aside(store: ResultStore, name: str) -> None:
    path = store.directory / name
    path.write_bytes(path.read_bytes().replace(b"1", b"7", 1))
    (damage,) = inspected(store.directory).damages
    assert damage.name == name
    (line,) = repair(store.directory)
    assert line.startswith(f"{name} is damaged (its checksum does not match its content): it contains ")
    assert not path.exists()


def test_documents_from_earlier_versions_can_be_read(store: ResultStore) -> None:
    for name, (read, whole, _) in READERS.items():
        path = store.directory / name
        document = json.loads(path.read_bytes())
        del document["checksum"]
        path.write_text(json.dumps(document), encoding="utf-8")
        assert read(store) == whole


@pytest.mark.parametrize("tries", TRIES)
def test_a_damaged_search_record_stops_the_search_and_the_message_contains_the_file_and_the_remedy(
    tmp_path: Path, tries: int
) -> None:
    rung = Rung(3, {0: 0.5, 1: 0.75}, {2: "it failed"}, (1,))
    journal = Journal(tmp_path)
    journal.write_rung("aim", 0, 0, rung)
    (path,) = journal.folder.iterdir()
    content, rng = path.read_bytes(), random.Random(tries)
    errors = []
    for _ in range(tries):
        path.write_bytes(rng.choice(DAMAGINGS)(content, rng))
        try:
            assert journal.rung("aim", 0, 0) == rung
        except StoreError as error:
            errors.append(str(error))
    assert len(errors) > tries / 2
    assert all(text.startswith(f"{path}: not a record of a search (") for text in errors)
    assert all("restore it from a copy" in text for text in errors)
    path.write_bytes(content.replace(b"0.75", b"0.95"))
    assert [damage.name for damage in inspected(tmp_path).damages] == [f"rounds/{path.name}"]
    assert "completed runs are not repeated" in repair(tmp_path)[0]
    assert path.exists()


@pytest.mark.parametrize(
    ("wrong", "said"), [("control.000.0", "arm 'control'"), ("aim.001.0", "batch 1"), ("aim.000.1", "rung 1")]
)
def test_a_record_from_a_different_place_in_a_search_is_refused(tmp_path: Path, wrong: str, said: str) -> None:
    """The record has a correct checksum and the same trial numbers, but it would stop the wrong trials."""
    journal = Journal(tmp_path)
    for arm, number, rung, values in (
        ("aim", 0, 0, {0: 0.5, 1: 0.75}),
        ("control", 0, 0, {0: 0.75, 1: 0.5}),
        ("aim", 1, 0, {0: 0.75, 1: 0.5}),
        ("aim", 0, 1, {0: 0.75, 1: 0.5}),
    ):
        journal.write_rung(arm, number, rung, Rung(3, values, {}))
    right = journal.folder / "aim.000.0.json"
    right.write_bytes((journal.folder / f"{wrong}.json").read_bytes())
    with pytest.raises(StoreError, match=rf"aim\.000\.0\.json: not a record of a search .*it is the record of {said}"):
        journal.rung("aim", 0, 0)


@pytest.mark.parametrize("key", ["batch", "rung"])
def test_a_record_from_an_earlier_version_without_its_place_is_accepted(tmp_path: Path, key: str) -> None:
    journal = Journal(tmp_path)
    journal.write_rung("aim", 0, 0, Rung(3, {0: 0.5}, {}))
    (path,) = journal.folder.iterdir()
    document = json.loads(path.read_bytes())
    del document["checksum"], document[key]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert journal.rung("aim", 0, 0) == Rung(3, {0: 0.5}, {})


@pytest.mark.parametrize(
    "changes", [{"epochs": "3"}, {"values": {"0": "much"}}, {"values": {"0": None}}, {"stopped": ["0"]}, {"values": []}]
)
def test_a_record_with_values_that_are_not_numbers_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The record was edited by hand and has no checksum."""
    journal = Journal(tmp_path)
    journal.write_rung("aim", 0, 0, Rung(3, {0: 0.5}, {}, (0,)))
    (path,) = journal.folder.iterdir()
    document = json.loads(path.read_bytes()) | changes
    del document["checksum"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(StoreError, match=r"aim\.000\.0\.json: not a record of a search .*restore it from a copy"):
        journal.rung("aim", 0, 0)


@pytest.mark.parametrize(
    "changes", [{"value": "much"}, {"value": None}, {"state": "won"}, {"seconds": "x"}, {"rungs": [[1, "x"]]}]
)
def test_an_outcome_with_values_that_are_not_numbers_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    outcome = {"state": "complete", "value": 0.5, "reason": "", "rungs": [], "epochs": 3, "seconds": 1.0}
    trial = {"number": 0, "drawn": {}, "run_ids": ["a"], "outcome": outcome | changes}
    journal = Journal(tmp_path)
    (journal.folder / "aim.000.json").write_text(json.dumps({"arm": "aim", "trials": [trial]}), encoding="utf-8")
    with pytest.raises(StoreError, match=r"aim\.000\.json: not a record of a search"):
        journal.round("aim", 0)
