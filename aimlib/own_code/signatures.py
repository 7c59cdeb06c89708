"""Check whether a plugin's methods accept the arguments that the base class declares, with which they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

_OURS = "aimlib", "ablations"


def problems(cls: type) -> Iterator[str]:
    """Yield the problems of a plugin's methods that override methods of this package's base classes."""
    if _is_ours(cls):
        return
    for name in dict.fromkeys(name for each in cls.__mro__ if not _is_ours(each) for name in vars(each)):
        base = next((vars(each)[name] for each in cls.__mro__ if _is_ours(each) and name in vars(each)), None)
        own = inspect.getattr_static(cls, name)
        if isinstance(base, property) and inspect.isfunction(own):
            yield f"{name} is a method, but is used as a value; write `@property` above it"
        elif inspect.isfunction(base) and inspect.isfunction(own) and not _takes(own, base):
            yield (
                f"{name}({_listed(own)}) is called with ({_listed(base, called=True)}); write `def "
                f"{name}({_listed(base)}):`"
            )


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in _OURS


def parameter(given: inspect.Parameter) -> str:
    """Return a parameter as written, without its type."""
    return str(given.replace(annotation=inspect.Parameter.empty))


def _listed(method: Callable[..., Any], *, called: bool = False) -> str:
    """Return the parameters of a method, without types; if `called`, only those that are always passed."""
    given = inspect.signature(method).parameters.values()
    return ", ".join(_required(method)[1:] if called else map(parameter, given))


def _required(method: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that a caller passes by position, including `self`."""
    by_position = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = inspect.signature(method).parameters.values()
    return [each.name for each in given if each.kind in by_position and each.default is inspect.Parameter.empty]


def _takes(own: Callable[..., Any], base: Callable[..., Any]) -> bool:
    try:
        inspect.signature(own).bind(*_required(base))
    except TypeError:
        return False
    return True
