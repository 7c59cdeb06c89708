"""What a class reaches: the functions, classes, constants and imports that it uses in its folder or session."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aimlib.errors import PluginError
from aimlib.own_code import imports, registrations, scopes
from aimlib.own_code.imports import Imported
from aimlib.own_code.registrations import Registered
from aimlib.own_code.sources import Find, Module, Statement

_OF_A_MODULE = frozenset({"__name__", "__doc__", "__package__", "__debug__", "__builtins__"})
_UNRESOLVABLE = {
    "eval": "text that is evaluated",
    "exec": "text that is executed",
    "globals": "names that are looked up",
    "__import__": "a module that is imported by name",
    "__file__": "the location of its file",
}
_HARMLESS = frozenset({"print", "len", "repr", "str", "type", "help", "display", "isinstance", "id", "sorted", "list"})
_IMMUTABLE = (ast.Constant, ast.Tuple, ast.UnaryOp, ast.BinOp, ast.unaryop, ast.operator, ast.expr_context)

Ref = Statement | str
"""A statement in the user's own code, or the full name of something installed."""


@dataclass(frozen=True)
class Suspect:
    """A statement that is not part of the reached code, but may change an object that the reached code uses.

    Attributes
    ----------
    statement : e.g. ``fill(TABLE)``.
    name : e.g. ``TABLE``.
    """

    statement: Statement
    name: str


