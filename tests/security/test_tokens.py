"""The token exists before Ray starts, and only its owner can read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ablations.execution.ray.auth import default_path, prepare_token, readable_by_others, token_file
from aimlib.errors import UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        # These variables are set first, so that values set by the tested function are removed afterwards.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_token_is_readable_only_by_its_owner(home: Path) -> None:
    before = os.umask(0)
    try:
        prepare_token()
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert re.fullmatch("[0-9a-f]{64}", path.read_text())
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]
    assert token_file() == path == default_path()


def test_a_token_written_by_ray_is_kept_and_protected(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("ray's own")
    path.chmod(0o644)
    assert readable_by_others(path)
    prepare_token()
    assert path.read_text() == "ray's own"
    assert mode(path) == 0o600
    assert not readable_by_others(path)


def test_an_empty_file_left_by_a_killed_ray_is_replaced(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.touch(0o644)
    prepare_token()
    assert len(path.read_text()) == 64
    assert mode(path) == 0o600


def test_a_named_token_file_is_used_and_protected(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cluster-token"
    path.write_text("the cluster's")
    path.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    prepare_token()
    assert (path.read_text(), mode(path)) == ("the cluster's", 0o600)
    assert list(home.iterdir()) == []
    assert token_file() == path


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_named_file_without_a_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "t").write_text(content)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "t"))
    with pytest.raises(UsageError, match=r"RAY_AUTH_TOKEN_PATH: .*/t (cannot be read|is empty).*copy the cluster's"):
        prepare_token()


@pytest.mark.parametrize("variable", [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "in the environment")])
def test_the_users_settings_are_kept(home: Path, monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    monkeypatch.setenv(*variable)
    prepare_token()
    assert list(home.iterdir()) == []
    assert os.environ[variable[0]] == variable[1]


def test_without_a_writable_home_the_token_is_in_a_different_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".ray").write_text("no folder")
    prepare_token()
    path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token_file() == path
    assert path.is_relative_to(tmp_path)
    assert len(path.read_text()) == 64
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_many_processes_agree_on_one_token(home: Path) -> None:
    seen: list[str] = []

    def take() -> None:
        prepare_token()
        seen.append(default_path().read_text())

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len(set(seen)) == 1
    assert [path.name for path in (home / ".ray").iterdir()] == ["auth_token"]


@pytest.mark.parametrize("imported", [False, True])
def test_the_mode_is_set_only_before_ray_reads_it(monkeypatch: pytest.MonkeyPatch, imported: bool) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    if imported:
        monkeypatch.setitem(sys.modules, "ray", sys)
    prepare_token()
    assert os.environ.get("RAY_AUTH_MODE") == (None if imported else "token")


# With Ray itself

_SESSION = """
import json, os, sys
from ablations.execution.ray.loopback import listeners, on_loopback
from ablations.execution.ray.auth import prepare_token, token_file


if sys.argv[1] == "before":
    import ray
prepare_token()
with on_loopback():
    import ray
    import psutil  # comes along with ray
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", num_cpus=1, log_to_driver=False,
             logging_level="ERROR")
of_ray = {process.pid for process in [psutil.Process(), *psutil.Process().children(recursive=True)]}

@ray.remote
class Waiter:
    def ready(self):
        return os.environ["RAY_AUTH_MODE"], ray.util.get_node_ip_address()

waiter = Waiter.remote()
answer = ray.get(waiter.ready.remote())
of_ray = {process.pid for process in [psutil.Process(), *psutil.Process().children(recursive=True)]}
mine = [listener for listener in listeners() if listener.process in of_ray]
print(json.dumps({
    "answer": answer,
    "programs": sorted({listener.program for listener in mine}),
    "exposed": [str(listener) for listener in mine if listener.exposed],
    "sockets": len(mine),
    "mode": oct(token_file().stat().st_mode & 0o777),
    "switch": os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"),
    "constant": ray._private.ray_constants.ENABLE_RAY_CLUSTER,
}))
ray.shutdown()
"""


@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("imported", [pytest.param("before", marks=pytest.mark.slow), "inside"])
def test_a_local_session_has_a_private_token_and_stays_on_the_loopback_interface(home: Path, imported: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", _SESSION, imported],
        env=environment | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["answer"] == ["token", "127.0.0.1"]
    assert found["mode"] == "0o600"
    assert found["sockets"] >= 4
    assert any("gcs_server" in program for program in found["programs"])
    assert any("raylet" in program for program in found["programs"])
    assert found["exposed"] == []
    assert (found["switch"], found["constant"]) == (None, True), "a cluster can be joined afterwards"
