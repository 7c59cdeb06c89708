"""Listening sockets, as reported by the kernel."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from ablations.execution.ray.loopback import Listener, listeners, on_loopback

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_socket_opened_by_this_process_is_found(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError as error:
            pytest.skip(f"no {address} here: {error}")
        port = server.getsockname()[1]
        assert port not in {listener.port for listener in listeners()}, "the socket is bound but not listening"
        server.listen()
        (found,) = [listener for listener in listeners() if listener.port == port]
    assert (found.address, found.process, found.exposed) == (address, os.getpid(), False)
    assert port not in {listener.port for listener in listeners() if listener.process == os.getpid()}


def fake(root: Path, table: str, *addresses: str) -> Path:
    (root / "net").mkdir(parents=True)
    (root / "42" / "fd").mkdir(parents=True)
    (root / "42" / "cmdline").write_bytes(b"/usr/bin/python3\0-u\0/x/dashboard.py\0--host\0")
    (root / "self").mkdir()
    lines = ["  sl  local_address ..."]
    for number, address in enumerate(addresses):
        state = "01" if address.endswith(":0016") else "0A"
        lines.append(f"  {number}: {address} 00000000:0000 {state} 0:0 0:0 0 0 0 {1000 + number} 1 0 100 0 0 10 0")
        (root / "42" / "fd" / str(number)).symlink_to(f"socket:[{1000 + number}]")
    (root / "net" / table).write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.skipif(sys.byteorder != "little", reason="the addresses are in little-endian notation")
@pytest.mark.parametrize(
    ("table", "digits", "address", "exposed"),
    [
        ("tcp", "0100007F:2049", "127.0.0.1", False),
        ("tcp", "00000000:2049", "0.0.0.0", True),
        ("tcp", "0302010A:2049", "10.1.2.3", True),
        ("tcp6", "00000000000000000000000000000000:2049", "::", True),
        ("tcp6", "00000000000000000000000001000000:2049", "::1", False),
        ("tcp6", "0000000000000000FFFF00000100007F:2049", "127.0.0.1", False),
        ("tcp6", "0000000000000000FFFF00000302010A:2049", "10.1.2.3", True),
    ],
)
def test_addresses_are_read(tmp_path: Path, table: str, digits: str, address: str, exposed: bool) -> None:
    (found,) = listeners(fake(tmp_path, table, digits))
    assert found == Listener(address, 8265, 42, "dashboard.py")
    assert found.exposed == exposed


def test_connections_are_not_listeners(tmp_path: Path) -> None:
    assert listeners(fake(tmp_path, "tcp", "0100007F:0016")) == []


def test_without_proc_no_listeners_are_found(tmp_path: Path) -> None:
    assert listeners(tmp_path / "nowhere") == []


def test_rays_setting_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    monkeypatch.setenv(name, "1")
    with on_loopback():
        assert os.environ[name] == "0"
    assert os.environ[name] == "1"
    monkeypatch.delenv(name)
    with on_loopback():
        assert os.environ[name] == "0"
    assert name not in os.environ
