"""`ablate doctor` reports who may connect, and what nodes share. The machines' properties are simulated."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ablations.commands.doctor import cluster
from ablations.commands.doctor.finding import Finding
from ablations.commands.doctor.machine import doctor
from ablations.execution.ray.loopback import Listener


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def only(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    return finding


# The token


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o400, "ok"), (0o644, "problem"), (0o660, "problem")])
def test_the_mode_of_the_token_file_is_checked(home: Path, mode: int, state: str) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret-token")
    path.chmod(mode)
    found = only(cluster.token())
    assert found.state == state
    assert "secret-token" not in found.message + found.remedy
    if state == "problem":
        assert f"mode {mode:04o}" in found.message
        assert f"chmod 600 {path}" in found.remedy
    assert path.stat().st_mode & 0o777 == mode, "the doctor does not change anything"


def test_the_token_may_be_in_a_different_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(cluster.token()).state == "ok"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "nowhere"))
    missing = only(cluster.token())
    assert (missing.state, str(home / "nowhere") in missing.remedy) == ("problem", True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-token")
    inherited = only(cluster.token())
    assert inherited.state == "note"
    assert "secret-token" not in inherited.message + inherited.remedy
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert only(cluster.token()).state == "problem"


# Listening processes


def test_a_stopped_ray_and_a_ray_on_the_loopback_interface_are_fine() -> None:
    assert only(cluster.exposure([Listener("0.0.0.0", 22, 1, "sshd")])).message == "Ray is not running on this machine"
    found = only(cluster.exposure([Listener("127.0.0.1", 6379, 1, "gcs_server")]))
    assert (found.state, found.message) == ("ok", "1, on the loopback interface only")


def test_a_dashboard_open_to_the_network_is_reported() -> None:
    found = only(cluster.exposure([Listener("0.0.0.0", 8265, 1, "dashboard.py")]))
    assert (found.subject, found.state) == ("Ray dashboard", "problem")
    assert "CVE-2023-48022" in found.message
    assert "--dashboard-host=127.0.0.1" in found.remedy
    assert only(cluster.exposure([Listener("127.0.0.1", 8265, 1, "dashboard.py")])).state == "ok"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("said", "state"), [(None, "problem"), ("disabled", "problem"), ("token", "note"), ("TOKEN", "note")]
)
def test_a_head_without_a_token_is_reported(said: str | None, state: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_AUTH_MODE"}
    environment |= {"RAY_AUTH_MODE": said} if said else {}
    ready = "print(flush=True); input()"  # the environment of a running process can be read
    head = subprocess.Popen(
        [sys.executable, "-c", ready], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        assert head.stdout
        head.stdout.readline()
        found = only(cluster.exposure([Listener("::", 6379, head.pid, "gcs_server")]))
    finally:
        head.communicate(b"\n")
    assert (found.subject, found.state) == ("Ray head", state)
    if state == "problem":
        assert "requires no token" in found.message
        assert "RAY_AUTH_MODE=token ray start --head" in found.remedy


# Storage


def mounts(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "mounts"
    path.write_text(f"dev / ext4 rw 0 0\nserver:/x {str(tmp_path).replace(' ', chr(92) + '040')} {kind} rw 0 0\n")
    return path


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "ok"), ("fuse.gcsfuse", "ok"), ("ext4", "note"), ("xfs", "note")])
def test_a_directory_that_nodes_do_not_share_is_reported(tmp_path: Path, kind: str, state: str) -> None:
    out = tmp_path / "results"
    shared, clock = cluster.storage(out, mounts(tmp_path, kind))
    assert (shared.subject, shared.state) == ("study storage", state)
    assert f"{kind} at {tmp_path}" in shared.message
    assert ("all nodes mount" in shared.remedy) == (state == "note")
    assert clock.state == "ok"
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mounts"], "no files of the probe are left"


@pytest.mark.parametrize(("call", "advice"), [("link", "hard links"), ("flock", "file locks")])
def test_storage_without_links_or_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, advice: str
) -> None:
    def refuse(_: object, mode: object, **__: object) -> None:
        if call == "flock" and mode == fcntl.LOCK_UN:
            return
        raise OSError(errno.ENOTSUP if call == "link" else errno.ENOLCK, "not supported")

    monkeypatch.setattr("os.link" if call == "link" else "fcntl.flock", refuse)
    found = only(cluster.storage(tmp_path, mounts(tmp_path, "fuse.s3fs")))
    assert found.state == "problem"
    assert "fuse.s3fs" in found.message
    assert advice in found.message
    assert "--out" in found.remedy


@pytest.mark.parametrize(
    ("offset", "word"), [(60.0, "60 s behind that of the"), (-3600.0, "3600 s ahead of that of the")]
)
def test_clocks_that_disagree_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: float, word: str
) -> None:
    now = cluster.time.time
    # The server's time stamps are correct, so this machine's clock is shifted in the opposite direction.
    monkeypatch.setattr(cluster, "time", SimpleNamespace(time=lambda: now() - offset))
    _, clock = cluster.storage(tmp_path, mounts(tmp_path, "nfs4"))
    assert clock.state == "problem"
    assert word in clock.message
    assert "chrony" in clock.remedy


def test_shared_memory_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=64 * 2**20, free=60 * 2**20)
    monkeypatch.setattr(cluster.shutil, "disk_usage", lambda _: usage)
    small = only(cluster.shared_memory(tmp_path))
    assert (small.state, "60 of 64 MiB" in small.message) == ("note", True)
    assert "--shm-size" in small.remedy
    assert "emptyDir" in small.remedy
    usage.free = usage.total = 8 * 2**30
    assert only(cluster.shared_memory(tmp_path)).state == "ok"
    assert only(cluster.shared_memory(tmp_path / "none")).state == "note"


def test_the_doctor_runs_all_of_these_checks(tmp_path: Path) -> None:
    subjects = {finding.subject for finding in doctor(tmp_path / "results", ray=False)}
    assert {"Ray token", "study storage", "clock", "shared memory"} <= subjects
    assert {"Ray's ports", "Ray head"} & subjects
