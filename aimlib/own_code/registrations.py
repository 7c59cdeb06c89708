"""The classes that a module registers with decorators or calls, and the functions that a study names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aimlib.errors import PluginError, did_you_mean
from aimlib.own_code.scopes import Use
from aimlib.own_code.sources import Module, Statement

if TYPE_CHECKING:
    from aimlib.own_code.reach import Reach

REGISTRIES = "aimlib.registry", "ablations.spec.search_families"
"""Modules whose registries are open to the user's own code."""
TRAINERS = "trainers"
"""The family of training code; its plugins can be functions."""


@dataclass(frozen=True)
class Root:
    """A class that the user's own code registers, or a training code function that a study names.

    Attributes
    ----------
    registry : full name of the registry, e.g. ``aimlib.registry.placements``.
    name, version : as set in the decorator.
    qualname : name of the class or function within its module.
    place : where the class or function is registered, for messages.
    """

    registry: str
    name: str
    version: int
    qualname: str
    place: str

    @property
    def family(self) -> str:
        """The name of the registry's family, a plural noun."""
        return self.registry.rpartition(".")[2]

    @property
    def key(self) -> str:
        """The family and the name, in the form in which rows identify components."""
        return f"{self.family}/{self.name}"


@dataclass(frozen=True)
class Registered:
    """One registration in a module.

    Attributes
    ----------
    where : the statement that registers.
    definition : the statement that defines the class or function.
    """

    root: Root
    where: Statement
    definition: Statement


def mark(module: Module, reach: Reach) -> list[Registered]:
    """Return the classes that a module registers, and mark their decorators, which are not part of the code.

    In the result, the classes come first, followed by the requested functions with training code.

    Raises
    ------
    PluginError: a name or version is not a literal, a registered object is not a class in the module, or a requested
        function is not defined.
    """
    found = []
    for call, statement in list(_candidates(module)):
        registry = _registry(call, statement, module, reach)
        if registry is None:
            continue
        definition = statement
        if isinstance(statement.node, ast.ClassDef):
            assert call.end_lineno is not None
            statement.registrations.append((call.lineno, call.end_lineno))
        else:
            definition = _given(statement, module)
        found.append(Registered(_root(call, registry, _name(definition), statement), statement, definition))
    registered = {each.root.key for each in found}
    names = [name for name in reach.functions.get(module.source.name, ()) if f"{TRAINERS}/{name}" not in registered]
    return [*found, *(_function(name, module) for name in names)]


def _function(name: str, module: Module) -> Registered:
    """Return a registration of a module's function as training code."""
    defining = [each for each in module.defining(name) if isinstance(each.node, ast.FunctionDef)]
    if not defining:
        known = [each.node.name for each in module.statements if isinstance(each.node, ast.FunctionDef)]
        label = module.source.pieces[0].label if module.source.pieces else module.source.name
        raise PluginError(
            f"{label}: does not define a function {name!r}; {did_you_mean(name, known)}define it at the top level"
        )
    definition = defining[-1]
    root = Root(f"aimlib.registry.{TRAINERS}", name, 1, name, definition.place)
    return Registered(root, definition, definition)


def _name(definition: Statement) -> str:
    assert isinstance(definition.node, ast.ClassDef)
    return definition.node.name


def _candidates(module: Module) -> Iterator[tuple[ast.Call, Statement]]:
    """Yield calls of ``register`` that decorate a class or whose result is called, each with its statement."""
    for statement in module.statements:
        node = statement.node
        if isinstance(node, ast.ClassDef):
            yield from ((each, statement) for each in node.decorator_list if isinstance(each, ast.Call) and _is(each))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            inner = node.value.func
            if isinstance(inner, ast.Call) and _is(inner):
                yield inner, statement


def _is(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "register"


def _given(statement: Statement, module: Module) -> Statement:
    assert isinstance(statement.node, ast.Expr)
    assert isinstance(statement.node.value, ast.Call)
    given = statement.node.value.args
    name = given[0].id if len(given) == 1 and isinstance(given[0], ast.Name) else ""
    defining = [each for each in module.defining(name) if isinstance(each.node, ast.ClassDef)]
    if len(defining) != 1:
        raise PluginError(f"{statement.place}: register a class in this file by its name, or decorate it")
    return defining[0]


def _registry(call: ast.Call, statement: Statement, module: Module, reach: Reach) -> str | None:
    """Return the full name of the registry whose `register` is called; None if the object is not a registry."""
    assert isinstance(call.func, ast.Attribute)
    chain, inner = [], call.func.value
    while isinstance(inner, ast.Attribute):
        chain.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name) or not all(each.is_import for each in module.defining(inner.id)):
        return None
    use = Use(inner.id, tuple(reversed(chain)), deferred=False, line=call.lineno, certain=False)
    names = [".".join((each, *use.chain)) for each in reach.meaning(module, use, statement) if isinstance(each, str)]
    return next((name for name in names if name.rpartition(".")[0] in REGISTRIES), None)


def _root(call: ast.Call, registry: str, qualname: str, statement: Statement) -> Root:
    given: dict[str | None, ast.expr] = {keyword.arg: keyword.value for keyword in call.keywords}
    given |= {"name": call.args[0]} if call.args else {}
    place = f"{statement.label}, line {call.lineno}"
    try:
        name, version = ast.literal_eval(given["name"]), ast.literal_eval(given.get("version", ast.Constant(1)))
    except (KeyError, ValueError):
        name, version = None, None
    if not isinstance(name, str) or not isinstance(version, int):
        raise PluginError(
            f"{place}: the name and the version of a registered class must be literals, as in register('my_idea', "
            f"version=2)"
        )
    return Root(registry, name, version, qualname, place)
