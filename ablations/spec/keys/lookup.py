"""Keys below a prefix, and suggestions for keys that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ablations.spec.advice import OTHER_NAMES
from ablations.spec.keys.records import Key
from ablations.spec.levels import RUN_KEYS
from aimlib.errors import UsageError

_MOST_NEAR = 5


def below(keys: Iterable[Key], prefix: str) -> tuple[Key, ...]:
    """Return the keys at and below a prefix.

    Parameters
    ----------
    prefix : beginning of a key path, with or without the name of a component (``training.schedule.cosine``,
        ``training.schedule.warmup_epochs``), or a path as written in a study, in `base` or in an arm. If empty, all
        keys are returned.

    Raises
    ------
    UsageError: there is no such key; the message lists similar keys.
    """
    keys = tuple(keys)
    parts = _parts(prefix)
    found = tuple(key for key in keys if any(_starts(path, parts) for path in (key.path, key.address)))
    if not found:
        raise UsageError(f"keys: there is no key {prefix!r}; {_meant(keys, prefix)}")
    return found


def _parts(prefix: str) -> list[str]:
    parts = prefix.strip().strip(".").split(".") if prefix.strip(" .") else []
    if parts[:1] == ["base"] and len(parts) > 1:
        return parts[1:]
    if parts[:1] == ["arms"] and len(parts) > 2 and parts[2] in RUN_KEYS and len(parts) > 3:
        return parts[2:]
    if parts[:1] == ["arms"] and len(parts) > 1:
        return ["arms", "NAME", *parts[2:]]
    return parts


def _starts(path: str, parts: list[str]) -> bool:
    return path.split(".")[: len(parts)] == parts


def _meant(keys: Iterable[Key], prefix: str) -> str:
    paths = list(dict.fromkeys(key.address if key.is_component else key.path for key in keys))
    last = _last(prefix.strip(" ."))
    for name in dict.fromkeys((last, OTHER_NAMES.get(last.lower(), last))):
        if same := [path for path in paths if _last(path) == name]:
            return f"keys of that name: {_listed(same)}" if name == last else f"use {_listed(same)}"
    near = difflib.get_close_matches(prefix, paths, _MOST_NEAR, 0.6)
    near = near or [path for path in paths if difflib.get_close_matches(last, [_last(path)], 1, 0.7)]
    return f"nearest: {_listed(near)}" if near else "`ablate keys` without a prefix lists all keys"


def _listed(paths: list[str]) -> str:
    more = len(paths) - _MOST_NEAR
    return ", ".join(paths[:_MOST_NEAR]) + (f" and {more} more" if more > 0 else "")


def _last(path: str) -> str:
    return path.rpartition(".")[2]
