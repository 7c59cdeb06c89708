"""The command line in the process of the test: no import is paid for twice."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import pytest
from blank_figures import blank_figures


def ablate(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process, figures left blank; return exit code, output and error output."""
    from ablations.commands.app import main

    argv, sys.argv = sys.argv, ["ablate", *map(str, arguments)]
    code: Any = 0
    try:
        with blank_figures() if "run" in arguments or "report" in arguments else nullcontext():
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    out, err = capsys.readouterr()
    return code, out, err
