"""The table in docs/reliability.md agrees with the tests' records, for the kinds that were fixed in advance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import table
from kinds import COUNTS, KINDS, RESULTS, TO_FILE, read, record


def test_the_page_contains_the_table_generated_from_the_records() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.page(page, read()) == page, "run `python tests/faults/table.py`"


def test_no_kind_of_fault_lost_duplicated_or_changed_a_run() -> None:
    recorded = read()
    assert list(recorded) == [kind for kind in KINDS if kind in recorded], (
        "the recorded kinds are in the order of the list"
    )
    for kind, variants in recorded.items():
        for counts in variants.values():
            assert (counts["lost"], counts["doubled"], counts["wrong"]) == (0, 0, 0), kind
            assert counts["injected"] or kind == "10,000 runs", kind
            assert set(counts) == {*COUNTS, "date", "commit"}


def test_a_record_replaces_only_its_own_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "faults.json"
    monkeypatch.setenv(TO_FILE, str(path))
    record("disk: slow", "store", injected=1, runs=6, lost=0, doubled=0, wrong=0)
    record("driver killed", injected=3, runs=6, lost=0, doubled=0, wrong=0)
    record("disk: slow", "session", injected=2, runs=6, lost=0, doubled=0, wrong=0)
    record("disk: slow", "session", injected=5, runs=6, lost=1, doubled=0, wrong=0)
    found = json.loads(path.read_text())
    assert list(found) == ["driver killed", "disk: slow"], "in the order of the list"
    assert {variant: counts["injected"] for variant, counts in found["disk: slow"].items()} == {
        "store": 1,
        "session": 5,
    }
    (line,) = [line for line in table.table(found).splitlines() if KINDS["disk: slow"] in line]
    assert [cell.strip() for cell in line.split("|")][2:7] == ["6", "12", "1", "0", "0"]


def test_a_kind_without_a_record_is_marked() -> None:
    lines = table.table({}).splitlines()
    assert len(lines) == 2 + len(KINDS)
    assert all("| not yet |" in line for line in lines[2:])


def test_an_undeclared_kind_is_refused() -> None:
    with pytest.raises(AssertionError, match="'meteorite' is not in the list of kinds"):
        record("meteorite", injected=1, runs=1, lost=0, doubled=0, wrong=0)


def test_results_are_recorded_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TO_FILE, raising=False)
    before = RESULTS.read_bytes()
    record("disk: slow", injected=99, runs=1, lost=0, doubled=0, wrong=0)
    assert RESULTS.read_bytes() == before


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="the lines <!-- faults"):
        table.page("# What is lost when things go wrong\n", {})
