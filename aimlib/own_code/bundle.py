"""The classes that a file or session registers, the code that these classes reach, and the hashes of this code.

The hash of a class is part of run ids. The hash covers the normal form of everything that the class reaches, and the
meaning of every name in that code. The meaning of a name that refers to the user's own code is the normal form of that
code; the meaning of a name that refers to something installed is its full name. The hash does not cover the names of
files and folders, or the decorator that registers the class; the registered name and version are part of run ids
anyway.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aimlib.errors import PluginError
from aimlib.own_code import lexing, rewriting
from aimlib.own_code.reach import Reach, Suspect
from aimlib.own_code.registrations import TRAINERS, Registered, Root
from aimlib.own_code.sources import Find, Module, Piece, Source, Statement

_FORMAT = 1
"""A frozen number that is hashed together with the code."""


@dataclass
class Bundle:
    """The registered classes of a file or session, with everything that they reach.

    Attributes
    ----------
    main : name of the module that registers the classes.
    label : name of the module's file without the folder, or a label if the module is a session.
    registered : the classes, in the order in which the source defines them.
    hash : the hash of all classes together, which a user approves.
    codes : the hash of each class, keyed by the class's key.
    reach : what the classes reach.
    refusals : for each class that cannot be used, the reason, keyed by the class's key.
    """

    main: str
    label: str
    registered: tuple[Registered, ...]
    reach: Reach
    hash: str = ""
    codes: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def roots(self) -> tuple[Root, ...]:
        """The registered classes."""
        return tuple(each.root for each in self.registered)

    @cached_property
    def payload(self) -> dict[str, Any]:
        """Everything that a worker needs, as plain values."""
        modules = {
            name: {
                "package": module.source.is_package,
                "session": module.source.is_session,
                "pieces": [[piece.label, piece.text] for piece in self.pruned(module)],
            }
            for name, module in sorted(self.reach.modules.items())
        }
        wanted = {root.key: self.codes[root.key] for root in self.roots}
        return {"hash": self.hash, "main": self.main, "codes": wanted, "modules": modules}

    @cached_property
    def text_hash(self) -> str:
        """A hash of the unmodified text, with comments and file names; the names of generated modules contain it."""
        return _sha256(self.payload)

    def pruned(self, module: Module) -> list[Piece]:
        """Return the pieces of a module, with everything that the classes do not reach replaced by blanks."""
        kept: dict[int, list[tuple[int, str]]] = {}
        registered = {each.where for each in self.registered}
        for each in module.statements:
            if each in self.reach.aliases:
                kept.setdefault(each.piece, []).append((each.line, rewriting.import_line(self.reach.aliases[each])))
            elif each in self.reach.statements or each in registered:
                kept.setdefault(each.piece, []).append((each.line, each.text))
        return [Piece(piece.label, _only(kept.get(number, []))) for number, piece in enumerate(module.source.pieces)]

    def definitions(self, key: str) -> dict[str, str]:
        """Return hashes of the definitions that a class reaches and of methods in classes, keyed by file and name."""
        found: dict[str, str] = {}
        roots = [each.definition for each in self.registered if each.root.key == key]
        for statement in reached_from(self.reach, roots):
            for name in statement.binds or statement.changes:
                text = statement.code + found.get(f"{statement.label}: {name}", "")
                found[f"{statement.label}: {name}"] = _sha256(lexing.tokens(text) if text else [])
            if isinstance(statement.node, ast.ClassDef):
                for name, normal in _methods(statement):
                    found[f"{statement.label}: {statement.node.name}.{name}"] = _sha256(normal)
        return found

    def unused(self) -> list[str]:
        """Return sentences about statements that workers do not execute, because no registered class reaches them."""
        return [
            f"{each.place}: `{_first_line(each.text)}` is not run: only code that a registered class reaches is run"
            for each in self.reach.module(self.main).statements
            if each not in self.reach.statements and _does_something(each)
        ]


def _does_something(statement: Statement) -> bool:
    node = statement.node
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, (ast.For, ast.While, ast.With)):
        return True
    return isinstance(node, (ast.Assign, ast.AugAssign)) and bool(statement.changes)


def _first_line(text: str) -> str:
    line = text.strip().split("\n")[0]
    return line if len(line) <= 60 else f"{line[:57]}..."


def _only(statements: Iterable[tuple[int, str]]) -> str:
    """Return text with these statements on their original lines; statements on the same line are separated again."""
    lines: list[str] = []
    for number, text in statements:
        first, *rest = text.split("\n")
        lines += [""] * (number - len(lines))
        lines[number - 1] += f"{'; ' if lines[number - 1] else ''}{first}"
        lines += rest
    return "\n".join(lines) + "\n" if lines else ""


def _methods(statement: Statement) -> Iterator[tuple[str, list[str]]]:
    assert isinstance(statement.node, ast.ClassDef)
    lines = statement.text.split("\n")
    for node in statement.node.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            text = "\n".join(lines[first - statement.line : node.end_lineno - statement.line + 1])
            yield node.name, lexing.tokens(f"if 1:\n{text}")


def bundle_of(source: Source, find: Find, wanted: Iterable[str] | None = None, functions: Iterable[str] = ()) -> Bundle:
    """Return what a module registers, and what the registered classes reach.

    Parameters
    ----------
    wanted : keys of the requested classes, whose problems are recorded in `refusals`. None: all classes are requested,
        and a problem raises an error.
    functions : names of functions that are training code, apart from those that `wanted` lists.

    Raises
    ------
    PluginError: a name in the code cannot be resolved.
    """

    def found(name: str) -> Source | None:
        return source if name == source.name else find(name)

    meant = None if wanted is None else set(wanted)
    named = [key.removeprefix(f"{TRAINERS}/") for key in sorted(meant or ()) if key.startswith(f"{TRAINERS}/")]
    meant_functions = {source.name: [*functions, *_defined(named, source)]}
    refusals: dict[str, str] = {}
    kept = []
    for number, each in enumerate(_registered(Reach(found, meant_functions), source)):
        if meant is None or each.root.key in meant:
            problem = _problem(lambda: Reach(found, meant_functions), source, number, is_file=meant is None)
            if problem and meant is None:
                raise PluginError(problem)
            kept += [] if problem else [number]
            refusals |= {each.root.key: problem} if problem else {}
    reach = Reach(found, meant_functions)
    registered = [each for number, each in enumerate(_registered(reach, source)) if number in kept]
    registered = _once(registered, source)
    reach.follow([each.definition for each in registered])
    label = "notebook" if source.is_session or not source.pieces else source.pieces[0].label
    result = Bundle(source.name, label, tuple(registered), reach, refusals=refusals)
    result.codes |= {each.root.key: digest(reach, [each.definition]) for each in registered}
    identities = sorted((each.root.key, each.root.version, result.codes[each.root.key]) for each in registered)
    result.hash = _sha256([_FORMAT, identities])
    return result


def _defined(names: Iterable[str], source: Source) -> list[str]:
    """Return those of the given names that a source defines as functions."""
    functions = {each.node.name for each in Module(source).statements if isinstance(each.node, ast.FunctionDef)}
    return [name for name in names if name in functions]


def _once(registered: list[Registered], source: Source) -> list[Registered]:
    """Return one registration per name: in a session, the last one; a file with two registrations is refused."""
    found: dict[str, Registered] = {}
    for each in registered:
        other = found.get(each.root.key)
        if other is not None and not source.is_session:
            raise PluginError(
                f"{each.root.key} is registered twice: in {other.root.place}, and in {each.root.place}; rename one"
            )
        found[each.root.key] = each
    return list(found.values())


def _registered(reach: Reach, source: Source) -> list[Registered]:
    reach.module(source.name)
    return reach.registered[source.name]


def _problem(new: Callable[[], Reach], source: Source, number: int, *, is_file: bool) -> str:
    """Return why a registered class cannot be used; empty if it can be used."""
    try:
        reach = new()
        reach.follow([_registered(reach, source)[number].definition])
        for suspect in reach.suspects() if is_file else ():
            return unresolved(suspect)
    except PluginError as error:
        return str(error)
    except RecursionError:
        return f"{source.name}: your code has circular imports or is nested too deeply; simplify it"
    return ""


def unresolved(suspect: Suspect) -> str:
    """Return the message about a statement that may change an object that a class uses."""
    statement = suspect.statement
    return (
        f"{statement.place}: `{_first_line(statement.text)}` may change {suspect.name}, but no worker runs it, "
        f"because it is not a definition; compute {suspect.name} in one statement, or, if this line does not change "
        f"it, move the line under `if __name__ == '__main__':`"
    )


def reached_from(reach: Reach, roots: list[Statement]) -> dict[Statement, int]:
    """Return the given statements and everything that they reach, numbered in a stable order."""
    numbers: dict[Statement, int] = {}
    waiting = list(reversed(roots))
    while waiting:
        statement = waiting.pop()
        if statement not in numbers:
            numbers[statement] = len(numbers)
            inner = [each for _, found in sorted(reach.refs[statement].items()) for each in found]
            waiting += [each for each in reversed(inner) if isinstance(each, Statement)]
    return numbers


def digest(reach: Reach, roots: list[Statement]) -> str:
    """Return the hash of the given statements and everything that they reach."""
    numbers = reached_from(reach, roots)
    content = [[_normal(statement, reach), _meanings(reach.refs[statement], numbers)] for statement in numbers]
    return _sha256([_FORMAT, content])


def _meanings(refs: Mapping[str, list[str | Statement]], numbers: Mapping[Statement, int]) -> dict[str, list[Any]]:
    return {
        name: [each if isinstance(each, str) else numbers[each] for each in found]
        for name, found in sorted(refs.items())
    }


def _normal(statement: Statement, reach: Reach) -> list[str]:
    text = rewriting.hashed(statement, reach.modules[statement.module].source, reach.find)
    try:
        return lexing.tokens(text.lstrip("\n"))
    except lexing.UnreadableError as error:
        raise PluginError(f"{statement.place}: {error}; correct it") from error


def _sha256(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
