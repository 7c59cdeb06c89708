"""A process that has imported torch, and forks a child for each script or list of cells that it receives.

A request is a line of JSON with a folder and either arguments for Python or notebook cells. The response is a line of
JSON with the child's output and whether the child succeeded.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

import aimlib.placements  # noqa: F401 -- takes seconds, but only once

try:
    from IPython.core.interactiveshell import InteractiveShell
except ImportError:
    InteractiveShell = None


def run_cells(cells: list[str]) -> None:
    shell = InteractiveShell.instance()
    for text in cells:
        shell.run_cell(text, store_history=True)


def run_python(arguments: list[str]) -> None:
    sys.argv = arguments
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path.cwd())
        runpy.run_path(arguments[0], run_name="__main__")


def child(request: dict[str, object], out: int) -> None:
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(str(request["folder"]))
    sys.path.insert(0, str(request["folder"]))
    os.environ["IPYTHONDIR"] = str(request["folder"])
    code = 0
    try:
        (run_cells if "cells" in request else run_python)(request.get("cells") or request["arguments"])
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        child(json.loads(line), writing)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    _, status = os.waitpid(process, 0)
    print(json.dumps([text, os.waitstatus_to_exitcode(status)]), flush=True)
