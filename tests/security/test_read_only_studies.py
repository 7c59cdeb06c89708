"""On a read-only study, commands that only read work and leave no trace, and commands that write are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from victims import Victim

from ablations.store import ResultStore
from aimlib.errors import StoreError

COMMANDS = (
    ("status",),
    ("results",),
    ("watch", "--once"),
    ("watch",),
    ("logs", "aim/0"),
    ("verify",),
    ("report", "--out", "elsewhere"),
    ("browse", "--out", "page.html"),
    ("archive", "--out", "packed.tar.gz"),
)
WRITING = """
import sys
import ablations
from aimlib.errors import StoreError

calls = {
    "run": lambda: ablations.run("study.yaml", sys.argv[1], executor="inline"),
    "browse": lambda: ablations.browse(sys.argv[1]),
    "report": lambda: ablations.report(sys.argv[1]),
    "watch": lambda: ablations.watch(sys.argv[1], html=True, once=True),
    "verify": lambda: ablations.verify(sys.argv[1], repair=True),
}
try:
    calls[sys.argv[2]]()
except StoreError as error:
    print(error)
"""


def traces(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the time of the last change to each file and folder; creating or removing a file changes its folder."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in paths}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_reading_commands_leave_no_trace(victim: Victim, arguments: tuple[str, ...]) -> None:
    before = traces(victim.directory)
    said = victim.ablate(arguments[0], victim.directory, *arguments[1:])  # an error is raised
    assert said
    assert traces(victim.directory) == before


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("run", "results: cannot be written: Permission denied; get write permission"),
        ("browse", "browse.html: the page cannot be written (Permission denied); give another file"),
        ("watch", "overview.html: cannot be written (Permission denied); give another file"),
        ("verify", "damaged: cannot be created: Permission denied; get write permission"),
    ],
)
def test_writing_commands_report_the_folder_that_cannot_be_written(victim: Victim, command: str, named: str) -> None:
    if command == "verify":
        victim.runs[0].write_bytes(b"damaged")
    prefix = _without_privileges()
    for path in [victim.directory, *victim.directory.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    said = subprocess.run(
        [*prefix, sys.executable, "-c", WRITING, str(victim.directory), command],
        cwd=victim.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    for path in [victim.directory, *victim.directory.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert "Traceback" not in said.stderr
    assert named in said.stdout


def _without_privileges() -> list[str]:
    """Return a prefix that makes a command respect file permissions even when root runs it."""
    if os.getuid() != 0:
        return []
    if (setpriv := shutil.which("setpriv")) is None:
        pytest.skip("root ignores permissions, and setpriv is not installed")
    return [setpriv, "--inh-caps=-all", "--bounding-set=-all"]


def test_a_store_that_was_opened_for_reading_refuses_to_write(victim: Victim) -> None:
    before = traces(victim.directory)
    store = ResultStore(victim.directory, read_only=True)
    assert len(store.settled()) == 2
    for write in (store.clean, store.mark, lambda: store.write_shares({}), lambda: store.lock_run("0" * 20)):
        with pytest.raises(StoreError, match="was opened for reading only"):
            write()
    assert traces(victim.directory) == before


def test_a_reader_notices_that_the_study_no_longer_exists(victim: Victim) -> None:
    store = ResultStore(victim.directory, read_only=True)
    shutil.move(victim.directory, victim.folder / "unmounted")
    victim.directory.mkdir()
    with pytest.raises(StoreError, match=r"study\.json: cannot be found"):
        store.settled()
