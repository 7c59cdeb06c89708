"""Checks of Ray and storage by `ablate doctor`: who can connect, and whether nodes can share a study."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from ablations.commands.doctor.finding import Finding
from ablations.execution.ray import auth, loopback
from aimlib.errors import StoreError

_GIB = 2**30
_HEAD = ("gcs_server", "raylet", "dashboard.py")
"""Ray programs that accept connections. A raylet's agents also accept connections, but are reported with the raylet."""
_SKEW = 5.0  # seconds
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.", "9p", "virtiofs")


def token() -> Iterable[Finding]:
    """Report who can read Ray's token; any reader can run code as the token's owner."""
    subject = "Ray token"
    if os.environ.get(auth.MODE, "token").lower() != "token":
        yield Finding(
            subject,
            "problem",
            f"{auth.MODE}={os.environ[auth.MODE]}: anyone who can reach the ports of a Ray head started here can run "
            "code",
            f"unset {auth.MODE}, or export {auth.MODE}=token",
        )
        return
    path = auth.token_file()
    if path is None:
        yield Finding(
            subject,
            "note",
            f"in {auth.TOKEN}, which is inherited by every process started from this shell",
            f"write the token to a file with mode 0600 and set {auth.TOKEN_PATH} to the file's path",
        )
    elif not path.exists():
        remedy = f"copy the cluster's token to {path}" if os.environ.get(auth.TOKEN_PATH) else ""
        yield Finding(
            subject, "problem" if remedy else "ok", f"no token in {path}; a local session creates one", remedy
        )
    elif auth.readable_by_others(path):
        yield Finding(
            subject,
            "problem",
            f"{path} has mode {path.stat().st_mode & 0o777:04o}: anyone who can read it can run code as you",
            f"chmod 600 {path} (and create a new token if others had access: rm {path}; ray get-auth-token --generate)",
        )
    else:
        yield Finding(subject, "ok", f"{path}, readable only by its owner")


def exposure(found: list[loopback.Listener] | None = None) -> Iterable[Finding]:
    """Report whether other machines can connect to Ray on this machine, and whether they can do so without a token.

    Parameters
    ----------
    found : listening sockets; None queries the kernel.
    """
    listeners = loopback.listeners() if found is None else found
    rays = [listener for listener in listeners if any(name in listener.program for name in _HEAD)]
    open_to_all = [listener for listener in rays if listener.exposed]
    if not rays:
        yield Finding("Ray's ports", "ok", "Ray is not running on this machine")
    elif not open_to_all:
        yield Finding("Ray's ports", "ok", f"{len(rays)}, on the loopback interface only")
    for listener in open_to_all:
        if "dashboard" in listener.program:
            yield Finding(
                "Ray dashboard",
                "problem",
                f"listens on {listener.address} port {listener.port}: this port accepts jobs from anyone "
                "(CVE-2023-48022)",
                "start Ray with --dashboard-host=127.0.0.1, and open the dashboard through ssh -L "
                "8265:127.0.0.1:8265 HEAD",
            )
    heads = [listener for listener in open_to_all if "gcs_server" in listener.program]
    for listener in heads:
        if _mode_of(listener.process) == "token":
            message = f"port {listener.port} is open to the network; a token is required, but it is sent unencrypted"
            yield Finding("Ray head", "note", message, "use this port only inside a private network")
        else:
            yield Finding(
                "Ray head",
                "problem",
                f"port {listener.port} is open to the network and requires no token: anyone who connects can run code",
                "ray stop; ray get-auth-token --generate; chmod 600 ~/.ray/auth_token; "
                "RAY_AUTH_MODE=token ray start --head",
            )


def _mode_of(process: int, root: Path = Path("/proc")) -> str:
    """Return the authentication mode with which a Ray process was started; disabled if none was set."""
    try:
        variables = (root / str(process) / "environ").read_bytes().split(b"\0")
    except OSError:
        return "unknown"
    modes = [
        item.partition(b"=")[2].decode(errors="replace") for item in variables if item.startswith(b"RAY_AUTH_MODE=")
    ]
    return modes[-1].lower() if modes else "disabled"


def storage(out: Path, mounts: Path = Path("/proc/mounts")) -> Iterable[Finding]:
    """Report whether a study directory can be at `out`, whether nodes share it, and whether the nodes' clocks agree."""
    from ablations.store import ResultStore

    existing = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return  # reported by the disk check
    kind, place = _file_system(existing, mounts)
    with tempfile.TemporaryDirectory(dir=existing, prefix=".doctor-") as folder:
        try:
            ResultStore(Path(folder) / "probe")
        except StoreError as error:
            yield Finding(
                "study storage", "problem", f"{kind} at {place}: {error}", "choose a different folder with --out"
            )
            return
        skew = _skew(Path(folder))
    if kind.startswith(_NETWORK):
        yield Finding("study storage", "ok", f"{kind} at {place}: links and locks work; other nodes can share it")
    else:
        yield Finding(
            "study storage",
            "note",
            f"{kind} at {place}: links and locks work, but the file system is local to this machine",
            "on a cluster, choose --out on storage that all nodes mount at the same path",
        )
    if abs(skew) > _SKEW:
        yield Finding(
            "clock",
            "problem",
            f"the clock of this machine is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} that of the "
            "file server",
            "start a time service (chrony, systemd-timesyncd) on both machines, because file ages must be reliable",
        )
    else:
        yield Finding("clock", "ok", f"within {_SKEW:.0f} s of the clock of {place}")


def _file_system(path: Path, mounts: Path) -> tuple[str, str]:
    """Return the type and mount point of the file system that contains a path."""
    found = ("unknown", "/")
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for fields in (line.split() for line in lines):
        place = Path(fields[1].encode().decode("unicode_escape"))
        if len(fields) > 2 and path.resolve().is_relative_to(place) and len(str(place)) >= len(found[1]):
            found = (fields[2], str(place))
    return found


def _skew(folder: Path) -> float:
    """Return by how many seconds the file system's clock is ahead of this machine's clock."""
    path = folder / "clock"
    before = time.time()
    path.write_bytes(b"x")
    after = time.time()
    stamp = path.stat().st_mtime
    return stamp - after if stamp > after else min(stamp - before, 0.0)


def shared_memory(path: Path = Path("/dev/shm")) -> Iterable[Finding]:  # noqa: S108 -- the folder itself is examined
    """Report whether Ray's object store, for which Ray uses 30 % of the RAM, fits into shared memory."""
    if not path.is_dir():
        yield Finding(
            "shared memory", "note", f"{path} does not exist on this machine; Ray uses the temporary folder instead"
        )
        return
    usage = shutil.disk_usage(path)
    if usage.free < _GIB // 4:
        remedy = "with Docker: docker run --shm-size=2g; on Kubernetes: an emptyDir with medium: Memory at /dev/shm"
        message = (
            f"{usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MiB free in {path}: Ray falls back to the disk"
        )
        yield Finding("shared memory", "note", message, remedy)
    else:
        yield Finding("shared memory", "ok", f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free in {path}")
