"""The sections of docstrings: every entry is on its own line, and only its continuation lines are indented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ablations", "aimlib", "analysis", "bench")
SECTION = re.compile(r"^( *)(Parameters|Attributes|Raises|Returns|Yields)\n\1-+\n((?:(?! *\n).+\n?)*)", re.MULTILINE)
ENTRIES = {
    "Parameters": re.compile(r"(?<=[.;)`] )\*{0,2}(\w+)(?:, \*{0,2}\w+)* : "),
    "Attributes": re.compile(r"(?<=[.;)`] )(\w+)(?:, \w+)* : "),
    "Raises": re.compile(r"(?<=[.;)`] )(\w*(?:Error|Interrupt|Fenced)): "),
}


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text, with its indentation, of every docstring that has several lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text and "\n" in text:
                yield node.body[0].lineno, text


def mistakes(text: str) -> Iterator[str]:
    """Yield a description of each mistake in the sections of a docstring."""
    if found := re.search(r"(Parameters|Attributes|Raises|Returns|Yields) -{3,} ", text):
        yield f"{found[1]} is not a heading of its own"
    for margin, name, body in SECTION.findall(text):
        for line in body.splitlines():
            entry = ENTRIES.get(name)
            if entry is not None and (inner := entry.search(line.removeprefix(margin))):
                yield f"{name}: {inner[1]} does not begin a line"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_entry_of_a_section_begins_a_line(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line}: {mistake}"
        for path in files
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        for mistake in mistakes(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "Do it.\n\n    Parameters\n    ----------\n    a : one. b : two.\n    ",
            "Parameters: b does not begin a line",
        ),
        ("Do it.\n\n    Raises\n    ------\n    ValueError: one. OSError: two.\n    ", "Raises: OSError does not"),
        ("Do it.\n\n    Raises ------ ValueError: one.\n    ", "Raises is not a heading"),
    ],
)
def test_joined_entries_are_found(text: str, mistake: str) -> None:
    assert [each for each in mistakes(text) if mistake in each]


def test_entries_on_lines_are_no_mistake() -> None:
    text = "Do it.\n\n    Parameters\n    ----------\n    a : one; see b.\n        More.\n    b, c : two: more.\n    "
    assert not list(mistakes(text))
