"""`ablate doctor`: is this machine fit to run a study. In Python: `ablations.doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablations.commands.options import console


def command(
    out: Annotated[Path, typer.Option(help="Where results will go.")] = Path("results"),
    ray: Annotated[bool, typer.Option(help="Start Ray for a moment.")] = True,
) -> None:
    """Examine this machine and say what to do about each problem."""
    from ablations.commands import console_tables
    from ablations.commands.doctor.machine import doctor

    found = doctor(out, with_ray=ray)
    console_tables.findings(found, console())
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(1)
