"""Approval of the user's own code: a file that a study names runs only after its user has agreed to this code once.

The user approves the hash of the code that would run, so comments can be changed without a new approval. Approvals are
stored for the user of this machine, in a private file: ``$AIM_CONFIG_DIR/approved_code.json`` or, if this variable is
not set, ``~/.config/aim-ablations``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aimlib.errors import StoreError, UsageError
from aimlib.own_code.bundle import Bundle
from aimlib.paths import read_file
from aimlib.records.escaping import printable

CONFIG_VARIABLE = "AIM_CONFIG_DIR"
SHOWN_DIGITS = 32
"""Number of digits of a hash that are printed and that suffice for `--trust`."""
_FILE = "approved_code.json"
_MOST_BYTES = 10_000_000
_HASH = re.compile(rf"[0-9a-f]{{{SHOWN_DIGITS},64}}")

Trust = bool | str | Collection[str]
"""True approves all code that a study names; otherwise, a collection of hashes of approved code."""


def require(study: str, bundles: Mapping[Path, Bundle], trust: Trust = ()) -> None:
    """Raise an error if the user has not approved some of the code; on a terminal, ask first.

    Parameters
    ----------
    study : name of the study in messages: its file or its name.
    bundles : the code in each file, by file.
    trust : code that the user approves with this call.

    Raises
    ------
    UsageError: some code is not approved, or `trust` contains something that is not a hash; the message contains the
        hashes of all files.
    """
    if trust is True:
        return
    unknown = {path: bundle for path, bundle in bundles.items() if not is_approved(path, bundle.hash)}
    given = [trust] if isinstance(trust, str) else [] if isinstance(trust, bool) else list(trust)
    if unknown:
        _refuse_no_hashes(given)
    for path, bundle in list(unknown.items()):
        if any(bundle.hash.startswith(each) for each in given):
            approve(bundle.hash, path)
            del unknown[path]
    if unknown and not _is_interactive():
        names = " and in ".join(_named(path, bundle) for path, bundle in unknown.items())
        digits = [bundle.hash[:SHOWN_DIGITS] for bundle in unknown.values()]
        raise UsageError(
            f"{study}: own code: you have not approved the code in {names}; read "
            f"{'it' if len(digits) == 1 else 'them'}, then use {_command(digits)}"
        )
    for path, bundle in unknown.items():
        named = _named(path, bundle)
        if not _asked(f"{printable(Path(study).name)} names {named}: run its code?", path, bundle):
            raise UsageError(f"{study}: own code: the code in {named} was not approved; none of it was run")


def _refuse_no_hashes(given: Collection[str]) -> None:
    for each in given:
        if not _HASH.fullmatch(each):
            raise UsageError(
                f"--trust {each}: this is not a hash of code; give at least {SHOWN_DIGITS} hexadecimal digits"
            )


def _named(path: Path, bundle: Bundle) -> str:
    labels = sorted({piece.label for module in bundle.reach.modules.values() for piece in module.source.pieces})
    others = [label for label in labels if label != path.name]
    more = f" with {', '.join(others)}" if others else ""
    return printable(f"{path.name}{more} (sha256 {bundle.hash[:SHOWN_DIGITS]}…)")


def _command(digits: Sequence[str]) -> str:
    """Return the options that approve code by the first digits of each hash."""
    if Path(sys.argv[0]).stem in ("ablate", "app"):
        return f"`ablate {shlex.join(sys.argv[1:])} {' '.join(f'--trust {each}' for each in digits)}`"
    quoted = ", ".join(f'"{each}"' for each in digits)
    return f"trust={quoted if len(digits) == 1 else f'[{quoted}]'}, or trust=True for all code that the study names"


def _is_interactive() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _asked(question: str, path: Path, bundle: Bundle) -> bool:
    sys.stderr.write(f"{question}\n  y: this version   a: this file, even when it changes   N: no [y/a/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer in ("y", "yes"):
        approve(bundle.hash, path)
    elif answer in ("a", "always"):
        approve_file(path)
    return answer in ("y", "yes", "a", "always")


def approve(code: str, path: Path) -> None:
    """Store the approval of code by its hash; if the approval cannot be stored, it is valid for this call only."""
    _remember("code", code, {"file": path.name})


def approve_file(path: Path) -> None:
    """Store the approval of a file with any content, valid as long as only this user can write to the file."""
    _remember("files", str(path.resolve()), {})


def is_approved(path: Path, code: str) -> bool:
    """Return whether code, or the file that contains it, was approved by this user on this machine."""
    known = _known()
    return code in known["code"] or (str(path.resolve()) in known["files"] and _is_private(path))


def _is_private(path: Path) -> bool:
    """Return whether only this user can write to a file and its folder."""
    for each in (path, path.resolve().parent):
        found = each.stat()
        if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True


def _folder() -> Path:
    given = os.environ.get(CONFIG_VARIABLE)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(given).expanduser() if given else Path(home).expanduser() / "aim-ablations"


def _known() -> dict[str, dict[str, Any]]:
    """Return the stored approvals; empty if other users can write to the file."""
    path = _folder() / _FILE
    try:
        found = path.lstat()
        own = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        content = json.loads(read_file(path, _MOST_BYTES)) if own else {}
    except (OSError, ValueError, RecursionError):
        content = {}
    known = content if isinstance(content, dict) else {}
    return {kind: dict(known[kind]) if isinstance(known.get(kind), dict) else {} for kind in ("code", "files")}


def _remember(kind: str, key: str, content: dict[str, str]) -> None:
    with contextlib.suppress(OSError, StoreError), _written() as known:
        known[kind][key] = {**content, "approved_at": datetime.now(UTC).isoformat(timespec="seconds")}


@contextlib.contextmanager
def _written() -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the stored approvals, which the block can extend, and write them at its end.

    Meanwhile, other processes wait.
    """
    from filelock import FileLock  # noqa: PLC0415 -- needed only if something is approved

    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / f".{_FILE}.lock", timeout=10, mode=0o600):
        known = _known()
        yield known
        temporary = folder / f".{_FILE}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1, sort_keys=True)
        temporary.replace(folder / _FILE)
