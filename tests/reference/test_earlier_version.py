"""Version 0.1.0, at a commit that supports only format 2, reads studies from this version, and works alongside it."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store.sample import identity, make_record

from ablations import verify
from ablations.sessions.launch import run
from ablations.store import ResultStore
from aimlib.records import RunRecord
from analysis.reading.files import read_settled

ROOT = Path(__file__).parents[2]
FORMAT_2 = "1b023a35433f6dbb8a20290740d02618aa91afff"
"""The last commit whose readers accept only format 2."""
STUDY = """
name: tiny
base:
  data: {name: digits, size: 8, train_images: 40}
  model: {backbone: {name: small_resnet, widths: [4, 4, 8]}}
  training: {epochs: 1, batch_size: 16, optimizer: {name: adam}, selection: last_epoch, validation_fraction: 0.25}
arms: {baseline: {}}
seeds: 2
"""
WRITER = """
import sys
from ablations.store import ResultStore
from aimlib.errors import StoreError
from sample import identity, make_record
store = ResultStore(sys.argv[1])
store.write_plan({"name": "tiny", "seeds": [0]})
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(store.commit(make_record(identity(int(line)), host="old")), flush=True)
    except StoreError as error:
        print(f"StoreError: {error}", flush=True)
"""

pytestmark = pytest.mark.slow  # unpacks an earlier version and starts processes with it


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages from version 0.1.0."""
    folder = tmp_path_factory.mktemp("earlier")
    names = ["aimlib", "analysis", "ablations", "tests/ablations/store/sample.py"]
    archive = subprocess.run(["git", "archive", FORMAT_2, *names], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history lacks commit {FORMAT_2[:7]}, for instance in a shallow clone")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
        content.extractall(folder, filter="data")
    (folder / "tests/ablations/store/sample.py").rename(folder / "sample.py")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study file and its results, written by this version."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    run(folder / "study.yaml", folder / "out", executor="inline")
    return folder


def environment(earlier: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(earlier), "COLUMNS": "300", "OMP_NUM_THREADS": "1"}


def contents(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_tests_run_the_earlier_version(earlier: Path) -> None:
    code = "import aimlib, aimlib.records as r; print(aimlib.__file__, aimlib.__version__, r.SCHEMA_VERSION)"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(earlier), cwd=earlier, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == [str(earlier / "aimlib" / "__init__.py"), "0.1.0", "2"]


@pytest.mark.parametrize("command", ["run", "report", "results", "status"])
def test_version_0_1_0_refuses_a_study_in_format_3_and_does_not_change_files(
    earlier: Path, finished: Path, command: str
) -> None:
    before = contents(finished / "out")
    arguments = {"run": ["study.yaml", "--out", "out", "--executor", "inline"]}.get(command, ["out"])
    ended = subprocess.run(
        [sys.executable, "-m", "ablations.commands.app", command, *arguments],
        env=environment(earlier),
        cwd=finished,
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((ended.stdout + ended.stderr).split())
    assert ended.returncode == 2, said
    assert "schema version 3" in said
    assert "Traceback" not in said
    assert contents(finished / "out") == before


@pytest.fixture
def old_driver(earlier: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Return a function that starts a process with version 0.1.0, which commits the runs whose numbers it reads."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)],
            env=environment(earlier),
            cwd=earlier,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_versions_at_once_settle_every_run_once(
    old_driver: Callable[[Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    old = old_driver(tmp_path)

    def commit_old(number: int) -> str:
        assert old.stdin
        assert old.stdout
        old.stdin.write(f"{number}\n")
        old.stdin.flush()
        return old.stdout.readline().strip()

    assert commit_old(0) == "True"
    new = ResultStore(tmp_path)
    assert new.read_plan() == {"name": "tiny", "seeds": [0]}
    ledger = new.ledger("a" * 12)
    ledger.join()
    new.write_plan({"name": "tiny", "seeds": [0, 1]})
    assert not new.commit(record(0))
    assert new.commit(record(1))
    assert commit_old(1) == "False"
    assert commit_old(2) == "True"
    assert new.compact(1) == 3
    answers = [commit_old(number) for number in (1, 3)]
    assert answers[0] != "True"
    for number in (1, 3, 4):
        new.commit(record(number))
    settled = read_settled(tmp_path, ["run_id", "host"]).to_pylist()
    hosts = {row["run_id"]: row["host"] for row in settled}
    by_old = {0, 2} | ({3} if answers[1] == "True" else set())
    assert len(settled) == len(hosts) == 5
    assert {run_id for run_id, host in hosts.items() if host == "old"} == {identity(number) for number in by_old}
    assert verify(tmp_path, head=ledger.end().head).ledger.entered == 5


def record(number: int) -> RunRecord:
    return make_record(identity(number), host="new")
