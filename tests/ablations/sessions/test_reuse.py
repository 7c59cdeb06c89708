"""Runs that other studies have computed are verified and copied, and no run is computed twice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny_study
from reused_runs import change, digests, run, run_files

import analysis
from ablations.planning import plan as planning
from ablations.progress.history import History
from ablations.sessions import reuse, screening
from ablations.spec.study import read_study
from ablations.store import ResultStore, read_mark
from aimlib.errors import ConfigError, UsageError
from aimlib.paths import place
from aimlib.records import ADDED, write_table

Study = Callable[..., Path]
ONE_EPOCH = {"base.training.epochs": 1}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a study with two arms and two seeds; copy it before you change it."""
    folder = tmp_path_factory.mktemp("computed")
    file = tiny_study.write(folder, tiny_study.changed({**ONE_EPOCH, "name": "first"}))
    run(file, folder / "first")
    return folder / "first"


@pytest.fixture
def first(computed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(computed, tmp_path / "first"))


@pytest.fixture
def second(study: Study) -> Study:
    """Return a function that writes a study with the same runs but a different name."""
    return lambda changes=None: study({**ONE_EPOCH, "name": "second", **(changes or {})}, "second.yaml")


def found_in(file: Path, given: list[Any], own: Path) -> reuse.Reusable:
    plan = planning.plan(read_study(file))
    return reuse.find(plan, {run.run_id for run in plan.runs}, given, own)


def origins(directory: Path | str) -> dict[str, str]:
    """Return the origins of the copied runs, by run id."""
    return dict(analysis.load(str(directory)).runs.set_index("run_id")["reused_from"].dropna())


def test_runs_from_another_study_are_copied_with_their_origin_and_only_new_runs_are_computed(
    first: Path, second: Study, tmp_path: Path
) -> None:
    before, out = digests(first), tmp_path / "out"
    session, text = run(second({"arms.aim2": {"of": "aim", "training": {"batch_size": 20}}}), out, reuse=first)
    assert (session.planned, session.computed, session.reused, session.settled_before) == (6, 2, 4, 0)
    assert not session.open
    name = f"first@{read_mark(first)[:12]}"
    assert f"4 of 6 runs are copied from {name}" in text
    old, new = tiny_study.numbers(first), tiny_study.numbers(out)
    assert {run_id: new[run_id] for run_id in old} == old, (
        "predictions and curves are copied too, and are bitwise identical"
    )
    assert origins(out) == dict.fromkeys(old, name)
    results, there = analysis.load(out), analysis.load(first)
    copied = results.runs[results.runs["reused_from"].notna()]
    for column in ("study", "host", "started_at", "finished_at", "seconds"):
        assert copied.set_index("run_id")[column].to_dict() == there.runs.set_index("run_id")[column].to_dict()
    assert len(results.predictions) == 6 * 100
    assert digests(first) == before, "the other study is only read"


def test_a_study_whose_runs_all_exist_is_settled_without_computing_any_run(
    first: Path, second: Study, tmp_path: Path
) -> None:
    session, _ = run(second(), tmp_path / "out", reuse=[first])
    assert (session.computed, session.reused) == (0, 4)
    session, _ = run(second(), tmp_path / "out", reuse=[first])
    assert (session.computed, session.reused, session.settled_before) == (0, 0, 4)


