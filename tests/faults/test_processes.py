"""The check that no processes are left running detects processes that are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
import scene as scenes
from scene import Ground, Scene

SLEEP = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]
_LEAVES_ONE = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"


def leave(mark: str, **more: str) -> int:
    """Leave an orphaned process behind; return its process id."""
    environment = os.environ | {processes.MARK: mark} | more
    before = set(processes.marked(mark))
    subprocess.run([sys.executable, "-c", _LEAVES_ONE, *SLEEP], env=environment, stdout=subprocess.DEVNULL, check=True)
    deadline = time.monotonic() + 20
    while not (found := {p for p, text in processes.marked(mark).items() if "sleep(60)" in text} - before):
        assert time.monotonic() < deadline, "no process is found"
        time.sleep(0.02)
    return found.pop()


def test_a_process_is_recognized_by_what_it_inherited(mark: str) -> None:
    left = leave(mark)
    assert processes.parent(left) != os.getpid()
    assert "time.sleep(60)" in processes.marked(mark)[left]
    assert processes.marked(f"{mark}-2") == {}, "the mark belongs to another test"
    assert list(processes.end_all(mark)) == [left]
    assert processes.marked(mark) == {}


def test_a_process_without_its_environment_is_recognized_by_its_files(mark: str) -> None:
    folder = Path(mark)
    folder.mkdir()
    child = "import subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, env={})"
    with (folder / "log").open("w") as log:
        parent = subprocess.Popen([sys.executable, "-c", child, *SLEEP], stderr=log, env={})
    deadline = time.monotonic() + 20
    while len(found := processes.marked(mark)) < 2 or not processes.children(parent.pid):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    assert set(found) == {parent.pid, *processes.children(parent.pid)}
    processes.end_all(mark)
    parent.wait(10)


def test_a_scene_finds_processes_left_behind_by_its_driver(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "_A_FEW_SECONDS", 0.3)
    alone = Scene(tmp_path, tmp_path, {}, None, mark)
    alone.check_that_nothing_runs()
    leave(mark)
    with pytest.raises(AssertionError, match=r"left running: .*sleep"):
        alone.check_that_nothing_runs()


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_cluster_finds_processes_left_behind_by_a_worker(
    scene: Scene, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "_A_FEW_SECONDS", 1.0)
    scene.check_that_nothing_runs()
    orphan = leave(ground.mark, RAY_JOB_ID="01000000")
    with pytest.raises(AssertionError, match=r"left running: .*sleep"):
        scene.check_that_nothing_runs()
    with pytest.raises(AssertionError, match="left of a cluster that was shut down"):
        ground.end()
    assert processes.parent(orphan) is None, "reported and killed"
