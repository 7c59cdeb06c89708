"""If something else is in place of a stored file, every command reports it or works without the file, and no command
waits forever."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import endless_waits
import pytest
from victims import Victim

import ablations
from aimlib.errors import StoreError
from aimlib.records.checksums import with_checksum

FILES = (
    "study.json",
    "runs/*.parquet",
    "ledger/*",
    "live/*.json",
    "plans/*.json",
    "logs/{run}.000.jsonl",
    "code/0.json",
)
OTHERS = (
    *("analysis_plan.json", "models.parquet", "mark", "shares.json", "measurements.json", "images/*.parquet"),
    *("failures/{run}.000.parquet", "unblinded/000.json"),
)
COMMANDS = (("logs", "aim/0"), ("watch", "--once"), ("archive", "--out", "results/packed.tar.gz"), ("verify",))


@pytest.fixture(autouse=True)
def endless_waits_end() -> Iterator[None]:
    """Interrupt calls that take much longer than any of these tests."""
    with endless_waits.ended():
        yield


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


THINGS: dict[str, Callable[[Path], object]] = {"pipe": os.mkfifo, "folder": os.mkdir, "link": link_to_nothing}


def place(victim: Victim, name: str) -> Path:
    """Return the path where a kind of file is or would be stored."""
    name = name.replace("{run}", victim.runs[0].stem)
    return next(victim.directory.glob(name)) if "*" in name else victim.directory / name


def put(victim: Victim, name: str, thing: str) -> Path:
    path = place(victim, name)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    THINGS[thing](path)
    return path


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        *((name, thing) for name in FILES for thing in THINGS),
        *(pytest.param(name, thing, marks=pytest.mark.slow) for name in OTHERS for thing in THINGS),
    ],
)
def test_readers_report_what_is_in_the_place_of_a_file_or_manage_without_the_file(
    victim: Victim, name: str, thing: str
) -> None:
    path = put(victim, name, thing)
    said = victim.read(report=False)
    for command, *options in COMMANDS:
        call = (command, victim.directory, *options)
        said |= victim._said({command: lambda call=call: victim.ablate(*call)})  # type: ignore[misc]
    for command, text in said.items():
        assert text == "ok" or path.name in text or path.parent.name in text, (command, text)
        assert "cannot be written" not in text


@pytest.mark.parametrize("name", ["runs/*.parquet", "plans/*.json", "ledger/*", "mark"])
def test_a_session_refuses_a_dangling_link_immediately(victim: Victim, name: str) -> None:
    path = put(victim, name, "link")
    (text,) = victim.run().values()
    assert f"{path.parent.name}/{path.name}" in text
    assert "a link to a file that does not exist" in text


def test_a_file_without_read_permission_is_not_reported_as_damaged(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aimlib.paths

    path = victim.runs[0]

    def refused(found: os.stat_result) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(aimlib.paths, "_refuse_special", refused)
    with pytest.raises(StoreError, match="get permission to read it") as error:
        ablations.status(victim.directory)
    assert "delete" not in str(error.value)
    monkeypatch.undo()
    path.unlink()


def test_the_archive_command_reports_a_damaged_plan(victim: Victim) -> None:
    path = victim.plant("plans/000.json", "")
    victim.plant("plans/001.json", json.dumps({"name": "x"}))
    with pytest.raises(StoreError, match=r"plans/000\.json: is missing or damaged"):
        ablations.archive(victim.directory, victim.folder / "a.tar.gz")
    assert path.exists()


@pytest.mark.parametrize("change", ["another version", "no plan"])
def test_verify_reports_a_plan_that_cannot_be_read(victim: Victim, change: str) -> None:
    if change == "another version":
        victim.plant_plan(victim.plan() | {"schema_version": "3"})
        shutil.rmtree(victim.directory / "plans")
    else:
        (victim.directory / "study.json").unlink()
    found = ablations.verify(victim.directory)
    assert not found.is_intact
    assert any("study.json" in text for text in found.contradictions)


def test_a_log_is_not_followed_forever_after_a_clock_ran_ahead(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.store import run_logs

    monkeypatch.setattr(run_logs, "_SILENT_S", 1.0)
    (run_id,) = [path.stem for path in victim.runs[:1]]
    victim.runs[0].unlink()
    victim.plant(f"live/{'a' * 12}.json", json.dumps({"state": "running", "at": "2200-01-01T00:00:00+00:00"}))
    log = ablations.logs(victim.directory, run_id, follow=True, interval=0.1)
    assert not log.settled


def test_a_clock_that_jumps_does_not_remove_a_sessions_state(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.store import ResultStore

    store = ResultStore(victim.directory)
    store.write_live("a" * 12, {"state": "running"})
    store.request_stop("a" * 12)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 48 * 3600.0)
    store.clean()
    assert store.stop_requested("a" * 12)
    assert "a" * 12 in [state["session"] for state in store.live()]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_whose_name_is_not_text_is_ignored(victim: Victim) -> None:
    (victim.directory / "segments" / os.fsdecode(b"\xff.parquet")).write_text("x")
    assert set(victim.read(report=False).values()) == {"ok"}
    assert "1 file is ignored, because a study does not use such file names: segments/" in victim.ablate(
        "verify", victim.directory
    )


def test_an_archive_omits_files_that_do_not_belong_to_the_study(victim: Victim) -> None:
    for folder in ("plans", "code", "ledger"):
        for name in ("Thumbs.db", "Icon\r", "notes.txt"):
            victim.plant(f"{folder}/{name}", "x")
        (victim.directory / folder / "lost+found").mkdir()
    packed = ablations.archive(victim.directory, victim.folder / "packed.tar.gz")
    assert ablations.recompute(packed.path).problems == ()


def test_verify_reports_a_code_record_under_a_different_name(victim: Victim) -> None:
    victim.plant(f"code/{'0' * 64}.json", json.dumps(with_checksum({"code": "0" * 64, "file": "own.py"})))
    assert ablations.verify(victim.directory).is_intact
    victim.plant(f"code/{'1' * 64}.json", json.dumps(with_checksum({"code": "0" * 64, "file": "own.py"})))
    (damage,) = ablations.verify(victim.directory).inspection.damages
    assert "it records different code than its name says" in str(damage)


def test_a_bucket_that_does_not_exist_is_not_reported_as_a_damaged_plan(bucket: str) -> None:
    import analysis

    with pytest.raises(StoreError, match="create the bucket, or correct the URL") as error:
        analysis.load(f"{bucket}-that-is-not-there/study")
    assert "JSON" not in str(error.value)
    assert "restore" not in str(error.value)


def test_a_row_that_is_listed_but_never_found_is_reported(victim: Victim, bucket: str) -> None:
    """A folder in a bucket can have the name of a row."""
    import analysis
    from aimlib import object_store
    from aimlib.paths import place

    root = place(f"{bucket}/folder-in-place-of-a-row")
    for path in (victim.directory / "study.json", *victim.runs[1:]):
        object_store.put(root / str(path.relative_to(victim.directory)), path.read_bytes())  # type: ignore[arg-type]
    object_store.put(root / "runs" / victim.runs[0].name / "inside", b"x")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=rf"runs/{victim.runs[0].name}: is listed but cannot be found.*move what"):
        analysis.load(root)


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize(
    "name", ["runs/*.parquet", "study.json", "ledger/*", "plans/*.json", "models.parquet", "images/*.parquet"]
)
def test_repair_sets_aside_what_is_in_the_place_of_a_file(victim: Victim, name: str, thing: str) -> None:
    path = put(victim, name, thing)
    relative = path.relative_to(victim.directory).as_posix()
    with pytest.raises(StoreError, match=r"let `ablate verify --repair` set it aside"):
        ablations.run(
            victim.study, victim.directory, executor="inline"
        )  # the file may be on a disk that is not mounted
    found = ablations.verify(victim.directory)
    assert [damage.name for damage in found.inspection.damages] == [relative]
    assert not found.is_intact
    assert os.path.lexists(path)
    (said,) = ablations.verify(victim.directory, repair=True).repairs
    aside = victim.directory / "damaged" / relative.replace("/", "-")
    assert f"set aside as damaged/{aside.name}" in said
    assert os.path.lexists(aside)
    if name == "study.json":
        assert path.is_file()  # the newest plan
    else:
        assert not os.path.lexists(path)
    assert not ablations.verify(victim.directory).inspection.damages
    session = ablations.run(victim.study, victim.directory, executor="inline")
    assert (session.computed, session.failed) == (int(name.startswith("runs")), {})


def test_a_second_obstruction_in_the_same_place_is_set_aside_under_a_different_name(victim: Victim) -> None:
    for number in range(2):
        path = put(victim, "models.parquet", "folder")
        (path / f"content {number}").write_text("x")
        ablations.verify(victim.directory, repair=True)
    assert (victim.directory / "damaged" / "models.parquet" / "content 0").exists()
    assert (victim.directory / "damaged" / "models.parquet.1" / "content 1").exists()
