"""What earlier versions wrote and called otherwise, and how it is read now."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

from aimlib.errors import StoreError
from aimlib.paths import Place
from aimlib.records import SCHEMA_VERSION

Role = Literal["baseline", "treatment", "matched", "frozen", "permuted", "other"]
ROLES: tuple[Role, ...] = ("baseline", "treatment", "matched", "frozen", "permuted", "other")
_ROLES: dict[str, Role] = {**{role: role for role in ROLES}, "aim": "treatment"}
"""By the role as it is stored. Stored documents say ``aim``: every version reads it."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def role(stored: str) -> Role | None:
    """Return the role that a stored word means; None where it means none."""
    return _ROLES.get(stored)


def refuse_version(version: Any, path: Place) -> None:
    """Raise StoreError where a file's schema version is not the one this package knows."""
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version}, but this package reads version {SCHEMA_VERSION}; "
            "read it with the release of aim-ablations that wrote it"
        )


def warn_renamed(old: str, new: str, level: int = 3) -> None:
    """Warn whoever calls the caller that a name is replaced."""
    warnings.warn(f"{old} is now {new}; the old name goes in a later release", FutureWarning, stacklevel=level)


def renamed(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a function take keywords by their earlier names, with a warning: ``@renamed(trials="runs")``."""

    def wrap(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for old in names.keys() & kwargs.keys():
                if names[old] in kwargs:
                    raise TypeError(f"{function.__name__}() got both {names[old]!r} and its earlier name {old!r}")
                warn_renamed(f"the parameter {old!r} of {function.__name__}()", repr(names[old]))
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return wrap
