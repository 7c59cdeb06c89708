"""`ablate report`: write the report of a study. In Python: `ablations.report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import Directory, console, print_verdict

if TYPE_CHECKING:
    from aimlib.paths import Place


def command(
    directory: Directory, out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None
) -> None:
    """Write the report: HTML, Markdown, figures and tables."""
    shown_on = console()
    print_verdict(directory, shown_on)
    shown_on.print(f"report: {report(directory, out)}", soft_wrap=True, highlight=False)


def report(directory: str | Place, out: str | Path | None = None) -> Path:
    """Write a study's report, and return the path of the report's page; see `analysis.report`.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.
    out : folder for the report; by default ``report`` in the study directory.

    Raises
    ------
    StoreError: this is not a study directory, or a file is corrupt.
    """
    import analysis

    return analysis.report(directory, out)
