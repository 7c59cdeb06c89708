"""A study directory is loaded with one row per run, however the rows are divided into files; errors name the file."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic_study import ARMS, FINGERPRINT, FakeArm, run_id

import analysis
from aimlib import records
from aimlib.errors import StoreError, UsageError
from analysis.reading import files, frames


@pytest.fixture
def make_study(make_study):
    """Write one file per run unless specified otherwise."""
    return functools.partial(make_study, compacted=False)


def test_runs_follow_the_plan(make_study):
    results = analysis.load(make_study(seeds=3))
    assert list(results.runs) == [column.name for column in frames.TABLES["runs"]]
    assert list(results.runs["arm"]) == [arm.name for arm in ARMS for _ in range(3)]
    assert list(results.runs["seed"]) == [0, 1, 2] * 4
    assert list(results.runs["role"].unique()) == ["baseline", "matched", "frozen", "treatment"]
    assert results.missing.empty
    assert results.stale.empty
    assert results.plan.scope.backbone == "resnet50"


def test_segments_and_run_files_give_the_same_frames(make_study):
    loose, packed = (analysis.load(make_study(seeds=2, compacted=compacted)) for compacted in (False, True))
    pd.testing.assert_frame_equal(loose.runs, packed.runs)
    pd.testing.assert_frame_equal(loose.epochs, packed.epochs)
    pd.testing.assert_frame_equal(loose.predictions, packed.predictions)


def test_a_row_that_is_both_in_a_segment_and_in_a_file_counts_once_and_the_segment_is_used(make_study):
    directory = make_study(arms=ARMS[:1], seeds=2, compacted=True)
    segment = next((directory / records.SEGMENTS).iterdir())
    row = pq.read_table(segment).slice(0, 1)
    position = row.schema.get_field_index("host")
    other = row.set_column(position, row.schema.field(position), [["elsewhere"]])
    records.write_table(other, directory / records.RUNS / f"{run_id(0, 0)}.parquet")
    results = analysis.load(directory)
    assert list(results.runs["host"]) == ["node1", "node1"]
    assert len(results.epochs) == 12
    assert len(results.predictions) == 2 * 400


def test_a_run_file_that_vanishes_during_reading_is_found_in_its_segment(make_study, monkeypatch):
    directory = make_study(arms=ARMS[:1], seeds=4)
    runs = sorted((directory / records.RUNS).iterdir())
    read, calls = files.read_table, []

    def compact_then_read(path, names):
        if not calls:
            calls.append(path)
            tables = [pq.read_table(run) for run in runs]
            pq.write_table(files.pa.concat_tables(tables), directory / records.SEGMENTS / f"{'ab' * 10}.parquet")
            for run in runs:
                run.unlink()
        return read(path, names)

    monkeypatch.setattr(files, "_THREADS", 1)
    monkeypatch.setattr(files, "read_table", compact_then_read)
    assert list(analysis.load(directory).runs["seed"]) == [0, 1, 2, 3]


def test_files_that_keep_vanishing_cause_an_error(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{'a' * 20}.parquet").touch()

    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    with pytest.raises(StoreError, match="vanish"):
        files.collect(tmp_path, gone)


def test_an_unsettled_run_is_shown_with_its_last_failure(make_study):
    directory = make_study(arms=ARMS[:1], seeds=2, status={("baseline", 1): "failed"})
    first = directory / records.FAILURES / f"{run_id(0, 1)}.000.parquet"
    table = pq.read_table(first)
    position = table.schema.get_field_index("reason")
    later = table.set_column(position, table.schema.field(position), [["disk full"]])
    records.write_table(later, directory / records.FAILURES / f"{run_id(0, 1)}.010.parquet")
    # The failure of a run that was settled later does not count.
    shutil.copy(first, directory / records.FAILURES / f"{run_id(0, 0)}.000.parquet")
    runs = analysis.load(directory).runs
    assert list(runs["status"]) == ["finished", "failed"]
    assert runs["reason"].iloc[1] == "disk full"
    assert np.isnan(runs["test_accuracy"].iloc[1])


def test_missing_and_stale_runs_are_distinguished(make_study):
    directory = make_study(arms=ARMS[:2], seeds=3, status={("matched", 2): "missing"})
    document = json.loads((directory / "study.json").read_text())
    document["runs"] = [run for run in document["runs"] if (run["arm"], run["seed"]) != ("baseline", 0)]
    (directory / "study.json").write_text(json.dumps(document))
    results = analysis.load(directory)
    assert results.missing.to_dict("records") == [{"run_id": run_id(1, 2), "arm": "matched", "seed": 2}]
    assert list(results.stale["run_id"]) == [run_id(0, 0)]
    assert len(results.runs) == 4
    assert set(results.epochs["run_id"]) == set(results.runs["run_id"])


def test_the_arm_and_the_seed_come_from_the_plan(make_study):
    directory = make_study(arms=ARMS[:1], seeds=1)
    text = (directory / "study.json").read_text().replace('"baseline"', '"renamed"').replace('"seed": 0', '"seed": 77')
    (directory / "study.json").write_text(text.replace('"role": "renamed"', '"role": "baseline"'))
    runs = analysis.load(directory).runs
    assert (runs["arm"].iloc[0], runs["seed"].iloc[0]) == ("renamed", 77)


def test_dtypes_do_not_depend_on_the_rows(make_study):
    full = analysis.load(make_study(seeds=2))
    nothing = {(arm.name, seed): "missing" for arm in ARMS for seed in range(2)}
    empty = analysis.load(make_study(seeds=2, status=nothing, models=False, write_images=False))
    for table in ("runs", "epochs", "predictions", "models", "images", "stale", "missing"):
        ours, theirs = getattr(empty, table), getattr(full, table)
        assert list(ours) == list(theirs) == [column.name for column in frames.TABLES[table]]
        pd.testing.assert_series_equal(ours.dtypes, theirs.dtypes)
    assert len(empty.missing) == 8


def test_epochs_are_in_long_format_and_agree_with_the_runs(make_study):
    results = analysis.load(make_study(seeds=2, status={("aim", 1): "diverged"}, epochs=6))
    counts = results.epochs.groupby("run_id").size()
    expected = results.runs.set_index("run_id")["epochs_run"]
    assert (counts.sort_index() == expected.sort_index()).all()
    last = results.epochs.groupby("run_id")["test_accuracy"].last()
    np.testing.assert_allclose(last.sort_index(), results.runs.set_index("run_id")["test_accuracy"].sort_index())


@pytest.mark.parametrize("compacted", [True, False])
def test_epochs_of_selected_arms_are_the_same_rows_and_the_runs_stay_complete(make_study, compacted):
    directory = make_study(seeds=3, status={("aim", 1): "failed", ("frozen", 0): "diverged"}, compacted=compacted)
    whole = analysis.load(directory)
    some = analysis.load(directory, epochs=["aim", "frozen", "no such arm"])
    expected = whole.epochs[whole.epochs["arm"].isin(["aim", "frozen"])].reset_index(drop=True)
    assert len(expected)
    pd.testing.assert_frame_equal(some.epochs, expected)
    pd.testing.assert_frame_equal(some.runs, whole.runs)
    by_role = analysis.load(directory, epochs=lambda plan: [arm.name for arm in plan.arms if arm.role == "baseline"])
    assert set(by_role.epochs["arm"]) == {"baseline"}


def test_without_epochs_the_epochs_frame_is_empty_but_has_the_same_columns(make_study):
    directory = make_study(seeds=2)
    none, whole = analysis.load(directory, epochs=False), analysis.load(directory)
    assert none.epochs.empty
    pd.testing.assert_series_equal(none.epochs.dtypes, whole.epochs.dtypes)
    pd.testing.assert_frame_equal(none.runs, whole.runs)
    assert analysis.load([directory], epochs=False).epochs.empty


def test_predictions_reproduce_every_accuracy(make_study):
    results = analysis.load(make_study(seeds=2, status={("frozen", 0): "failed", ("aim", 1): "diverged"}))
    accuracy = results.predictions.groupby("run_id")["correct"].mean()
    settled = results.runs[results.runs["status"] != "failed"].set_index("run_id")
    np.testing.assert_allclose(accuracy.sort_index(), settled["test_accuracy"].sort_index())
    every = results.predictions_at("all")
    by_epoch = every.groupby(["run_id", "epoch"])["correct"].mean()
    expected = results.epochs.set_index(["run_id", "epoch"])["test_accuracy"]
    np.testing.assert_allclose(by_epoch.sort_index(), expected.sort_index())
    assert set(results.predictions_at(5)["run_id"]) == set(results.epochs.query("epoch == 5")["run_id"])
    assert set(every["label"]) <= set(range(120))


def test_the_initial_network_is_epoch_zero(make_study):
    directory = make_study(arms=ARMS[:1], seeds=1)
    path = directory / records.RUNS / f"{run_id(0, 0)}.parquet"
    row = pq.read_table(path).to_pylist()[0]
    trial = {column.name: row[column.name] for column in records.RUN_COLUMNS}
    trial |= {"status": "diverged", "epochs_run": 0, "selected_epoch": 0}
    start = np.zeros((1, 400), dtype=np.uint16)
    records.write_table(records.to_table(records.RunRecord(trial, [], start)), path)
    results = analysis.load(directory)
    assert results.epochs.empty
    assert set(results.predictions["epoch"]) == {0}
    assert len(results.predictions_at(0)) == 400
    assert results.predictions_at(1).empty


def test_predictions_require_the_table_of_images(make_study):
    results = analysis.load(make_study(arms=ARMS[:1], seeds=1, write_images=False))
    with pytest.raises(StoreError, match=rf"{FINGERPRINT}\.parquet: missing"):
        _ = results.predictions
    with pytest.raises(UsageError, match="'selected' or 'all'"):
        results.predictions_at("best")


@pytest.mark.parametrize("folder", ["runs", "segments"])
def test_a_damaged_file_is_reported_with_a_remedy(make_study, folder):
    directory = make_study(arms=ARMS[:1], seeds=1)
    broken = directory / folder / f"{'0badf00d':0>20}.parquet"
    broken.write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match=r"0badf00d\.parquet: not a readable Parquet file.*ablate run"):
        analysis.load(directory)


def test_an_unknown_schema_version_is_refused(make_study):
    directory = make_study(arms=ARMS[:1], seeds=1)
    path = directory / records.RUNS / f"{run_id(0, 0)}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"schema_version": "99"}), path)
    with pytest.raises(StoreError, match="schema version 99"):
        analysis.load(directory)


def test_a_file_without_a_column_is_refused(make_study):
    directory = make_study(arms=ARMS[:1], seeds=1)
    path = directory / records.RUNS / f"{run_id(0, 0)}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["status"]), path)
    with pytest.raises(StoreError, match="lacks the columns status"):
        analysis.load(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 1}, "schema version 1"),
        ({"name": 3}, "name must be str"),
        ({"scope": {}}, r"scope\.dataset must be str"),
        ({"arms": [{"name": "a", "role": "hero", "of": None, "config": {}}]}, r"arms\[0\]\.role"),
        ({"runs": [{"run_id": "x", "arm": "nobody", "seed": 0}]}, "arm that is not listed"),
        ({"runs": [{"run_id": "x", "arm": "baseline", "seed": s} for s in (0, 1)]}, "same run_id"),
        ({"runs": [{"run_id": r, "arm": "baseline", "seed": 0} for r in "xy"]}, "two runs with the same seed"),
        ({"delta_pp": 0}, "delta_pp must be positive"),
        ({"seeds": ["0"]}, "seeds must be integers"),
    ],
)
def test_a_bad_plan_is_refused(make_study, change, message):
    directory = make_study(arms=ARMS[:1], seeds=1)
    document = json.loads((directory / "study.json").read_text()) | change
    (directory / "study.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match=message):
        analysis.load(directory)


def test_a_directory_without_a_study_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"study\.json is missing"):
        analysis.load(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(StoreError, match="not readable as JSON"):
        analysis.load(tmp_path)


def test_for_a_directory_without_a_study_the_studies_nearby_are_listed(make_study):
    study = make_study()
    with pytest.raises(
        StoreError, match=rf"missing; give the .* wrote, such as one of the studies in it: {study.name}$"
    ):
        analysis.load(study.parent)
    with pytest.raises(
        StoreError, match=rf"there is no such directory; did you mean '{study.name}'\? give the directory"
    ):
        analysis.load(study.with_name(f"{study.name}s"))
    with pytest.raises(
        StoreError, match=r"study\.json is missing, because this is not a directory; give the directory"
    ):
        analysis.load(study / "study.json")


def test_a_new_study_has_only_a_plan(make_study):
    directory = make_study(arms=[FakeArm("alone")], seeds=2)
    for name in ("runs", "failures", "segments", "images"):
        shutil.rmtree(directory / name)
    results = analysis.load(str(directory))
    assert results.runs.empty
    assert len(results.missing) == 2
    assert results.predictions.empty


def test_columns_lists_every_column_of_every_table(make_study):
    listed = analysis.columns()
    assert list(listed) == ["table", "column", "type", "unit", "meaning"]
    results = analysis.load(make_study(arms=ARMS[:1], seeds=1))
    for table, rows in listed.groupby("table"):
        assert list(getattr(results, table)) == list(rows["column"])
    assert (listed["meaning"] != "").all()
