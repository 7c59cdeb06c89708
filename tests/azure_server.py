"""Azurite on the loopback interface: Microsoft's emulator of Azure Storage, installed by npm.

`make azurite` installs Azurite next to this file, from a lock file with hashes. `AIM_AZURITE` can be set to a different
folder in which ``npm install azurite`` was run; otherwise, Azurite is searched for on the path.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3_server import BUCKET, free_ports

ACCOUNT, KEY = "testaccount", base64.b64encode(b"a-secret-key-of-an-account").decode()
_START = 60.0  # maximum start-up time in seconds; on an idle machine, the server starts in 2


def missing() -> str | None:
    """Return the reason why a server cannot run; None if it can."""
    try:
        import azure.identity
        import azure.storage.blob  # noqa: F401
    except ImportError:
        return "azure-storage-blob is not installed: pip install 'aim-ablations[az]'"
    if _program() is None:
        return "Azurite is not installed: make azurite (needs npm)"
    return None


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run a server with a container; yield the environment that its clients need."""
    (port,) = free_ports(1)
    program = _program()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="azurite-") as folder:
        command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
        command += ["--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(process, port)
            text = (
                f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
                f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
            )
            _make_container(text)
            yield {"AZURE_STORAGE_CONNECTION_STRING": text}
        finally:
            process.kill()
            process.wait()


def _make_container(connection: str) -> None:
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(connection) as service:
        service.create_container(BUCKET)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("Azurite did not start")


def _program() -> str | None:
    folders = [os.environ.get("AIM_AZURITE"), Path(__file__).with_name("azurite")]
    for folder in folders:
        if folder and (path := Path(folder) / "node_modules" / ".bin" / "azurite-blob").exists():
            return str(path)
    return shutil.which("azurite-blob")
