"""A real server is killed, frozen, restarted with different credentials, or cut off while a session is using it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
from drivers import ONE_THREAD
from s3_server import BUCKET, KEY, SECRET, Server
from tiny_study import changed, numbers, write

from aimlib import object_store
from aimlib.paths import place

pytestmark = pytest.mark.timeout(600)
SMALL: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 30, "seeds": 1}


class Rig:
    """A server, a study, and a driver that computes the study and stores it in a bucket."""

    def __init__(self, server: Server, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.server, self.folder, self.log = server, folder, folder / "log"
        self.url = f"s3://{BUCKET}/study-{folder.name[-1]}"
        self.credentials = folder / "credentials"
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in server.environment.items():
            if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, value)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self.credentials))
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        self.give(KEY, SECRET)

    def give(self, key: str, secret: str) -> None:
        """Write the file from which clients read their credentials."""
        content = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        self.credentials.write_text(content)
        object_store.renew_credentials()

    def drive(self, study: Path, executor: str = "inline") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ablations.commands.app", "run", str(study), "--out", self.url]
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*command, "--executor", executor],
                stdout=log,
                stderr=log,
                text=True,
                env=os.environ | ONE_THREAD | {"COLUMNS": "400"},
            )

    def until(self, condition: Callable[[], object], driver: subprocess.Popen[str], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert driver.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def says(self, text: str) -> bool:
        return text in self.log.read_text()

    def copied(self) -> Path:
        """Return a copy of the study as a directory."""
        folder = self.folder / "copy"
        for kind in ("runs", "segments"):
            (folder / kind).mkdir(parents=True)
            for entry in object_store.listing(place(self.url) / kind):
                (folder / kind / entry.name).write_bytes((place(self.url) / kind / entry.name).read_bytes())
        return folder


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if (reason := s3_server.missing()) is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="s3-"))
    server = Server(folder)
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            rig = Rig(server, tmp_path, patch)
            import s3fs

            s3fs.S3FileSystem(skip_instance_cache=True).call_s3("create_bucket", Bucket=BUCKET)
            yield rig
    finally:
        object_store.renew_credentials()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def killed(rig: Rig, seconds: float) -> None:
    rig.server.kill()
    time.sleep(seconds)
    rig.server.start()


def frozen(rig: Rig, seconds: float) -> None:
    rig.server.signal(signal.SIGSTOP)
    time.sleep(seconds)
    rig.server.signal(signal.SIGCONT)


def other_credentials(rig: Rig, seconds: float) -> None:
    """The server no longer accepts the key; a new key is written to the credentials file."""
    rig.server.kill()
    rig.server.start("another-key", "another-secret")
    time.sleep(seconds)
    rig.give("another-key", "another-secret")


def filled(rig: Rig, seconds: float) -> None:
    """The server's disk is full: it refuses to store anything, or does not respond to requests to store."""
    rig.server.kill()
    rig.server.start(full=True)
    time.sleep(seconds)
    rig.server.kill()
    rig.server.start()


OUTAGES = {"killed": killed, "frozen": frozen, "other credentials": other_credentials, "filled": filled}


@pytest.mark.slow  # waits for half a minute; test_outages_of_sessions.py does the same with a simulated clock
@pytest.mark.parametrize(
    ("name", "seconds", "executor"),
    [
        ("killed", 8.0, "inline"),
        ("killed", 90.0, "inline"),  # longer than a lease is valid
        ("frozen", 150.0, "inline"),
        ("other credentials", 20.0, "inline"),
        ("filled", 45.0, "inline"),
        pytest.param("killed", 90.0, "ray", marks=pytest.mark.xdist_group("ray")),
        pytest.param("other credentials", 20.0, "ray", marks=pytest.mark.xdist_group("ray")),
    ],
)
def test_an_unavailable_server_does_not_end_any_run(rig: Rig, name: str, seconds: float, executor: str) -> None:
    study = write(rig.folder, changed(SMALL))
    driver = rig.drive(study, executor)
    try:
        rig.until(lambda: object_store.listing(place(rig.url) / "leases"), driver)
        OUTAGES[name](rig, seconds)
        assert driver.wait(300) == 0, rig.log.read_text()[-3000:]
    finally:
        driver.kill()
    log = rig.log.read_text()
    # The server was restarted twice.
    assert log.count("the storage is unavailable: ") in (range(3) if name == "filled" else (1,))
    assert log.count("the storage is available again after") == log.count("the storage is unavailable: ")
    assert "2 of 2 runs settled" in log
    assert "retried" not in log
    assert SECRET not in log
    from ablations.sessions.launch import run

    run(study, rig.folder / "calm", executor="inline")
    assert numbers(rig.copied()) == numbers(rig.folder / "calm")


@pytest.mark.slow  # a separate driver
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_waits_for_a_server_ends_on_a_signal_and_resumes(rig: Rig, number: int) -> None:
    study = write(rig.folder, changed({**SMALL, "resources": {"grace_seconds": 2}}))
    driver = rig.drive(study)
    try:
        rig.until(lambda: object_store.listing(place(rig.url) / "leases"), driver)
        rig.server.kill()
        rig.until(lambda: rig.says("the storage is unavailable: "), driver)
        driver.send_signal(number)
        assert driver.wait(90) == 128 + number, rig.log.read_text()[-3000:]
    finally:
        driver.kill()
    assert "Traceback" not in rig.log.read_text()
    rig.server.start()
    time.sleep(1)
    driver = rig.drive(study)
    assert driver.wait(300) == 0, rig.log.read_text()[-3000:]


class HalfAnswers(threading.Thread):
    """A server at another server's address that cuts off every response in the middle, or sends it byte by byte."""

    def __init__(self, port: int, *, seconds_per_byte: float = 0.0) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(64)
        self._pace, self.answered = seconds_per_byte, 0
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            self.answered += 1
            for byte in b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "0"\r\n\r\nhalf an answer':
                connection.send(bytes([byte]))
                time.sleep(self._pace)
        except OSError:
            pass
        finally:
            connection.close()

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.slow  # waits half a minute for the client's own retries
@pytest.mark.parametrize("pace", [0.0, 0.05], ids=["half", "slow bytes"])
def test_partial_and_slow_responses_do_not_count_as_results(rig: Rig, pace: float) -> None:
    from ablations.store import ResultStore
    from ablations.store.outages import Outages

    said: list[str] = []
    store = ResultStore(rig.url, outages=Outages(600, notify=said.append))
    store.write_plan({"arms": ["a"]})
    port = int(rig.server.environment["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
    rig.server.kill()
    bad = HalfAnswers(port, seconds_per_byte=pace)
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(store.read_plan()))
    reader.start()
    deadline = time.monotonic() + 60
    while not said and time.monotonic() < deadline:
        time.sleep(0.1)
    bad.end()
    rig.server.start()
    reader.join(120)
    assert found == [{"arms": ["a"]}]
    assert bad.answered > 0
    assert [line.split(":")[0].split(" after")[0] for line in said] == [
        "the storage is unavailable",
        "the storage is available again",
    ]
