"""Find out what import statements in the user's own code refer to: modules in the same folder, or installed modules."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aimlib.errors import PluginError
from aimlib.own_code.scopes import bound_name
from aimlib.own_code.sources import ROOT_PACKAGE, Find, Module, Source

_OURS = frozenset({"aimlib", "analysis", "ablations"})


@dataclass(frozen=True)
class Imported:
    """One name in an import statement.

    Attributes
    ----------
    bound : the name that the statement binds.
    module : the absolute name of the module from which it is imported.
    name : the name in that module; None: the module itself.
    own : whether the module is the user's own code.
    full : the module that an ``import`` names, although it may bind only the first part of the name.
    """

    bound: str
    module: str
    name: str | None
    own: bool
    full: str = ""

    @property
    def dotted(self) -> str:
        """The full name of something that is not the user's own code."""
        return f"{self.module}.{self.name}" if self.name else self.module


def imported(node: ast.Import | ast.ImportFrom, source: Source, find: Find, place: str) -> list[Imported]:
    """Return what an import statement imports.

    Raises
    ------
    PluginError: the statement imports everything from one of the user's own modules, or cannot be resolved.
    """
    if isinstance(node, ast.Import):
        return [_module(alias, find, place) for alias in node.names]
    base = _absolute(node, source, place)
    return [_name(base, alias, find, place, relative=node.level > 0) for alias in node.names]


def _module(alias: ast.alias, find: Find, place: str) -> Imported:
    own = find(alias.name.partition(".")[0]) is not None
    if not own:
        refuse_unavailable(alias.name, place)
        module = alias.name if alias.asname else bound_name(alias)
        return Imported(bound_name(alias), module, None, own=False, full=alias.name)
    if "." in alias.name and not alias.asname:
        package, _, last = alias.name.rpartition(".")
        raise PluginError(f"{place}: import {alias.name}: write `from {package} import {last}` for your own code")
    if find(alias.name) is None:
        raise PluginError(f"{place}: import {alias.name}: there is no such module in the folder; correct the name")
    return Imported(bound_name(alias), alias.name, None, own=True)


def _absolute(node: ast.ImportFrom, source: Source, place: str) -> str:
    """Return the name of the module in a ``from`` import, relative to the folder of the code."""
    if node.level == 0:
        return node.module or ""
    package = source.name.split(".") if source.is_package else source.name.split(".")[:-1]
    package = [part for part in package if part != ROOT_PACKAGE]
    if node.level - 1 > len(package):
        raise PluginError(
            f"{place}: this import refers to something outside the folder; move what it needs into the same folder"
        )
    above = package[: len(package) - (node.level - 1)]
    return ".".join([*above, *([node.module] if node.module else [])]) or ROOT_PACKAGE


def _name(base: str, alias: ast.alias, find: Find, place: str, *, relative: bool) -> Imported:
    own = find(base) is not None or (not relative and find(base.partition(".")[0]) is not None)
    if (own or relative) and alias.name == "*":
        raise PluginError(f"{place}: from {base} import *: import the names from your own code one by one")
    below = alias.name if base == ROOT_PACKAGE else f"{base}.{alias.name}"
    if not own and not relative:
        refuse_unavailable(base, place)
        return Imported(bound_name(alias), base, alias.name, own=False)
    within = find(base)
    if within is not None and alias.name in _names(within):
        return Imported(bound_name(alias), base, alias.name, own=True)
    if find(below) is not None:
        return Imported(bound_name(alias), below, None, own=True)
    said = "its folder" if base == ROOT_PACKAGE else base
    raise PluginError(f"{place}: {said} does not define {alias.name!r}; correct the import")


def _names(source: Source) -> set[str]:
    return {name for statement in Module(source).statements for name in statement.binds}


def within(node: ast.stmt) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements in a statement."""
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Import, ast.ImportFrom)):
            yield inner


def refuse_unavailable(module: str, place: str) -> None:
    """Refuse a module that is neither the user's own code nor installed, because workers have no copy of it.

    A module that does not exist at all is not refused but left to Python, because the import may be conditional.
    """
    origin = _origin(module.partition(".")[0])
    if origin is not None:
        raise PluginError(
            f"{place}: {module} is {origin}, which is neither in the same folder nor part of an installed package, so "
            f"workers have no copy of it; move it into the folder, or install it"
        )


def is_installed(module: str) -> bool:
    """Return whether a module is part of Python or of a distribution, or cannot be found at all."""
    return _origin(module.partition(".")[0]) is None


@cache
def _origin(top: str) -> str | None:
    """Return a module's file, without importing it; None if the module is part of Python or a distribution."""
    if top in sys.stdlib_module_names or top in sys.builtin_module_names or top in _OURS or top == "__main__":
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    origin = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    if origin is None or not Path(origin).exists() or _is_installed(Path(origin), top):
        return None
    return origin


def _is_installed(origin: Path, top: str) -> bool:
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if any(origin.is_relative_to(place) for place in places if place):
        return True
    if {"site-packages", "dist-packages"} & set(origin.parts):
        return True
    return top in importlib.metadata.packages_distributions()
