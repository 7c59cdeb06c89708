"""Statements in the user's own code, with imports of the user's own modules rewritten, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aimlib.own_code import imports
from aimlib.own_code.imports import Imported
from aimlib.own_code.sources import Find, Source, Statement, cut

_ANY = "own"
"""Placeholder for the names of the user's own package and modules in the text that is hashed."""


def runnable(statement: Statement, source: Source, find: Find, package: str) -> str:
    """Return the text of a statement that is not an import; the user's own modules are imported from `package`."""
    return _rewritten(statement, source, find, lambda each: _text(each, package))


def hashed(statement: Statement, source: Source, find: Find) -> str:
    """Return the text of a statement for hashing; the names of the user's own modules are left out of its imports."""

    def text(each: Imported) -> str:
        return f"from {_ANY} import {each.name or _ANY} as {each.bound}" if each.own else _text(each, "")

    return _rewritten(statement, source, find, text)


def import_line(aliases: Iterable[Imported], package: str = "") -> str:
    """Return an import of names, on one line; without a package, the import is relative to the folder of the code."""
    return "; ".join(_text(each, package) for each in aliases)


def _text(each: Imported, package: str) -> str:
    prefix = f"{package}." if package and each.own else ""
    if each.name is not None:
        renamed = f" as {each.bound}" if each.bound != each.name else ""
        return f"from {prefix}{each.module} import {each.name}{renamed}"
    if each.own:
        return f"import {prefix}{each.module} as {each.bound}"
    return f"import {each.full}" if each.bound == each.module else f"import {each.full} as {each.bound}"


def _rewritten(statement: Statement, source: Source, find: Find, text: Callable[[Imported], str]) -> str:
    result = statement.code
    nodes = list(imports.within(statement.node))
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        place = f"{statement.label}, line {node.lineno}"
        named = imports.imported(node, source, find, place)
        if not any(each.own for each in named):
            continue
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        lines, first = result.split("\n"), node.lineno - statement.line
        column = node.col_offset - (_column(statement) if first == 0 else 0)
        end = node.end_col_offset - (_column(statement) if node.end_lineno == statement.line else 0)
        before = cut(lines, (1, 0), (first + 1, column))
        last = node.end_lineno - statement.line + 1
        after = cut(lines, (last, end), (len(lines), len(lines[-1].encode())))
        # Line numbers stay the same, except where another statement follows on the same line.
        padding = "" if after.lstrip().startswith(";") else "\n" * (node.end_lineno - node.lineno)
        result = f"{before}{'; '.join(map(text, named))}{padding}{after}"
    return result


def _column(statement: Statement) -> int:
    return 0 if getattr(statement.node, "decorator_list", []) else statement.node.col_offset
