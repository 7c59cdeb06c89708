"""Arguments and options shared by several commands, and the command line's console."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from aimlib.paths import Place

Study = Annotated[str, typer.Argument(help="A study file or the name of a shipped study.", show_default=False)]
Directory = Annotated[
    str,
    typer.Argument(
        help="A study directory written by `ablate run`, or its s3://, gs:// or az:// URL.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the study; repeatable."),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Study directory, or an s3://, gs:// or az:// URL; default: results/<study>.", show_default=False
    ),
]
Reuse = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DIR",
        help="Copy results of identical runs from this study directory, or from all study directories in this "
        "folder; repeatable.",
        show_default=False,
    ),
]
TrustedCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="HASH",
        help="Approve the study's own code by its hash, without being prompted; repeatable.",
        show_default=False,
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A file with the user's own code that the run used, as listed under `plugins` in the study; repeatable.",
        show_default=False,
    ),
]
TimedAt = Annotated[
    str | None,
    typer.Option(
        help="Time the steps on a worker of this Ray cluster ('auto': the running one). By default, the steps are "
        "timed on this machine or, if it lacks the required GPUs, on the cluster that it belongs to.",
        show_default=False,
    ),
]
Wide = Annotated[
    bool,
    typer.Option("--wide", help="Print entire tables, without shortening names or omitting columns or rows."),
]


def console() -> Console:
    """Return the terminal's console; in a pipe or a log, this console does not break lines."""
    from ablations.commands.console_tables import room
    from ablations.commands.safe_console import SafeConsole

    shown = SafeConsole(emoji=False)  # names and messages may contain ":x:"
    shown.soft_wrap = room(shown) is None
    return shown


def print_verdict(directory: str | Place, shown_on: Console) -> None:
    """Print a study's verdict as one sentence, after the warnings that concern it."""
    import analysis
    from analysis.statistics.planned import gated_arms

    findings = analysis.examine(analysis.load(directory, epochs=gated_arms), further=False)
    for caution in findings.cautions:
        shown_on.print(f"\n{caution}", markup=False, highlight=False)
    shown_on.print(f"\n{findings.short}\n", style="bold", markup=False, highlight=False)
