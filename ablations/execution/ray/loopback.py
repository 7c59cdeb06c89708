"""Keeping a local Ray on the loopback interface, and finding sockets that listen on other interfaces.

``ray.init(_node_ip_address="127.0.0.1")`` does not keep Ray there: Ray 2.60 replaces a loopback address with the
address of the machine's network card, and its servers then listen on every interface. Ray stays on the loopback
interface only if its clusters are switched off, which is the default on macOS.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch for clusters; despite its name, it is also read on Linux when ray is imported."""

_LISTEN = "0A"  # socket state in /proc/net/tcp


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Within the block, ``ray.init(address="local", _node_ip_address="127.0.0.1")`` stays on the loopback interface.

    Do not use this for a session that joins a cluster. The previous state is restored afterwards.
    """
    before = os.environ.get(_CLUSTERS)
    os.environ[_CLUSTERS] = "0"
    allowed = _switch(False)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CLUSTERS, None)
        else:
            os.environ[_CLUSTERS] = before
        by_default = before == "1" or (before is None and sys.platform not in ("darwin", "win32"))
        _switch(by_default if allowed is None else allowed)


def _switch(clusters: bool) -> bool | None:
    """Change the value that ray read from the variable at import.

    Return the old value, or None if ray is not imported.
    """
    constants: Any = sys.modules.get("ray._private.ray_constants")
    before: bool | None = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if before is not None:
        constants.ENABLE_RAY_CLUSTER = clusters
    return before


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that is listening for connections.

    Attributes
    ----------
    address : as text, without the part that maps IPv4 into IPv6; ``0.0.0.0`` and ``::`` mean all interfaces.
    process : process id; 0 if it is not accessible.
    program : name of the process, as ``ps`` shows it.
    """

    address: str
    port: int
    process: int
    program: str

    @property
    def exposed(self) -> bool:
        """Whether other machines can connect."""
        return not ipaddress.ip_address(self.address).is_loopback


def listeners(root: Path = Path("/proc")) -> list[Listener]:
    """Return the TCP sockets that are listening in this network namespace and whose process is known.

    The result is empty except on Linux.

    Parameters
    ----------
    root : path of the proc file system.
    """
    owners = _owners(root)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in _lines(root / "net" / table):
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and fields[9] in owners:
                address, port = fields[1].split(":")
                process, program = owners[fields[9]]
                found.add(Listener(_address(address), int(port, 16), process, program))
    return sorted(found)


def _owners(root: Path) -> dict[str, tuple[int, str]]:
    """Return, for the inode of each socket, the id and the name of its process."""
    found = {}
    for folder in root.iterdir() if root.is_dir() else ():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # the process ended in the meantime, or is owned by another user
            for descriptor in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(descriptor.readlink())
                    if target.startswith("socket:["):
                        found[target[8:-1]] = (int(folder.name), _program(folder))
    return found


def _program(folder: Path) -> str:
    """Return a program's name from its command line; if the command line is empty, return the short name.

    For Python, the result is the name of the script.
    """
    words = (folder / "cmdline").read_bytes().split(b"\0")
    name = Path(words[0].decode(errors="replace")).name
    if name.startswith("python"):  # the name of the script is more informative
        scripts = [word.decode(errors="replace") for word in words[1:] if word.endswith(b".py")]
        return Path(scripts[0]).name if scripts else name
    return name or (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []


def _address(digits: str) -> str:
    """Return an address from /proc/net/tcp, which consists of 32-bit words in this machine's byte order."""
    words = [int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8)]
    packed = b"".join(words)
    address = ipaddress.ip_address(socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
