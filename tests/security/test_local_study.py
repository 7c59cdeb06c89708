"""A local `ablate run` can be reached only from this machine, and only its owner can read its token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from victims import Victim

from ablations.execution.ray.loopback import Listener, listeners


def below(process: int) -> set[int]:
    """Return a process and all of its descendants."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(text.rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_local_study_listens_only_on_the_loopback_interface(victim: Victim, tmp_path: Path) -> None:
    for path in victim.runs:
        path.unlink()
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
    command = [sys.executable, "-m", "ablations.commands.app", "run", str(victim.study), "--out", str(victim.directory)]
    driver = subprocess.Popen(
        [*command, "--set", "training.epochs=3"],
        env=environment | {"HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: set[Listener] = set()
    deadline = time.monotonic() + 240
    while driver.poll() is None and time.monotonic() < deadline:
        processes = below(driver.pid)
        seen |= {listener for listener in listeners() if listener.process in processes}
        time.sleep(0.5)
    _, err = driver.communicate(timeout=10)
    assert driver.returncode == 0, err[-2000:]
    assert json.loads((victim.directory / "study.json").read_text())["name"] == "planted"
    assert any("gcs_server" in listener.program for listener in seen), "Ray was running"
    assert [listener for listener in sorted(seen) if listener.exposed] == []
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
