"""Arguments and options shared by several commands, and their console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from aimlib.paths import Place

Study = Annotated[str, typer.Argument(help="A study file or the name of a shipped study.", show_default=False)]
Directory = Annotated[
    str, typer.Argument(help="A study directory written by `ablate run`, or s3://bucket/folder.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the study; repeatable."),
]
Out = Annotated[
    str | None,
    typer.Option(help="Study directory, or s3://bucket/folder; default: results/<study>.", show_default=False),
]
TimedAt = Annotated[
    str | None,
    typer.Option(
        help="Time on a worker of this Ray cluster ('auto': the running one); default: this machine, or, if it lacks "
        "the required GPUs, the cluster that it belongs to.",
        show_default=False,
    ),
]


def console() -> Console:
    """Return the terminal's console."""
    from rich.console import Console

    return Console(emoji=False)  # names and messages may contain ":x:"


def print_verdict(directory: str | Place, shown_on: Console) -> None:
    """Print the verdict of a study in a sentence."""
    import analysis

    headline = analysis.examine(analysis.load(directory)).headline
    shown_on.print(f"\n{headline}\n", style="bold", markup=False, highlight=False)
