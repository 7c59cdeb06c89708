"""Sphinx makes a site of these pages, of the command line and of the documented Python names: `make docs`.

The pages of the command line and of Python are written from the sources into ``docs/reference``, not committed.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

project = "aim-ablations"
author = "The aim-ablations authors"
version = release = importlib.metadata.version("aim-ablations")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns: list[str] = []
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "description": "Ablation studies that settle a claim"}
html_copy_source = False
default_role = "code"
myst_heading_anchors = 4
myst_fence_as_directive: list[str] = []
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": False}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
add_module_names = False
suppress_warnings = ["myst.header", "ref.python"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#]+)[^)]*\)")
_SECTION = {"Parameters": "param", "Attributes": "ivar", "Raises": "raises", "Returns": "returns", "Yields": "returns"}
_NAMED = re.compile(r"(?P<names>[\w, *.\\]+?) ?: (?P<text>.+)")


def setup(app: Any) -> None:
    """Connect what follows."""
    app.connect("builder-inited", lambda _: write_reference(REFERENCE))
    app.connect("source-read", _without_links_outside)
    app.connect("autodoc-process-docstring", lambda _app, _what, _name, _obj, _options, lines: _as_fields(lines))


def write_reference(folder: Path) -> None:
    """Write the pages of the command line and of Python from the sources."""
    from surface import MODULES

    folder.mkdir(exist_ok=True)
    _write(folder / "command-line.md", command_line())
    for module in MODULES:
        _write(folder / f"{module}.rst", f"{module}\n{'=' * len(module)}\n\n.. automodule:: {module}\n")
    listed = "\n".join(f"   {module}" for module in MODULES)
    _write(folder / "python.rst", f"Python\n======\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n")


def command_line() -> str:
    """Return the page of the command line, as typer writes it."""
    command = [sys.executable, "-m", "typer", "ablations.commands.app", "utils", "docs", "--name", "ablate"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.replace("# `ablate`", "# Command line", 1)


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _without_links_outside(_app: Any, _name: str, source: list[str]) -> None:
    """Name files outside this folder instead of linking to them: the site does not contain them."""
    source[0] = _OUTSIDE.sub(lambda found: _named(found[1], found[2]), source[0])


def _named(text: str, path: str) -> str:
    return text if text.strip("`") in path else f"{text} (`{path}`)"


def _as_fields(lines: list[str]) -> None:
    """Turn the sections of a docstring into fields of reStructuredText."""
    lines[:] = [*_fields(lines), ""]


def _fields(lines: list[str]) -> Iterator[str]:
    kind, in_field = "", False
    for number, line in enumerate(map(_escaped, lines)):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if line.strip() in _SECTION and following and set(following) == {"-"}:
            kind, in_field = _SECTION[line.strip()], True
            yield ""
        elif line and set(line.strip()) == {"-"} and lines[number - 1].strip() in _SECTION:
            if kind == "returns":
                yield ":returns:"
        elif kind == "returns" and line.strip():
            yield f"    {line}"
        elif kind and (found := _NAMED.fullmatch(line)) and not line.startswith(" "):
            names = found["names"].replace("\\*", "").split(", ")
            yield from (f":{kind} {name}: {found['text']}" for name in names)
            in_field = True
        else:
            if in_field and line and not line.startswith(" "):
                yield ""
                in_field = False
            yield line


def _escaped(line: str) -> str:
    """Return a line in which ``*`` and ``|`` mean themselves outside code."""
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    write_reference(REFERENCE)
