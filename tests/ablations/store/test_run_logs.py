"""Run logs, in a directory and in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.execution.run_output import as_lines, entry
from ablations.store import ResultStore
from ablations.store.run_logs import Activity, find, read
from aimlib.errors import StoreError

RUN, OTHER = "0" * 20, "0" * 19 + "1"


def test_every_attempt_has_its_own_file_and_all_are_read_in_order(anywhere: str) -> None:
    store = ResultStore(anywhere)
    store.write_plan(
        {"name": "s", "runs": [{"run_id": each, "arm": "a", "seed": i} for i, each in enumerate((RUN, OTHER))]}
    )
    lines = [
        entry("stdout", "erste Größe"),
        entry("note", "retried"),
        entry("stdout", "second"),
        entry("stdout", "other"),
    ]
    first = store.write_log(RUN, as_lines(lines[:1]))
    assert store.write_log(RUN, as_lines(lines[1:2])) != first
    assert store.write_log(RUN, as_lines([lines[0], lines[2]]), first) == first
    store.write_log(OTHER, as_lines(lines[3:]))
    log = read(store.place, find(store.place, "a/0"))
    assert sorted((each.kind, each.text) for each in log.entries) == [
        ("note", "retried"),
        ("stdout", "erste Größe"),
        ("stdout", "second"),
    ]
    assert (log.settled, log.state) == (False, "not settled yet")
    assert not Activity(store.place).goes_on()


def test_a_damaged_state_does_not_count_as_an_active_session(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / f"{'a' * 12}.json").write_text("[" * 100_000)
    assert not Activity(tmp_path).goes_on()


@pytest.mark.parametrize("hostile", ["../../etc", "", "x" * 20, "0" * 20 + "/x"])
def test_hostile_run_ids_never_become_paths(anywhere: str, hostile: str) -> None:
    with pytest.raises(StoreError, match="20 hexadecimal digits"):
        ResultStore(anywhere).write_log(hostile, "")