def test_the_key_is_relative_to_the_study_file_and_does_not_change_any_run_id(
    first: Path, second: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_key, without = (
        [run.run_id for run in planning.plan(read_study(second(changes))).runs] for changes in ({"reuse": "first"}, {})
    )
    assert with_key == without
    file = second({"reuse": ["first"]})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    session, _ = run(file, elsewhere / "out")
    assert (session.computed, session.reused) == (0, 4)
    assert "reuse" not in (elsewhere / "out" / "study.json").read_text()


def test_segments_and_rows_from_earlier_versions_are_copied(first: Path, second: Study, tmp_path: Path) -> None:
    shutil.rmtree(first / "ledger")  # these versions did not store checksums
    for old in run_files(first):
        table = pq.ParquetFile(old).read()
        old.unlink()
        write_table(table.drop_columns(sorted(ADDED)), old)
    assert ResultStore(first).compact(3) == 4
    assert not run_files(first)
    session, _ = run(second(), tmp_path / "out", reuse=first)
    assert (session.computed, session.reused) == (0, 4)
    row = {row["run_id"]: row for row in tiny_study.rows(tmp_path / "out")}[old.stem]
    assert row["step"] is None
    assert row["reused_from"].startswith("first@")


def test_a_folder_of_studies_stands_for_all_of_its_studies_except_the_study_itself(
    first: Path, second: Study, tmp_path: Path
) -> None:
    own = tmp_path / "results" / "second"
    shutil.copytree(first, tmp_path / "results" / "first")
    run(second({"seeds": 1}), own)
    session, _ = run(second(), own, reuse=tmp_path / "results")
    assert (session.settled_before, session.reused, session.computed) == (2, 2, 0)
    with pytest.raises(UsageError, match="neither a study directory nor a folder of study directories"):
        run(second({"seeds": 3}), own, reuse=tmp_path / "nowhere")


def test_rows_are_copied_from_and_to_a_bucket(first: Path, second: Study, remote: str, tmp_path: Path) -> None:
    session, _ = run(second(), remote, reuse=first)
    assert (session.computed, session.reused) == (0, 4)
    ResultStore(place(remote)).compact(1)
    third = second({"name": "third"})
    session, _ = run(third, tmp_path / "third", reuse=remote)
    assert (session.computed, session.reused) == (0, 4)
    assert set(origins(tmp_path / "third").values()) == {f"second@{read_mark(place(remote))[:12]}"}


def test_a_damaged_or_inconsistent_row_is_named_and_computed_instead(
    first: Path, second: Study, tmp_path: Path
) -> None:
    broken, changed, pruned, _ = run_files(first)
    broken.write_bytes(broken.read_bytes()[:200])
    change(changed, test_accuracy=0.99)
    change(pruned, status="pruned", reason="stopped by a search")
    session, text = run(second(), tmp_path / "out", reuse=first)
    assert (session.computed, session.reused, len(session.open)) == (3, 1, 0)
    assert f"reuse {broken}: nothing is copied from this file: not a readable Parquet file" in text
    assert f"reuse {changed}: run {changed.stem} is not copied from this file: test_accuracy is 0.99" in text
    assert f"reuse {pruned}: run {pruned.stem} is not copied from this file: its status is 'pruned'" in text
    assert list(origins(tmp_path / "out")) == [run_files(first)[3].stem]


def test_a_row_that_contradicts_the_ledger_of_its_study_is_named_and_computed_instead(
    first: Path, second: Study, tmp_path: Path
) -> None:
    """The row's predictions agree with its accuracies, and the new study would enter the row in its own ledger."""
    changed = run_files(first)[0]
    change(changed, seconds=1.0)
    session, text = run(second(), tmp_path / "out", reuse=first)
    assert (session.computed, session.reused, len(session.open)) == (1, 3, 0)
    assert f"run {changed.stem} is not copied from this file: it is not the row in its study's ledger" in text
    shutil.rmtree(first / "ledger")
    session, text = run(second(), tmp_path / "again", reuse=first)
    assert (session.computed, session.reused) == (4, 0)
    assert text.count("its study's ledger/ is missing") == 4


def test_the_first_study_with_a_valid_row_is_used(first: Path, second: Study, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(first, tmp_path / "copy"))
    (copy / "mark").write_text("f" * 32)
    damaged = run_files(first)[0]
    damaged.write_bytes(b"nothing")
    found = found_in(second(), [first, copy], tmp_path / "out")
    assert {run_id: each.study.name for run_id, each in found.runs.items()} == {
        path.stem: "first@ffffffffffff" if path == damaged else f"first@{read_mark(first)[:12]}"
        for path in run_files(first)
    }


def test_only_runs_of_the_planned_seeds_are_copied_so_looks_count_them_in_seed_order(
    first: Path, second: Study, tmp_path: Path
) -> None:
    run(second({"seeds": [1]}), tmp_path / "out", reuse=first)
    assert analysis.load(tmp_path / "out").runs["seed"].tolist() == [1, 1]
    assert len(tiny_study.rows(tmp_path / "out")) == 2
    run(second({"seeds": [1, 0]}), tmp_path / "out", reuse=first)
    assert analysis.load(tmp_path / "out").runs["seed"].tolist() == [1, 1, 0, 0]


def test_a_session_that_ends_halfway_does_not_duplicate_any_runs(first: Path, second: Study, tmp_path: Path) -> None:
    file, out = second(), tmp_path / "out"
    plan = planning.plan(read_study(file))
    found = found_in(file, [first], out)
    store = ResultStore(out)
    asked = iter([False] * 3)
    assert reuse.take(found, plan, store, lambda: next(asked, True)) in (1, 2)
    assert 0 < len(store.settled()) < 4
    session, _ = run(file, out, reuse=first)
    assert session.settled_before + session.reused == 4
    assert tiny_study.numbers(out) == tiny_study.numbers(first)


def test_if_several_sessions_copy_at_the_same_time_each_row_is_written_by_one_of_them(
    first: Path, second: Study, tmp_path: Path
) -> None:
    file, out = second(), tmp_path / "out"
    plan, found = planning.plan(read_study(file)), found_in(file, [first], out)
    stores, counts = [ResultStore(out) for _ in range(4)], [0] * 4

    def copy(number: int) -> None:
        counts[number] = reuse.take(found, plan, stores[number])

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 4
    assert tiny_study.numbers(out) == tiny_study.numbers(first)


def test_a_row_that_changes_after_it_was_found_is_not_copied(first: Path, second: Study, tmp_path: Path) -> None:
    file, out = second(), tmp_path / "out"
    plan, found = planning.plan(read_study(file)), found_in(file, [first], out)
    change(run_files(first)[0], selected_epoch=7)
    assert reuse.take(found, plan, ResultStore(out)) == 3
    assert run_files(first)[0].stem not in ResultStore(out).settled()


def test_rows_that_are_compacted_after_they_were_found_are_copied(first: Path, second: Study, tmp_path: Path) -> None:
    file, out = second(), tmp_path / "out"
    plan, found = planning.plan(read_study(file)), found_in(file, [first], out)
    ResultStore(first).compact(1)
    assert reuse.take(found, plan, ResultStore(out)) == 4
    assert tiny_study.numbers(out) == tiny_study.numbers(first)


def test_a_search_does_not_reuse_runs(second: Study, first: Path) -> None:
    search = {"search": {"vary": "aim", "trials": 2, "seeds": [100], "over": ["training.optimizer.learning_rate"]}}
    with pytest.raises(ConfigError, match="reuse: a search computes all its trials itself"):
        read_study(second({**search, "reuse": "first"}))
    with pytest.raises(UsageError, match="--reuse: a search computes all its trials itself"):
        screening.run(second(search), reuse=[first])


@pytest.mark.parametrize("value", [3, [""], [["a"]], {"a": "b"}])
def test_the_reuse_key_accepts_directories(value: object, second: Study) -> None:
    with pytest.raises(ConfigError, match=r"reuse: must be study directories, e\.g\."):
        read_study(second({"reuse": value}))


def test_the_time_left_does_not_depend_on_the_pace_of_other_machines(
    first: Path, second: Study, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(second(), out, reuse=first)
    rows = History(out, ResultStore(out), {}).poll()
    assert len(rows) == 4
    assert {row.seconds for row in rows} == {None}
    assert {row.epochs_run for row in rows} == {1}
    assert None not in {row.seconds for row in History(first, ResultStore(first), {}).poll()}
