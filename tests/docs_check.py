"""Finds the code blocks in README and docs, checks all blocks without executing them, and executes blocks. A block is
executed unless a hidden comment on the line before the block says otherwise::

    <!-- docs-check: parse -->            needs a network, a cluster or hours: the block is only parsed
    <!-- docs-check: save study.yaml -->  a file that later blocks on the page use

`python tests/docs_check.py PAGE` runs the blocks on one page in the current folder, one after another.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
STUDY_FIRST = {
    "docs/browse.md": "results/my_study",
    "docs/watching.md": "results/my_study",
}
"""Pages whose blocks read a study that the reader has already run, each with the study's directory."""
_BLOCK = re.compile(r"(?:^<!-- docs-check: (?P<mark>.+?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_INLINE = re.compile(r"`((?:ablate|make) [^`\n]+)`")
_SHIM = "from ablations.commands.app import command; import sys; sys.argv[0] = 'ablate'; command()"


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes
    ----------
    line : number of the line on which the block begins.
    kind : sh, python, yaml, toml, or text.
    mark : ``parse``, ``save NAME`` or empty.
    """

    page: str
    line: int
    kind: str
    mark: str
    text: str

    @property
    def runs(self) -> bool:
        """Return whether the block is executed, rather than only parsed."""
        return not self.mark and self.kind in ("sh", "python")


def blocks(page: str, text: str | None = None) -> Iterator[Block]:
    """Yield the blocks on a page in order."""
    text = (ROOT / page).read_text(encoding="utf-8") if text is None else text
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match["kind"], match["mark"] or "", match["text"])


def inline_commands(page: str) -> list[str]:
    """Return the commands that a page quotes in sentences and tables."""
    return _INLINE.findall((ROOT / page).read_text(encoding="utf-8"))


def problems(block: Block) -> Iterator[str]:
    """Yield the mistakes in a block, without running it."""
    parse = {"sh": _shell, "python": _python, "yaml": _yaml, "toml": _toml}.get(block.kind)
    if parse is not None:
        yield from parse(block.text)
    elif block.kind not in ("text", "sql"):
        yield f"unknown kind {block.kind}"


def _shell(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for command in _split(words):
            yield from command_problems(command)


def _split(words: list[str]) -> Iterator[list[str]]:
    """Yield the commands on a line, without output redirections."""
    command: list[str] = []
    for word in [*words, ";"]:
        if word in {"&&", "|", ";", ">"} or word.startswith(">"):
            yield command
            command = []
        else:
            command.append(word)


def command_problems(words: list[str]) -> Iterator[str]:
    """Yield the mistakes in an `ablate` command; other commands are ignored."""
    if words[:1] == ["ablate"]:
        yield from _ablate_problems(words[1:])
    elif words[:1] == ["make"]:
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
        named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        yield from (f"no make target {word}" for word in named if word not in targets and word != "TARGET")
    elif words[:2] == ["pip", "install"]:
        yield from _extras(words[2:])


def _ablate_problems(words: list[str]) -> Iterator[str]:
    import typer

    from ablations.commands.app import app

    command: Any = typer.main.get_command(app)
    path = ["ablate"]
    while words and hasattr(command, "commands") and not words[0].startswith(("-", "...", "COMMAND")):
        if words[0] not in command.commands:
            yield f"no command {' '.join([*path, words[0]])}"
            return
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    known = {"-h", "--help"} | {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    stated = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    yield from (f"{' '.join(path)} has no option {name}" for name in sorted(stated - known))


def _extras(words: list[str]) -> Iterator[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for word in words:
        if found := re.match(r"aim-ablations\[(\w+)\]", word):
            yield from () if found[1] in extras else (f"no extra {found[1]}",)


def _python(text: str) -> Iterator[str]:
    try:
        compile(text, "block", "exec")
    except SyntaxError as error:
        yield f"not Python: {error}"


def _yaml(text: str) -> Iterator[str]:
    from ablations.spec import yaml_documents
    from ablations.spec.study import StudySpec

    document = yaml_documents.parse(text, "block")
    yield from (f"a study has no key {key}" for key in document if key not in StudySpec.model_fields)


def _toml(text: str) -> Iterator[str]:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        yield f"not TOML: {error}"


def run(page: str, folder: Path) -> None:
    """Run a page's blocks in a folder; raise CalledProcessError or the block's own exception if a block fails."""
    shim = folder / "bin" / "ablate"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(_SHIM)} "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    os.environ["PATH"] = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    os.chdir(folder)
    if page in STUDY_FIRST:
        options = "--executor inline --set seeds=2 --set training.epochs=1"
        _run_shell(f"ablate run demo --out {STUDY_FIRST[page]} {options}")
    names: dict[str, Any] = {}
    for block in blocks(page):
        print(f"{page}:{block.line}: {block.kind} {block.mark}", flush=True)
        if block.mark.startswith("save "):
            (folder / block.mark.removeprefix("save ")).write_text(block.text, encoding="utf-8")
        elif block.runs and block.kind == "sh":
            _run_shell(block.text)
        elif block.runs:
            exec(compile(block.text, f"{page}:{block.line}", "exec"), names)


def _run_shell(text: str) -> None:
    subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)


if __name__ == "__main__":
    run(sys.argv[1], Path.cwd())
