"""The user's own code as text: files in one folder, or a session's cells, split into statements."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from aimlib.errors import PluginError
from aimlib.own_code import lexing, scopes
from aimlib.paths import read_file

_MOST_BYTES = 2_000_000
ROOT_PACKAGE = "__init__"
"""Name of the module that ``from . import name`` refers to in the folder itself."""


@dataclass(frozen=True)
class Piece:
    """A file, or a cell in a notebook.

    Attributes
    ----------
    label : the piece's name in messages and tracebacks, without the folder.
    text : the piece's content, with line feeds as line ends.
    """

    label: str
    text: str


@dataclass(frozen=True)
class Source:
    """The source of a module.

    Attributes
    ----------
    name : the module's name, relative to the folder of the code; dots separate folders.
    pieces : the file, or the cells of a session in the order in which they were run.
    is_package : whether the module is the ``__init__.py`` of a folder.
    is_session : whether the module is a session, in which the last definition of a name applies.
    """

    name: str
    pieces: tuple[Piece, ...]
    is_package: bool = False
    is_session: bool = False


Find = Callable[[str], Source | None]
"""A function that returns the source of one of the user's own modules, given its name; None if the module does not
exist."""


def of_file(path: Path, name: str | None = None) -> Source:
    """Return the source in a file.

    Raises
    ------
    PluginError: the file cannot be read, or is not in UTF-8.
    """
    is_package = path.name == "__init__.py"
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise PluginError(f"{path}: cannot be read: {error.strerror or error}; use a file with Python code") from error
    except UnicodeDecodeError as error:
        raise PluginError(f"{path}: is not UTF-8: {error}; save it as UTF-8") from error
    return Source(name or path.stem, (Piece(path.name, lexing.plain_newlines(text)),), is_package)


def in_folder(folder: Path) -> Find:
    """Return a function that finds the modules in a folder; subfolders are packages."""
    found: dict[str, Source | None] = {}

    def find(name: str) -> Source | None:
        if name not in found:
            found[name] = _found(folder, name)
        return found[name]

    return find


def _found(folder: Path, name: str) -> Source | None:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    below = folder.joinpath(*parts)
    for path in (below.with_name(f"{below.name}.py"), below / "__init__.py"):
        if path.is_file():
            return of_file(path, name)
    return Source(name, (), is_package=True) if any(below.glob("*.py")) else None


@dataclass(eq=False)
class Statement:
    """A module-level statement, outside functions and classes.

    Attributes
    ----------
    module : name of the module.
    piece : number of the piece within the module.
    text : the statement's source, starting with its first decorator.
    line : number of the line in the piece in which the statement begins.
    registrations : the decorators that register a class, given by their first and last lines in the piece.
    """

    module: str
    piece: int
    node: ast.stmt
    text: str
    line: int
    label: str
    registrations: list[tuple[int, int]] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where the statement is, for messages."""
        return f"{self.label}, line {self.node.lineno}"

    @property
    def is_import(self) -> bool:
        """Whether the statement imports modules, or names from modules."""
        return isinstance(self.node, (ast.Import, ast.ImportFrom))

    @property
    def code(self) -> str:
        """The statement's source, with the decorators that register a class replaced by empty lines."""
        lines = self.text.split("\n")
        for first, last in self.registrations:
            for number in range(first - self.line, last - self.line + 1):
                lines[number] = ""
        return "\n".join(lines)

    @cached_property
    def binds(self) -> dict[str, int]:
        """The names that the statement binds in the module, each with its line."""
        return scopes.bound_by([self.node])

    @cached_property
    def changes(self) -> set[str]:
        """The names whose objects the statement changes."""
        return scopes.changed_by(self.node)

    @cached_property
    def uses(self) -> list[scopes.Use]:
        """The module-level names that the statement uses, except in decorators that register a class."""
        lines = {number for first, last in self.registrations for number in range(first, last + 1)}
        return [use for use in scopes.uses_of(self.node) if use.line not in lines]

    @property
    def is_whole(self) -> bool:
        """Whether the statement binds its names regardless of their previous values."""
        if isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or self.is_import:
            return True
        plain = isinstance(self.node, ast.Assign) or (isinstance(self.node, ast.AnnAssign) and bool(self.node.value))
        return plain and not any(use.name in self.binds for use in self.uses)


class Module:
    """The statements in a module, and which of them define a name."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.statements = [
            statement
            for number, piece in enumerate(source.pieces)
            for statement in _statements(source, number, piece)
            if not is_main_guard(statement.node)
        ]
        self.guarded = {
            name: (piece.label, line)
            for piece in source.pieces
            for node in _parsed(source, piece).body
            if is_main_guard(node)
            for name, line in scopes.bound_by([node]).items()
        }

    def defining(self, name: str) -> list[Statement]:
        """Return the statements that bind a name or change its object, in order; empty if nothing binds the name.

        In a session, only the last statement that binds the name regardless of its previous value, and later
        statements, are returned.
        """
        found = [each for each in self.statements if name in each.binds or name in each.changes]
        if not any(name in each.binds for each in found):
            return []
        if self.source.is_session:
            last = max((at for at, each in enumerate(found) if name in each.binds and each.is_whole), default=0)
            found = found[last:]
        bound = [each for each in found if name in each.binds]
        if all(each.is_import for each in bound):
            return bound
        if all(each.is_import or _defines_code(each.node) for each in bound):
            return [each for each in found if each in bound or not isinstance(each.node, ast.Expr)]
        return found


def _defines_code(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))


def is_main_guard(node: ast.AST) -> bool:
    """Return whether a statement is ``if __name__ == "__main__":``, which is never true in a worker."""
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare) or len(node.test.comparators) != 1:
        return False
    sides = [node.test.left, node.test.comparators[0]]
    return any(isinstance(each, ast.Name) and each.id == "__name__" for each in sides) and any(
        isinstance(each, ast.Constant) and each.value == "__main__" for each in sides
    )


def _parsed(source: Source, piece: Piece) -> ast.Module:
    try:
        return ast.parse(piece.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if source.is_session:  # a cell that is not valid Python did not define anything
            return ast.Module([], [])
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        told = error.msg if isinstance(error, SyntaxError) else error
        raise PluginError(f"{piece.label}{line}: is not valid Python: {told}; correct this line") from None


def _statements(source: Source, number: int, piece: Piece) -> Iterator[Statement]:
    lines = piece.text.split("\n")
    for node in _parsed(source, piece).body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        begin = (first, 0 if decorators else node.col_offset)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        text = cut(lines, begin, (node.end_lineno, node.end_col_offset))
        yield Statement(source.name, number, node, text, first, piece.label)


def cut(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two positions, given as line and byte offset, as in `ast`."""
    taken = lines[begin[0] - 1 : end[0]]
    taken[-1] = taken[-1].encode()[: end[1]].decode()
    taken[0] = taken[0].encode()[begin[1] :].decode()
    return "\n".join(taken)
