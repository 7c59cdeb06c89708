"""The docstrings below the fields of a class. Python does not keep them, so they are read from the source code."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

Docstrings = dict[str, str]
"""Single-line texts, by field name."""


def field_docstrings(cls: type) -> Docstrings:
    """Return the texts below the fields of a class and its bases, by field name.

    A class whose source code is not in a file has no such texts. A field that is redeclared without a text inherits the
    text from the base class.
    """
    found: Docstrings = {}
    for each in reversed(cls.__mro__):
        found |= _by_class(each.__module__).get(each.__qualname__, {})
    return found


@cache
def _by_class(module: str) -> dict[str, Docstrings]:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py"):
        return {}
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {}
    return dict(_classes(tree.body, ""))


def _classes(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Docstrings]]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            name = f"{prefix}{statement.name}"
            yield name, dict(_fields(statement.body))
            yield from _classes(statement.body, f"{name}.")


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, on_one_line(text)


def on_one_line(text: str) -> str:
    """Return a text without its line breaks and indentation."""
    return " ".join(inspect.cleandoc(text).split())


def first_paragraph(cls: type) -> str:
    """Return the first paragraph of a class's own docstring on one line; empty if there is no docstring."""
    return on_one_line((cls.__dict__.get("__doc__") or "").strip().partition("\n\n")[0])
