"""`ablate doctor`: check whether this machine can run a study. In Python: `ablations.doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.commands.options import console

if TYPE_CHECKING:
    from rich.console import Console

    from ablations.commands.doctor.finding import Finding


def command(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("results"),
    ray: Annotated[bool, typer.Option(help="Start Ray briefly to test it.")] = True,
) -> None:
    """Check this machine, and explain how to fix each problem."""
    from ablations.commands.doctor.machine import doctor

    found = doctor(out, ray=ray)
    _print(found, console())
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(1)


def _print(found: Iterable[Finding], shown_on: Console) -> None:
    """Print one line for each finding, with the remedy below it."""
    from rich.padding import Padding
    from rich.text import Text

    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in found:
        line = Text(f"{finding.state:8}", style=styles[finding.state])
        shown_on.print(line + Text(f"{finding.subject}: {finding.message}", style=""), highlight=False)
        if finding.remedy:
            shown_on.print(Padding(Text(finding.remedy, style="dim"), (0, 0, 0, 8)))
