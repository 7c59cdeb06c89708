from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storages import STORAGES, folder_of

from ablations.store import ResultStore
from aimlib.records import RunRecord

from .sample import make_record

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def record_of() -> Callable[..., RunRecord]:
    """Return the record factory: `record_of(run_id, status=..., host=...)`."""
    return make_record


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """Return an empty store."""
    return ResultStore(tmp_path / "study")


@pytest.fixture(params=["directory", *STORAGES])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an unused location for a study, for each kind of storage."""
    if request.param == "directory":
        return str(tmp_path / "study")
    return folder_of(request, request.param)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a script in this directory and returns when the script is ready."""
    processes: list[subprocess.Popen[str]] = []

    def begin(script: str, *arguments: object, wait: bool = True) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        if wait:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()
