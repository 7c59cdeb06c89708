"""Commands and code in README and docs work: all blocks are parsed, and blocks that need no cluster are executed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import docs_check
import pytest


@pytest.mark.parametrize("page", docs_check.PAGES)
def test_every_block_names_commands_options_and_keys_that_exist(page: str) -> None:
    found = [f"{page}:{block.line}: {what}" for block in docs_check.blocks(page) for what in docs_check.problems(block)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", docs_check.PAGES)
def test_commands_in_sentences_and_tables_exist(page: str) -> None:
    quoted = docs_check.inline_commands(page)
    found = [f"{page}: `{text}`: {what}" for text in quoted for what in docs_check.command_problems(shlex.split(text))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("sh", "ablate chek demo", "no command ablate chek"),
        ("sh", "ablate run demo --cluster auto", "ablate run has no option --cluster"),
        ("sh", "cd x && ablate data info digits --sise 8", "ablate data info has no option --sise"),
        ("sh", "make dmo", "no make target dmo"),
        ("sh", "pip install 'aim-ablations[s4]'", "no extra s4"),
        ("python", "import analysis as", "not Python"),
        ("yaml", "arm: {}", "a study has no key arm"),
        ("toml", "a = ", "not TOML"),
    ],
)
def test_a_mistake_in_a_block_is_found(kind: str, text: str, problem: str) -> None:
    (block,) = docs_check.blocks("page", f"```{kind}\n{text}\n```\n")
    (found,) = docs_check.problems(block)
    assert problem in found


def test_a_mark_is_read_from_the_line_before_its_block() -> None:
    page = "<!-- docs-check: parse -->\n```sh\nssh head\n```\n\n```sh\nls\n```\n"
    assert [(block.mark, block.line) for block in docs_check.blocks("page", page)] == [("parse", 1), ("", 6)]


def test_a_block_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text("```python\nvalue = 1\n```\n\n```python\nassert value == 2\n```\n")
    monkeypatch.setattr(docs_check, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    with pytest.raises(AssertionError):
        docs_check.run("page.md", tmp_path)


RUNNING = [page for page in docs_check.PAGES if any(block.runs for block in docs_check.blocks(page))]


@pytest.mark.slow  # trains the README's study; the quick tests parse the same blocks
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", RUNNING)
@pytest.mark.xdist_group("ray")
def test_every_unmarked_block_runs(page: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(docs_check.ROOT), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, str(docs_check.ROOT / "tests" / "docs_check.py"), page],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
