"""A reviewer elsewhere gets the same verdict from an archive; it contains nothing private; every change is found."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from synthetic_study import ARMS, FakeArm, FakeStudy, write_study
from tiny_study import TINY
from typer.testing import CliRunner

import ablations
import analysis
from ablations.commands.app import app
from ablations.store.result_store import ResultStore
from aimlib.errors import StoreError, UsageError
from aimlib.records import run_schema, write_groups

HOST, PATH, LOGIN = "alices-workstation", "/home/alice/photos", "alice@cluster.example.org"


def made(directory: Path, change: Callable[[list[dict[str, Any]]], None] | None = None, **options: Any) -> Path:
    """Write a study with a ledger; `change` may alter rows before they are entered in the ledger."""
    study = FakeStudy([*ARMS], list(range(5)), status={("aim", 4): "diverged"}, **options)
    write_study(directory, study, np.random.default_rng(3))
    (path,) = (directory / "segments").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["host"] = HOST
        row["device_uuid"] = "GPU-0123"
        row["config"] = json.dumps({"seed": row["seed"], "data": {"name": "stanford_dogs", "root": PATH}})
        if row["status"] == "diverged":
            row["reason"] = f"loss is not finite; see {PATH}/log.txt on {HOST}, written by {LOGIN}"
    if change is not None:
        change(rows)
    import pyarrow as pa

    table = pa.Table.from_pylist(rows, schema=run_schema())
    write_groups([table], table.schema, path)
    chain = ResultStore(directory).ledger("0123456789ab")
    chain.join()
    chain.end()
    return directory


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("archive") / "study")


@pytest.fixture(scope="module")
def packed(study: Path) -> Path:
    return ablations.archive(study, study.parent / "for reviewers" / "dogs.tar.gz").path


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the headline of a study that was actually computed, and the study's archive; the study is removed."""
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AIM_CACHE_DIR", str(folder / "cache"))
        session = ablations.run(TINY, executor="inline", console=Console(quiet=True))
        headline = analysis.examine(analysis.load(session.directory)).headline
        packed = ablations.archive(session.directory, folder / "tiny.tar.gz").path
        shutil.rmtree(session.directory)
    return headline, packed


def contents(packed: Path) -> dict[str, bytes]:
    with tarfile.open(packed) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}  # type: ignore[union-attr]