class Reach:
    """The statements that given statements reach, directly or through other statements.

    Parameters
    ----------
    find : finds the user's own modules.
    functions : names of functions that serve as training code, by module.

    Attributes
    ----------
    statements : the statements reached, without imports.
    refs : what each statement uses, by name.
    aliases : the names needed from each import statement.
    registered : the classes that each module registers.
    """

    def __init__(self, find: Find, functions: Mapping[str, Iterable[str]] | None = None) -> None:
        self.find = find
        self.functions = functions or {}
        self.modules: dict[str, Module] = {}
        self.statements: dict[Statement, None] = {}
        self.refs: dict[Statement, dict[str, list[Ref]]] = {}
        self.aliases: dict[Statement, dict[Imported, None]] = {}
        self.registered: dict[str, list[Registered]] = {}

    def module(self, name: str) -> Module:
        """Return one of the user's own modules."""
        if name not in self.modules:
            source = self.find(name)
            assert source is not None, name
            self.modules[name] = Module(source)
            self.registered[name] = registrations.mark(self.modules[name], self)
        return self.modules[name]

    def meaning(self, module: Module, use: scopes.Use, statement: Statement) -> list[Ref]:
        """Return what a name refers to at the place where a statement uses it."""
        return self.resolve(module, use.name, use.chain, _Context(statement, use))[1]

    def follow(self, roots: Iterable[Statement]) -> None:
        """Add the statements `roots`, and everything that they reach.

        Raises
        ------
        PluginError: a name in the code cannot be resolved.
        """
        waiting = list(roots)
        while waiting:
            statement = waiting.pop()
            if statement in self.statements:
                continue
            self.statements[statement] = None
            refs = self.refs[statement] = dict(self._used_by(statement))
            waiting += [each for found in refs.values() for each in found if isinstance(each, Statement)]

    def _used_by(self, statement: Statement) -> Iterator[tuple[str, list[Ref]]]:
        module = self.module(statement.module)
        for use in statement.uses:
            taken, found = self.resolve(module, use.name, use.chain, _Context(statement, use))
            if found:
                yield ".".join((use.name, *use.chain[:taken])), found
        for name in statement.binds.keys() | statement.changes:
            defining = [each for each in module.defining(name) if not each.is_import]
            if statement in defining and len(defining) > 1:
                yield f"{name}=", list(defining)
        for node in imports.within(statement.node):
            yield from self._imported_within(node, module, statement)

    def _imported_within(
        self, node: ast.Import | ast.ImportFrom, module: Module, statement: Statement
    ) -> Iterator[tuple[str, list[Ref]]]:
        """Yield what an import inside a function or block reaches."""
        place = f"{statement.label}, line {node.lineno}"
        for each in imports.imported(node, module.source, self.find, place):
            if not each.own:
                continue
            if each.name is None:
                raise PluginError(
                    f"{place}: {each.bound} is your own code: import it at the top of the file, or write "
                    f"`from {each.module} import NAME`"
                )
            use = scopes.Use(each.name, (), deferred=True, line=node.lineno)
            yield f"import {each.bound}", self.meaning(self.module(each.module), use, statement)

    def resolve(self, module: Module, name: str, chain: tuple[str, ...], context: _Context) -> tuple[int, list[Ref]]:
        """Return how many attributes in the chain belong to a name in a module, and what the name refers to."""
        defining = module.defining(name)
        if not any(name in each.binds for each in defining):
            return 0, self._unbound(module, name, context)
        taken, found = 0, list[Ref]()
        for statement in defining:
            if not statement.is_import:
                found.append(statement)
                continue
            for each in self._imports_of(module, statement):
                if each.bound == name:
                    self.aliases.setdefault(statement, {})[each] = None
                    taken, more = self._of_import(each, chain, context)
                    found += more
        return taken, found

    def _imports_of(self, module: Module, statement: Statement) -> list[Imported]:
        assert isinstance(statement.node, (ast.Import, ast.ImportFrom))
        return imports.imported(statement.node, module.source, self.find, statement.place)

    def _of_import(self, each: Imported, chain: tuple[str, ...], context: _Context) -> tuple[int, list[Ref]]:
        if not each.own:
            return 0, [each.dotted]
        if each.name is not None:
            return self.resolve(self.module(each.module), each.name, chain, context)
        if not chain or context.use.stored:
            what = "is changed" if context.use.stored else "is used as a whole"
            raise PluginError(
                f"{context.place}: the module {each.module} {what}, so the code that it reaches cannot be resolved; "
                f"use its names, as in {each.bound}.NAME, or `from {each.module} import NAME`"
            )
        taken, found = self._attribute(each.module, chain, context)
        return taken + 1, found

    def _attribute(self, name: str, chain: tuple[str, ...], context: _Context) -> tuple[int, list[Ref]]:
        module, first = self.module(name), chain[0]
        if module.defining(first):
            return self.resolve(module, first, chain[1:], context)
        raise PluginError(f"{context.place}: {name} does not define {first!r}; correct the name, or import it directly")

    def _unbound(self, module: Module, name: str, context: _Context) -> list[Ref]:
        if not context.use.certain or name in _OF_A_MODULE:
            return []
        if name in _UNRESOLVABLE:
            raise PluginError(
                f"{context.place}: {name}: {_UNRESOLVABLE[name]} cannot be resolved, and a worker may not have it; "
                f"write the result into the code, or make it an option of Config"
            )
        if hasattr(builtins, name):
            return []
        if stars := list(self._stars(module)):
            return list(stars)
        if name in module.guarded:
            label, line = module.guarded[name]
            raise PluginError(
                f"{context.place}: {name} is defined only under `if __name__ == '__main__':` ({label}, line {line}), "
                f"which no worker runs; move the definition above it"
            )
        raise PluginError(f"{context.place}: {name} {self._nowhere(module)}")

    def _nowhere(self, module: Module) -> str:
        if module.source.is_session:
            return (
                "is not defined in any readable cell of this session; define it in a cell with a plain statement, or "
                "put it in a file"
            )
        return f"is not defined in {module.source.pieces[0].label}; define or import it there"

    def _stars(self, module: Module) -> Iterator[str]:
        for statement in module.statements:
            if isinstance(statement.node, ast.ImportFrom) and "*" in statement.binds:
                for each in self._imports_of(module, statement):
                    self.aliases.setdefault(statement, {})[each] = None
                    yield each.dotted

    def suspects(self) -> list[Suspect]:
        """Return statements that are not part of the reached code, but may change objects that it uses."""
        return [
            Suspect(statement, name)
            for module in self.modules.values()
            for statement in module.statements
            if statement not in self.statements and not isinstance(statement.node, (ast.Assign, ast.AnnAssign))
            for name, called in scopes.passed_by(statement.node).items()
            if called.rpartition(".")[2] not in _HARMLESS and self._is_reached_object(module, name)
        ] + [
            Suspect(statement, name)
            for module in self.modules.values()
            for statement in module.statements
            for name in statement.changes
            if self._is_reached_module(module, name)
        ]

    def _is_reached_module(self, module: Module, name: str) -> bool:
        """Return whether a name refers to one of the user's own modules from which the reached code uses a name."""
        taken = [alias for each in module.defining(name) for alias in self.aliases.get(each, ())]
        return any(each.own and each.name is None and each.bound == name for each in taken)

    def _is_reached_object(self, module: Module, name: str) -> bool:
        """Return whether a name refers to an object that the reached code uses and that a function could change."""
        values = [
            each.node.value
            for each in module.defining(name)
            if each in self.statements and isinstance(each.node, (ast.Assign, ast.AnnAssign))
        ]
        return any(not is_immutable(value) for value in values if value is not None)


def is_immutable(value: ast.expr) -> bool:
    """Return whether an expression consists only of numbers, strings and tuples of these."""
    return all(isinstance(each, _IMMUTABLE) for each in ast.walk(value))


@dataclass(frozen=True)
class _Context:
    """The place where a name is used."""

    statement: Statement
    use: scopes.Use

    @property
    def place(self) -> str:
        return f"{self.statement.label}, line {self.use.line}"
