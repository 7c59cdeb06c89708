from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ablations.store import ResultStore
from ablations.store.repair import inspected, repair
from aimlib.errors import StoreError
from aimlib.records import FAILURES, IMAGES, PLANS, RUNS, SEGMENTS, STUDY_FILE, predictions_from
from analysis.reading.files import read_settled

from .sample import identity, make_record

COLUMNS = ["run_id", "test_accuracy", "predictions", "predictions.bits", "predictions.epochs", "epochs.test_loss"]
Damaging = Callable[[bytes, random.Random], bytes]


def flipped(content: bytes, rng: random.Random) -> bytes:
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    block = content[at : at + rng.choice([16, 512, 4096])]
    return content[:at] + bytes(len(block)) + content[at + len(block) :]


def swapped(content: bytes, rng: random.Random) -> bytes:
    size = rng.choice([16, 64, 512])
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    if len(blocks) > 1:
        one, other = rng.sample(range(len(blocks)), 2)
        blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


DAMAGINGS: list[Damaging] = [flipped, truncated, zeroed, swapped]


def values(directory: Path) -> dict[str, tuple[object, ...]]:
    return {row["run_id"]: tuple(map(repr, row.values())) for row in read_settled(directory, COLUMNS).to_pylist()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with two segments, two run files, a failure record, images and two plans."""
    store = ResultStore(tmp_path_factory.mktemp("study"))
    store.write_plan({"name": "first", "seeds": [0]})
    store.write_plan({"name": "first", "seeds": [0, 1]})
    for number in range(6):
        store.commit(make_record(identity(number)))
        if number in (1, 3):
            store.compact(1)
    store.record_failure(make_record(identity(9), status="failed", epochs=0))
    names = ["image", "image_name", "label", "class_name"]
    store.write_images(identity(0), [dict(zip(names, (n, f"photo {n}", n % 3, "cat"), strict=True)) for n in range(20)])
    store.write_live("a" * 12, {"study": "first"})
    return store.directory


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "copy"))


def file_of(directory: Path, kind: str) -> Path:
    return directory / kind if kind.endswith(".json") else sorted((directory / kind).iterdir())[0]


def test_an_intact_study_has_no_damage_and_is_left_unchanged(copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    found = inspected(copy)
    assert found.damages == []
    assert found.read == {STUDY_FILE: 1, SEGMENTS: 2, RUNS: 2, FAILURES: 1, IMAGES: 1, PLANS: 2, "live": 1}
    assert found.unsealed.total() == 0
    assert repair(copy) == []
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_damaged_row_is_set_aside_and_its_run_is_computed_again(copy: Path) -> None:
    whole = values(copy)
    path = file_of(copy, RUNS)
    content = path.read_bytes()
    path.write_bytes(content[:200])
    (line,) = repair(copy)
    assert line.startswith(f"runs/{path.name} is damaged (")
    assert f"`ablate run` computes the run again; set aside as damaged/runs-{path.name}" in line
    assert (copy / "damaged" / f"runs-{path.name}").read_bytes() == content[:200]
    assert ResultStore(copy).settled() == set(whole) - {path.stem}
    assert values(copy) == {run_id: row for run_id, row in whole.items() if run_id != path.stem}
    assert repair(copy) == []


def test_a_row_stored_under_another_runs_id_is_damage(copy: Path) -> None:
    one, other = sorted((copy / RUNS).iterdir())
    other.write_bytes(one.read_bytes())
    (line,) = repair(copy)
    assert f"runs/{other.name} is damaged (it contains a different run from the one in its name)" in line
    assert one.exists()
    assert not other.exists()


def test_two_damaged_versions_of_one_row_are_both_kept(copy: Path) -> None:
    path = file_of(copy, RUNS)
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert len(repair(copy)) == 1
    assert (copy / "damaged" / f"runs-{path.name}").read_bytes() == b"first"
    assert (copy / "damaged" / f"runs-{path.name}.1").read_bytes() == b"second"


def test_intact_groups_of_a_damaged_segment_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.store.parquet_files._ROW_GROUP_BYTES", 1)
    store = ResultStore(tmp_path / "study")
    for number in range(4):
        store.commit(make_record(identity(number)))
    store.compact(1)
    whole = values(store.directory)
    path = file_of(store.directory, SEGMENTS)
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(2).column(file.schema_arrow.names.index("test_accuracy"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    (line,) = repair(store.directory)
    assert line.endswith("; 3 of its rows are kept")
    left = values(store.directory)
    assert len(left) == 3
    assert left.items() <= whole.items()
    assert len(ResultStore(store.directory).settled()) == 3


def test_a_row_that_is_also_in_a_run_file_survives_the_loss_of_its_segment(copy: Path, study: Path) -> None:
    whole = values(copy)
    segment = file_of(copy, SEGMENTS)
    for run_id in pq.read_table(segment)["run_id"].to_pylist():
        shutil.copy(_row_file(study, run_id, copy.parent), copy / RUNS / f"{run_id}.parquet")
    segment.write_bytes(segment.read_bytes()[:1000])
    assert len(repair(copy)) == 1
    assert values(copy) == whole


def _row_file(study: Path, run_id: str, folder: Path) -> Path:
    number = next(number for number in range(6) if identity(number) == run_id)
    store = ResultStore(folder / "single")
    store.commit(make_record(identity(number)))
    return store.directory / RUNS / f"{run_id}.parquet"


def test_a_damaged_current_plan_is_replaced_by_the_newest_intact_plan(copy: Path) -> None:
    path = copy / STUDY_FILE
    path.write_bytes(path.read_bytes().replace(b"first", b"worst"))
    (line,) = repair(copy)
    assert line.endswith("; set aside as damaged/study.json; replaced by plans/001.json")
    assert ResultStore(copy).read_plan() == {"name": "first", "seeds": [0, 1]}


def test_a_plan_whose_checksum_is_damaged_beyond_recognition_is_replaced(copy: Path) -> None:
    path = copy / STUDY_FILE
    path.write_bytes(path.read_bytes().replace(b'"checksum"', b'"chexksum"'))
    with pytest.raises(
        StoreError, match=r"study\.json: is damaged: its checksum is called 'chexksum'; restore the newest of plans"
    ):
        ResultStore(copy).read_plan()
    (line,) = repair(copy)
    assert "study.json is damaged (its checksum is called 'chexksum')" in line
    assert line.endswith("; replaced by plans/001.json")
    assert ResultStore(copy).read_plan() == {"name": "first", "seeds": [0, 1]}


def without_checksum(path: Path) -> None:
    document = json.loads(path.read_bytes())
    del document["checksum"]
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change", [without_checksum, lambda path: insert(path, "checksum"), lambda path: insert(path, "ks")]
)
def test_a_current_plan_without_a_checksum_is_damaged_if_a_stored_plan_has_one(
    copy: Path, change: Callable[[Path], None]
) -> None:
    change(copy / STUDY_FILE)
    with pytest.raises(
        StoreError, match=r"study\.json: is damaged: its checksum is missing; restore the newest of plans"
    ):
        ResultStore(copy).read_plan()
    (line,) = repair(copy)
    assert line.endswith("; replaced by plans/001.json")
    assert ResultStore(copy).read_plan() == {"name": "first", "seeds": [0, 1]}


def insert(path: Path, before: str) -> None:
    """Insert characters before the last occurrence of a text."""
    start, found, end = path.read_text().rpartition(before)
    path.write_text(f"{start}17348bb10b{found}{end}")


def test_plans_of_an_earlier_version_have_no_checksums_and_are_intact(copy: Path) -> None:
    for path in (copy / STUDY_FILE, *(copy / PLANS).iterdir()):
        without_checksum(path)
    assert ResultStore(copy).read_plan() == {"name": "first", "seeds": [0, 1]}
    assert not inspected(copy).damages


def test_a_plan_without_a_checksum_replaces_the_current_plan_only_if_there_is_no_better_one(copy: Path) -> None:
    newest, older = copy / PLANS / "001.json", copy / PLANS / "000.json"
    without_checksum(newest)
    (copy / STUDY_FILE).write_text("{")
    assert repair(copy)[-1].endswith("; replaced by plans/000.json")
    without_checksum(older)
    (copy / STUDY_FILE).write_text("{")
    assert repair(copy)[-1].endswith("; replaced by plans/001.json")


def test_a_damaged_frozen_analysis_plan_is_reported_and_kept(copy: Path) -> None:
    document = {"schema_version": 2, "frozen_at": "2026", "runs_before": 0, "sha256": "0" * 64, "content": {}}
    path = copy / "analysis_plan.json"
    path.write_text(json.dumps(document))
    (line,) = repair(copy)
    assert "analysis_plan.json is damaged (its content does not match its SHA-256)" in line
    assert "restore it from a copy" in line
    assert json.loads(path.read_text()) == document


def test_a_study_from_a_newer_version_is_refused_and_left_unchanged(copy: Path) -> None:
    path = copy / STUDY_FILE
    path.write_text(json.dumps({"schema_version": 99}))
    file_of(copy, RUNS).write_bytes(b"of another format")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="schema version 99, newer than"):
        repair(copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_disk_that_does_not_answer_is_not_damage(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(path: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ablations.store.inspection.pq.ParquetFile", unreadable)
    with pytest.raises(StoreError, match=r"cannot be read: .*Input/output error; check the disk"):
        repair(copy)
    assert len(list((copy / RUNS).iterdir())) == 2


@pytest.mark.parametrize("kind", [RUNS, SEGMENTS, FAILURES, IMAGES, PLANS, STUDY_FILE, "live"])
@pytest.mark.parametrize(
    "tries", [8, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)  # takes minutes
def test_random_damage_never_changes_a_result(study: Path, tmp_path: Path, kind: str, tries: int) -> None:
    """Every damaged file is set aside, or no value that is read has changed (slow: several minutes for each kind)."""
    whole = values(study)
    rng = random.Random(f"{kind} {tries}")
    found = 0
    for attempt in range(tries):
        copy = Path(shutil.copytree(study, tmp_path / "copy"))
        path = file_of(copy, kind)
        content = path.read_bytes()
        damaged = DAMAGINGS[attempt % len(DAMAGINGS)](content, rng)
        path.write_bytes(damaged)
        lines = repair(copy)
        left = values(copy)
        assert left.items() <= whole.items()
        store = ResultStore(copy)
        assert store.settled() == set(left)
        assert store.read_plan() in ({"name": "first", "seeds": [0, 1]}, {"name": "first", "seeds": [0]})
        if any("is damaged (" in line for line in lines):
            assert (copy / "damaged").exists()
            found += 1
        else:
            assert left == whole
        for run_id in set(whole) - set(left):
            assert store.commit(make_record(run_id))
        assert values(copy) == whole
        shutil.rmtree(copy)
    assert found >= tries * 0.3  # damage to metadata that is never read may go unnoticed


def test_predictions_are_also_compared(copy: Path) -> None:
    (row,) = pq.read_table(file_of(copy, RUNS), columns=COLUMNS).to_pylist()
    predictions = predictions_from(row["predictions"], row["predictions.bits"], row["predictions.epochs"])
    number = next(number for number in range(6) if identity(number) == row["run_id"])
    assert np.array_equal(predictions, make_record(identity(number)).predictions)


def test_compaction_keeps_run_files_whose_segment_is_damaged(copy: Path, study: Path) -> None:
    whole = values(copy)
    segment = file_of(copy, SEGMENTS)
    ids = pq.read_table(segment)["run_id"].to_pylist()
    for run_id in ids:
        shutil.copy(_row_file(study, run_id, copy.parent), copy / RUNS / f"{run_id}.parquet")
    with pq.ParquetFile(segment) as file:
        column = file.metadata.row_group(0).column(file.schema_arrow.names.index("test_accuracy"))
    content = bytearray(segment.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    segment.write_bytes(content)
    with pytest.raises(StoreError, match=re.escape(segment.name)):
        ResultStore(copy).compact(100)
    assert {path.stem for path in (copy / RUNS).iterdir()} >= set(ids)
    repair(copy)
    assert values(copy) == whole
    assert ResultStore(copy).compact(1) == 4
    assert values(copy) == whole


def test_opening_a_study_from_a_newer_version_does_not_create_files(tmp_path: Path) -> None:
    document = {"schema_version": 4, "package_version": "9.1.0"}
    (tmp_path / STUDY_FILE).write_text(json.dumps(document))
    for use in (ResultStore, repair, inspected):
        with pytest.raises(StoreError, match=r"schema version 4, .*pip install 'aim-ablations==9\.1\.0'"):
            use(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [STUDY_FILE]
    assert json.loads((tmp_path / STUDY_FILE).read_text()) == document


@pytest.mark.parametrize("package", [None, 3, "$(touch /tmp/x)", "\x1b[31m"])
def test_an_invalid_release_is_not_mentioned(tmp_path: Path, package: object) -> None:
    (tmp_path / STUDY_FILE).write_text(json.dumps({"schema_version": 4, "package_version": package}))
    with pytest.raises(StoreError, match=r"read it with the release of aim-ablations that wrote it$"):
        ResultStore(tmp_path)