def repacked(packed: Path, change: Callable[[dict[str, bytes]], None], target: Path) -> Path:
    files = contents(packed)
    change(files)
    with tarfile.open(target, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target


def test_an_archive_leads_to_the_same_verdict_elsewhere(computed: tuple[str, Path], tmp_path: Path) -> None:
    headline, packed = computed
    found = ablations.recompute(packed, tmp_path / "report")
    assert found.problems == ()
    assert found.verdict == found.stated == headline
    assert found.confirmed
    assert found.report is not None
    assert found.report.stat().st_size > 10_000


def test_a_verdict_that_depends_on_predictions_is_the_same_elsewhere(tmp_path: Path) -> None:
    """The headline includes a separate verdict for new photos; that verdict is computed on demand from predictions."""
    arms = [FakeArm("baseline", "baseline", 0.3), FakeArm("aim", "aim", 0.33)]
    study = FakeStudy(arms, list(range(5)), procedure=2, images=150, spread=0.012)
    directory = write_study(tmp_path / "study", study, np.random.default_rng(50))
    chain = ResultStore(directory).ledger("0123456789ab")
    chain.join()
    chain.end()
    headline = analysis.examine(analysis.load(directory)).headline
    assert "For new photos: " in headline, "otherwise, this test does not cover the case"
    found = ablations.recompute(ablations.archive(directory, tmp_path / "study.tar.gz").path)
    assert found.verdict == found.stated == headline


def test_an_archive_does_not_contain_private_data(packed: Path) -> None:
    files = contents(packed)
    for name, content in files.items():
        if "/source/" in name:
            continue
        tables = pq.read_table(io.BytesIO(content)).to_pylist() if name.endswith(".parquet") else []
        text = json.dumps(tables, default=str) + content.decode("utf-8", "replace")
        assert not re.search(f"{HOST}|{PATH}|{LOGIN}|GPU-0123|alice", text), name
    with tarfile.open(packed) as archive:
        assert {(each.uname, each.gname, each.uid, each.mtime) for each in archive} == {("", "", 0, 0)}
    (segment,) = (content for name, content in files.items() if "/segments/" in name)
    rows = pq.read_table(io.BytesIO(segment)).to_pylist()
    assert {row["host"] for row in rows} == {"host-1"}
    assert {row["device_uuid"] for row in rows} == {"device-1"}
    (reason,) = {row["reason"] for row in rows if row["status"] == "diverged"}
    assert reason == "loss is not finite; see (path) on (host), written by (address)"


def test_all_other_values_in_a_row_are_kept(study: Path, packed: Path) -> None:
    (path,) = (study / "segments").glob("*.parquet")
    (segment,) = (content for name, content in contents(packed).items() if "/segments/" in name)
    before, after = (pq.read_table(each).to_pylist() for each in (path, io.BytesIO(segment)))
    changed = {
        name for one, other in zip(before, after, strict=True) for name in one if repr(one[name]) != repr(other[name])
    }
    assert changed == {"host", "device_uuid", "config", "reason"}
    assert {json.loads(row["config"])["data"]["root"] for row in after} == {None}


def test_an_archive_contains_the_original_ledger(study: Path, packed: Path) -> None:
    files, head = contents(packed), analysis.load(study).ledger_head[0]
    manifest = json.loads(files["dogs/archive.json"])
    assert manifest["ledger_head"] == head
    page = (study / "ledger" / "0123456789ab.0000").read_bytes()
    assert files["dogs/original_ledger/0123456789ab.0000"] == page
    assert manifest["frozen_plan"] == analysis.load(study).frozen.sha256  # type: ignore[union-attr]


@pytest.mark.slow  # runs in a second process
def test_the_source_code_in_an_archive_computes_the_verdict(computed: tuple[str, Path], tmp_path: Path) -> None:
    _, packed = computed
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "elsewhere", filter="data")
    source = tmp_path / "elsewhere" / "tiny" / "source"
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"ablate": "ablations.commands.app:command"}
    assert any(each.startswith("pandas") for each in project["dependencies"])
    done = subprocess.run(
        [sys.executable, "-m", "ablations.commands.app", "recompute", str(packed)],
        env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "This matches the verdict stated in the archive." in done.stdout, done.stderr
    assert done.returncode == 0


def _segment(files: dict[str, bytes]) -> str:
    return next(name for name in files if "/segments/" in name)


def _swap_accuracies(files: dict[str, bytes]) -> None:
    import pyarrow as pa

    table = pq.read_table(io.BytesIO(files[_segment(files)]))
    rows = table.to_pylist()
    rows[0]["test_accuracy"] = min(1.0, rows[0]["test_accuracy"] + 0.1)
    sink = Path("segment.parquet")
    write_groups([pa.Table.from_pylist(rows, schema=table.schema)], table.schema, sink)
    files[_segment(files)] = sink.read_bytes()
    sink.unlink()


def _flip(files: dict[str, bytes]) -> None:
    content = bytearray(files[_segment(files)])
    content[len(content) // 2] ^= 1
    files[_segment(files)] = bytes(content)


def _restate(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["dogs/archive.json"])
    manifest["verdict"] = "aim scores 9.00 pp higher than baseline: holds."
    files["dogs/archive.json"] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_swap_accuracies, "segments/.* was changed"),
        (_flip, "segments/.* was changed"),
        (lambda files: files.pop("dogs/study/models.parquet"), "study/models.parquet is missing"),
        (lambda files: files.update({"dogs/study/runs/x.txt": b""}), "study/runs/x.txt was added"),
        (lambda files: files.pop(_segment(files)), "is missing"),
    ],
)
def test_changes_to_an_archive_are_found(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = ablations.recompute(repacked(packed, change, tmp_path / "changed.tar.gz"))
    assert not found.confirmed
    assert any(re.search(said, each) for each in found.problems), found.problems


def test_a_changed_verdict_is_found(packed: Path, tmp_path: Path) -> None:
    found = ablations.recompute(repacked(packed, _restate, tmp_path / "changed.tar.gz"))
    assert not found.confirmed
    assert found.verdict != found.stated == "aim scores 9.00 pp higher than baseline: holds."


def _of_another_version(files: dict[str, bytes], **changes: Any) -> None:
    (name,) = (each for each in files if each.count("/") == 1 and each.endswith("/archive.json"))
    manifest = json.loads(files[name]) | {"package_version": "0.0.9", "verdict": "in other words"}
    files[name] = json.dumps(manifest | changes).encode()


def test_the_words_of_another_version_may_differ_if_the_numbers_match(
    computed: tuple[str, Path], tmp_path: Path
) -> None:
    changed = repacked(computed[1], _of_another_version, tmp_path / "changed.tar.gz")
    assert ablations.recompute(changed).confirmed
    done = CliRunner().invoke(app, ["recompute", str(changed)])
    assert done.exit_code == 0
    assert "The numbers match those in the archive. Version 0.0.9 wrote: in other words" in done.output


@pytest.mark.parametrize(("name", "value"), [("mean", 9.0), ("pairs", 4), ("verdict", "harmful"), ("upper", None)])
def test_the_numbers_of_another_version_must_match(
    computed: tuple[str, Path], tmp_path: Path, name: str, value: object
) -> None:
    def change(files: dict[str, bytes]) -> None:
        (manifest,) = (content for each, content in files.items() if each.endswith("/archive.json"))
        comparisons = json.loads(manifest)["comparisons"]
        assert comparisons[0][name] != value
        comparisons[0][name] = value
        _of_another_version(files, comparisons=comparisons)

    assert not ablations.recompute(repacked(computed[1], change, tmp_path / "changed.tar.gz")).confirmed


def test_for_an_archive_without_numbers_the_words_must_match(computed: tuple[str, Path], tmp_path: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        _of_another_version(files, comparisons=None)

    done = CliRunner().invoke(app, ["recompute", str(repacked(computed[1], change, tmp_path / "changed.tar.gz"))])
    assert done.exit_code == 1
    assert "The archive states a different verdict: in other words" in done.output
    assert "Version 0.0.9 wrote the archive and may have used different words" in done.output


def test_a_changed_study_name_is_found(packed: Path, tmp_path: Path) -> None:
    def rename(files: dict[str, bytes]) -> None:
        files["dogs/archive.json"] = json.dumps(json.loads(files["dogs/archive.json"]) | {"study": "cats"}).encode()

    found = ablations.recompute(repacked(packed, rename, tmp_path / "changed.tar.gz"))
    assert not found.confirmed
    assert found.problems[-1] == "archive.json names a different study; the plan belongs to synthetic"


def _link(target: Path) -> Path:
    with tarfile.open(target, "w:gz") as archive:
        entry = tarfile.TarInfo("dogs/study")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(entry)
    return target


def _outside(target: Path) -> Path:
    with tarfile.open(target, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../outside.txt"))
    return target


def _empty(target: Path) -> Path:
    with tarfile.open(target, "w:gz"):
        return target


def _text(target: Path) -> Path:
    target.write_text("no archive")
    return target


def _newer(target: Path) -> Path:
    with tarfile.open(target, "w:gz") as archive:
        content = json.dumps({"format": 99, "files": {}, "verdict": "", "study": ""}).encode()
        entry = tarfile.TarInfo("dogs/archive.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return target


@pytest.mark.parametrize(
    "changed", [{"files": [[1, "x"], ["a", "y"]]}, {"files": {"a": "y"}, "verdict": None}, {"files": {}, "study": [1]}]
)
def test_a_manifest_with_unexpected_values_is_refused(packed: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    def change(files: dict[str, bytes]) -> None:
        files["dogs/archive.json"] = json.dumps(json.loads(files["dogs/archive.json"]) | changed).encode()

    with pytest.raises(StoreError, match="contains no readable archive"):
        ablations.recompute(repacked(packed, change, tmp_path / "changed.tar.gz"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_link, "'dogs/study', which is not a plain file"),
        (_outside, "not a readable archive"),
        (_empty, "contains no readable archive.json"),
        (_text, "not a readable archive"),
        (_newer, "archive format 99; this package can read format 1"),
    ],
)
def test_files_that_are_not_archives_are_refused(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        ablations.recompute(make(tmp_path / "odd.tar.gz"))
    assert not (tmp_path.parent / "outside.txt").exists()


def test_a_truncated_archive_is_refused(packed: Path, tmp_path: Path) -> None:
    content, cut = packed.read_bytes(), tmp_path / "cut.tar.gz"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="obtain it again"):
        ablations.recompute(cut)


def test_bad_archive_names_are_refused(study: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"exists; remove it"):
        ablations.archive(study, packed)
    with pytest.raises(UsageError, match=r"must end in \.tar\.gz"):
        ablations.archive(study, tmp_path / "dogs.zip")
    with pytest.raises(UsageError, match="no such file"):
        ablations.recompute(tmp_path / "nowhere.tar.gz")


def test_a_contradictory_study_is_not_packed(tmp_path: Path) -> None:
    def forge(rows: list[dict[str, Any]]) -> None:
        rows[0]["test_accuracy"] += 0.05

    study = made(tmp_path / "study", forge)
    with pytest.raises(StoreError, match="test_accuracy"):
        ablations.archive(study, tmp_path / "dogs.tar.gz")
    assert not (tmp_path / "dogs.tar.gz").exists()


def test_a_custom_claim_is_part_of_the_archive(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    claims.mkdir()
    shipped = Path(analysis.__file__).parent / "claims"
    text = (shipped / "stanford_dogs_aim.yaml").read_text("utf-8").replace("curves: reported_runs.csv\n", "")
    text = re.sub(r"  - says:[^\n]*\n    source:[^\n]*\n    check: \{kind: curve.*\}\n", "", text)
    claim = claims / "mine.yaml"
    claim.write_text(text.replace("name: stanford_dogs_aim", "name: mine"), "utf-8")
    study = made(tmp_path / "study", claim=str(claim))
    headline = analysis.examine(analysis.load(study)).headline
    packed = ablations.archive(study, tmp_path / "dogs.tar.gz")
    shutil.rmtree(claims)
    found = ablations.recompute(packed.path)
    assert found.verdict == headline
    assert any("analysis_plan.json: " in each and "mine.yaml" in each for each in packed.looks_private)


def test_a_study_without_runs_can_be_archived(tmp_path: Path) -> None:
    arms = [FakeArm("baseline", "baseline"), FakeArm("aim", "aim")]
    everything = {(arm.name, seed): "missing" for arm in arms for seed in range(2)}
    study = write_study(tmp_path / "study", FakeStudy(arms, [0, 1], status=everything), np.random.default_rng(0))
    packed = ablations.archive(study, tmp_path / "none.tar.gz")
    assert packed.rows == 0
    found = ablations.recompute(packed.path)
    assert found.verdict == found.stated == packed.verdict
