"""The token that Ray requires from clients. It must exist before Ray starts, and only its owner may be able to read it.

Ray 2.60 turns token authentication on for a session that ``ray.init()`` starts on this machine, and writes the token to
``~/.ray/auth_token``, which every user of the machine can read (mode 0644). Anyone who reads the token can run code as
the user. ``ray start --head`` turns authentication on only if a token already exists.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from aimlib.errors import UsageError

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105 -- the name of a variable
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"  # noqa: S105

_PRIVATE = 0o600


def prepare_token() -> None:
    """Turn token authentication on and make the token private; call this before ``ray.init`` starts Ray.

    The user's decisions are respected: a mode that is set, even ``disabled``, and an existing token. If other users can
    read the token file, their access is removed. If there is no token, one is created in ``~/.ray/auth_token`` or, if
    that file is not writable, in a private folder that is removed when this process ends.

    Raises
    ------
    UsageError: ``RAY_AUTH_TOKEN_PATH`` is not the path of a file with a token; Ray would abort the process.
    """
    if "ray" not in sys.modules:  # ray ignores later changes; the mode is the default for local sessions since 2.59
        os.environ.setdefault(MODE, "token")
    if os.environ.get(MODE, "token").lower() != "token" or os.environ.get(TOKEN):
        return
    named = os.environ.get(TOKEN_PATH)
    if named:
        _refuse_missing(Path(named))
        _close(Path(named))
        return
    path = default_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_unless_there(path)
    except OSError:  # the home directory is read-only or missing
        path = _private_folder() / "auth_token"
        _write_unless_there(path)
        os.environ[TOKEN_PATH] = str(path)
    _close(path)


def token_file() -> Path | None:
    """Return the file in which Ray looks for the token; None if the environment contains the token itself."""
    if os.environ.get(TOKEN):
        return None
    return Path(os.environ.get(TOKEN_PATH) or default_path())


def default_path() -> Path:
    """Return the file that Ray uses by default."""
    return Path("~/.ray/auth_token").expanduser()


def readable_by_others(path: Path) -> bool:
    """Return whether the group or all other users may read or write a file."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _refuse_missing(path: Path) -> None:
    try:
        found = bool(path.read_bytes().strip())
    except OSError as error:
        raise UsageError(f"{TOKEN_PATH}: {path} cannot be read ({error.strerror}); {_MAKE}") from error
    if not found:
        raise UsageError(f"{TOKEN_PATH}: {path} is empty; {_MAKE}")


_MAKE = "copy the cluster's token there with mode 0600, or unset the variable so that Ray uses ~/.ray/auth_token"


def _write_unless_there(path: Path) -> None:
    """Write a new token atomically; if another process was faster, keep its token."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size:
            return
        path.unlink()  # Ray was killed while writing
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))  # 256 bits, like Ray's own tokens
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def _close(path: Path) -> None:
    """Remove all other users' permissions.

    A file with a different owner, such as a mounted secret, is left unchanged.
    """
    with contextlib.suppress(PermissionError):
        if readable_by_others(path):
            path.chmod(_PRIVATE)


def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ray-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
