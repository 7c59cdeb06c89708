"""The command line: one command per module in this folder, and common error handling.

Each command calls the Python function of the same name and prints its result. The exit code is 0 for success, 1 if the
study has failed runs or a check found a problem, 2 if the input cannot be used, and 130 if the command was interrupted.
Heavy modules are imported only when needed, so that --help responds immediately.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import platform
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import aimlib
from ablations.commands import (
    across,
    archive,
    browse,
    check,
    cluster,
    data,
    export,
    init,
    keys,
    logs,
    plan,
    plugins,
    predict,
    recompute,
    report,
    results,
    run,
    status,
    studies,
    verify,
    watch,
)
from ablations.commands.doctor import command as doctor
from aimlib.errors import UsageError


class _Commands(TyperGroup):
    """The group of all commands. Messages about options explain what is wrong, without the validator's prefix."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.replace("Value error, ", "")
            raise


app = typer.Typer(
    name="ablate",
    cls=_Commands,
    help="Ablation studies that settle a claim: check, run, query and report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _module in {
    "init": init,
    "studies": studies,
    "keys": keys,
    "check": check,
    "plan": plan,
    "run": run,
    "status": status,
    "watch": watch,
    "logs": logs,
    "results": results,
    "browse": browse,
    "report": report,
    "across": across,
    "verify": verify,
    "archive": archive,
    "recompute": recompute,
    "predict": predict,
    "export": export,
    "cluster": cluster,
    "plugins": plugins,
    "doctor": doctor,
}.items():  # in the order in which --help lists the commands
    app.command(_name)(_module.command)
app.add_typer(data.app, name="data")


def _print_versions(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    typer.echo(f"ablate {aimlib.__version__}")
    typer.echo(f"Python {platform.python_version()}")
    for name in ("torch", "ray"):
        try:
            typer.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{name} is not installed")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_versions, is_eager=True, help="Show versions, and exit."),
    ] = False,
) -> None:
    """Ablation studies that settle a claim: check, run, query and report."""


_ALLOCATIONS = 100_000
"""Number of allocations between two garbage collections. Importing torch creates many objects that are never freed."""


def main() -> None:
    """Run the command line; a `UsageError` ends the command with a message and exit code 2, without a traceback."""
    try:
        app()
    except UsageError as error:
        from aimlib.records.escaping import LONGEST_LINE, printable, shortened
        from aimlib.records.redaction import without_secrets

        for line in map(printable, without_secrets(str(error)).splitlines()):
            typer.echo(f"error: {shortened(line, LONGEST_LINE)}", err=True)
        sys.exit(2)


def command() -> None:
    """Run the command line and end the process."""
    gc.set_threshold(_ALLOCATIONS)
    for name in ("stdout", "stderr"):  # None if standard output was closed when the process started
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 -- for the lifetime of the process
    try:
        try:
            main()
        except SystemExit as ending:
            if not isinstance(ending.code, int | None):
                raise
            _leave(ending.code or 0)
    except OSError as error:
        if error.errno not in _OF_OUTPUT or error.filename is not None:
            raise
        # Otherwise, Python would try to write the remaining output again at exit.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        typer.echo(
            f"error: the output cannot be written: {error.strerror}; free up space, or redirect the output elsewhere",
            err=True,
        )
        _leave(2)


_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors that occur if standard output is redirected to a full or broken device."""


def _leave(code: int) -> None:
    """End the process like `sys.exit`, but without module teardown, which takes up to a second with torch.

    Exit handlers run and output is flushed. If a non-daemon thread is still running, the process ends in the usual way
    instead.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        sys.exit(code)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command()
