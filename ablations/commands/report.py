"""`ablate report`: write the report of a study. In Python: `analysis.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablations.commands.options import Directory, console, print_verdict


def command(
    directory: Directory, out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None
) -> None:
    """Write the report: HTML, Markdown, figures and tables."""
    import analysis

    shown_on = console()
    print_verdict(directory, shown_on)
    shown_on.print(f"report: {analysis.report(directory, out)}", soft_wrap=True, highlight=False)
