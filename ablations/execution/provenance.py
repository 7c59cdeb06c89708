"""Where a result comes from: the machine, the code, the library versions, and the components' distributions.

No environment variables are recorded. No function here raises an error, because a result of unknown origin is still a
result; unknown values are null.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path, PurePosixPath

from aimlib.config import RunConfig
from aimlib.own_code import parts
from aimlib.records import STUDY_FILE
from aimlib.registry import components_of

DISTRIBUTIONS = ("torch", "torchvision", "numpy", "ray", "optuna", "pandas", "pyarrow", "aim-ablations")
"""Distributions whose versions can change a number or how it is stored."""

_TIME_LIMIT = 10.0  # seconds, for all git commands together
_HASHED_BYTES = 2**20  # of each untracked file, besides its size


def provenance() -> dict[str, str | None]:
    """Return the values of the columns host, git_commit, git_dirty and versions in `aimlib.records`.

    The state of the checkout is determined at the first call in a process, because later edits do not affect the code
    of that process.
    """
    commit, dirty = _own_checkout()
    return {"host": platform.node(), "git_commit": commit, "git_dirty": dirty, "versions": versions()}


def versions() -> str:
    """Return JSON: the versions of Python and of each distribution in `DISTRIBUTIONS`; null for missing ones."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return json.dumps(found)


def plugins_of(config: RunConfig) -> str:
    """Return JSON: the distribution of every component that the run uses, by ``family/name``, sorted.

    For the user's own code, the JSON contains the file, its hash, and the distributions that the file imports.
    """
    found = {}
    for registry, component in components_of(config):
        for info in registry.plugins():
            if info.name == component.name:
                used = parts.distributions(component) if type(component).code else ""
                found[f"{registry.family}/{info.name}"] = info.distribution + used
    return json.dumps(found, sort_keys=True)


@functools.cache
def _own_checkout() -> tuple[str | None, str | None]:
    return checkout_state(Path(__file__).resolve().parent)


def checkout_state(package: Path) -> tuple[str | None, str | None]:
    """Return the commit, and the hash of the uncommitted changes, in the checkout that contains `package`.

    The hash covers ``git diff HEAD`` and the untracked files that are not ignored: the name, the size and the first
    megabyte of each file. It omits study directories, because their results would change the hash from run to run.

    Parameters
    ----------
    package : a directory whose ``__init__.py`` is tracked, which distinguishes a checkout from an installation that is
        merely inside some repository.

    Returns
    -------
    The commit (40 or 64 hexadecimal digits) and the hash (20 digits). The commit is None outside a checkout, if git is
    not installed, or if git takes too long. The hash is None if there are no changes.
    """
    deadline = time.monotonic() + _TIME_LIMIT
    if _git(package, deadline, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    top = _git(package, deadline, "rev-parse", "--show-toplevel")
    commit = _git(package, deadline, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None:
        return None, None
    root = Path(os.fsdecode(top.rstrip(b"\n")))
    return commit.decode().strip(), _changes(root, deadline)


def _changes(root: Path, deadline: float) -> str | None:
    diff = _git(root, deadline, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index")
    listed = _git(root, deadline, "ls-files", "--others", "--exclude-standard", "-z")
    if diff is None or listed is None:
        return "unknown"
    untracked = _outside_studies(root, sorted(os.fsdecode(name) for name in listed.split(b"\0") if name))
    if not diff and not untracked:
        return None
    digest = hashlib.sha256(diff)
    for name in untracked:
        digest.update(os.fsencode(name) + b"\0" + _beginning(root / name))
    return digest.hexdigest()[:20]


def _outside_studies(root: Path, names: list[str]) -> list[str]:
    """Return the names that are not in a directory with a ``study.json``."""
    parents = {name: PurePosixPath(name).parents for name in names}
    folders = {folder for above in parents.values() for folder in above}
    studies = {folder for folder in folders if (root / folder / STUDY_FILE).exists()}
    return [name for name, above in parents.items() if studies.isdisjoint(above)]


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return f"{path.stat().st_size}\0".encode() + file.read(_HASHED_BYTES)
    except OSError:  # the file was deleted, is a dangling link, or is unreadable; its name is hashed anyway
        return b""


def _git(directory: Path, deadline: float, *arguments: str) -> bytes | None:
    """Return git's output, or None if git fails, is not installed or exceeds the deadline."""
    # The caller's git variables could point to a different repository; a lock could block another git process.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 -- fixed arguments
            ["git", "-c", "core.fsmonitor=false", "-C", str(directory), *arguments],  # noqa: S607 -- the user's git
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max(deadline - time.monotonic(), 0.1),
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
