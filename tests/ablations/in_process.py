"""Runs the command line in the test's own process, without a second import."""

from __future__ import annotations

import functools
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from blank_figures import blank_figures


@functools.cache
def _put_together() -> Any:
    """Return the commands; building them takes as long as running many commands."""
    from typer.main import get_command

    from ablations.commands.app import app

    return get_command(app)


def ablate(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process, with blank figures. Return the exit code, the output and the error
    output."""
    from ablations.commands import app

    argv, sys.argv = sys.argv, ["ablate", *map(str, arguments)]
    code: Any = 0
    try:
        undrawn = blank_figures() if "run" in arguments or "report" in arguments else nullcontext()
        with undrawn, pytest.MonkeyPatch.context() as patch:
            patch.setattr(app, "app", _put_together())
            app.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    out, err = capsys.readouterr()
    return code, out, err
