"""Default locations for data on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

DATA_VARIABLE = "AIM_DATA_ROOT"
CACHE_VARIABLE = "AIM_CACHE_DIR"

_compares: ContextVar[bool] = ContextVar("compares", default=True)
"""Whether local copies of data are compared with the originals in object storage."""


def data_folder(name: str, root: str | None = None) -> Path:
    """Return the folder of the data set `name`.

    This is `root` if `root` is given, or a local copy if `root` is an archive or in object storage; see
    `aimlib.datasets.sources`. Otherwise, it is ``$AIM_DATA_ROOT/<name>``, else ``<name>`` in the user's data folder
    (``$XDG_DATA_HOME/aim-ablations``, by default ``~/.local/share/aim-ablations``).
    """
    if root is not None:
        from aimlib.datasets.sources import is_source, local_copy  # noqa: PLC0415 -- imports this module

        return local_copy(root, compare=_compares.get()) if is_source(root) else Path(root).expanduser()
    given = os.environ.get(DATA_VARIABLE)
    if given:
        return Path(given).expanduser() / name
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "aim-ablations" / name


@contextmanager
def without_comparing() -> Iterator[None]:
    """Use copies of data in object storage as they are, without checking whether the storage has changed."""
    token = _compares.set(False)
    try:
        yield
    finally:
        _compares.reset(token)


def cache_folder(cache: str | None = None) -> Path:
    """Return the folder for packed data.

    This is `cache` if given, else ``$AIM_CACHE_DIR``, else ``~/.cache/aim-ablations/packed``.
    """
    given = cache or os.environ.get(CACHE_VARIABLE)
    return Path(given or "~/.cache/aim-ablations/packed").expanduser()


def cache_of(what: str) -> Path:
    """Return the folder of the cache for `what`, which may be deleted whenever no process is using it.

    This is ``$AIM_CACHE_DIR/<what>``, else ``~/.cache/aim-ablations/<what>``.
    """
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/aim-ablations").expanduser() / what
