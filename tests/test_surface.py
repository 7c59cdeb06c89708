"""Commands and Python names match the recorded files; after an intended change, the files must be written again."""

from __future__ import annotations

import subprocess
import sys

import pytest
import surface

RENEW = "where the change was meant: python tests/surface.py, and a line in CHANGELOG.md"


def test_the_command_line_matches_the_record() -> None:
    assert surface.command_line() == surface.COMMAND_LINE.read_text(encoding="utf-8"), RENEW


def test_the_python_names_match_the_record() -> None:
    """This test uses a separate process, so that plugins registered by other tests do not appear."""
    code = "import sys; sys.path.append('tests'); import surface; print(surface.python(), end='')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=surface.ROOT)
    assert found.returncode == 0, found.stderr
    assert found.stdout == surface.PYTHON.read_text(encoding="utf-8"), RENEW


def test_a_changed_option_and_a_changed_signature_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import analysis.reading.query
    from ablations.commands.app import app

    def select(frame: object, conditions: object, strict: bool = False) -> None: ...

    monkeypatch.setattr(analysis.reading.query, "select", select)
    assert "  select(frame: 'object', conditions: 'object', strict: 'bool' = False) -> 'None'" in surface.python()
    monkeypatch.setattr(app, "registered_commands", app.registered_commands[1:])
    assert surface.command_line() != surface.COMMAND_LINE.read_text(encoding="utf-8")
