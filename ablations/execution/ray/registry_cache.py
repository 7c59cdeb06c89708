"""A cache of Tune's registry of trainables, which is fetched once per session.

For every run, Tune fetches the worker class several times from the cluster's control store and unpickles it. The class
does not change within a session, and each round trip delays the next run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def cached_registry() -> Iterator[None]:
    """Cache the registry's content within a block; a new registration is visible immediately.

    Versions of Tune with a different registry are left unchanged.
    """
    from ray.tune import registry  # noqa: PLC0415 -- only sessions on Ray load it

    known: Any = getattr(registry, "_global_registry", None)
    if not all(callable(getattr(known, name, None)) for name in ("register", "contains", "get")):
        yield
        return
    own = _methods(known)
    vars(known).update(own)
    try:
        yield
    finally:
        for name, method in own.items():
            if vars(known).get(name) is method:
                del vars(known)[name]


def _methods(known: Any) -> dict[str, Any]:
    """Return replacements for the registry's methods."""
    kind = type(known)
    found: set[tuple[str, str]] = set()

    def contains(category: str, key: str) -> bool:
        if (category, key) not in found and kind.contains(known, category, key):
            found.add((category, key))
        return (category, key) in found  # only present entries are cached, because missing ones may be registered later

    @cache
    def get(category: str, key: str) -> Any:
        return kind.get(known, category, key)

    def register(category: str, key: str, value: Any) -> None:
        get.cache_clear()
        kind.register(known, category, key, value)

    return {"contains": contains, "get": get, "register": register}
