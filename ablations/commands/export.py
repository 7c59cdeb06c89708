"""`ablate export`: convert a network that a study kept to a torch.export program. In Python: `ablations.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablations.commands.options import Directory, PluginFiles, TrustedCode


def command(
    directory: Directory,
    run: Annotated[
        str, typer.Option(metavar="RUN", help="A run id or its beginning, or ARM/SEED.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="File to write; the name must end in .pt2.", show_default=False)],
    plugin: PluginFiles = None,
    trust: TrustedCode = None,
) -> None:
    """Export a network that a study kept (`keep: best`) as a program that maps pixels from 0 to 255 to class scores."""
    from ablations.execution.inference.exporting import export

    typer.echo(f"program: {export(directory, run, out, plugin=plugin or (), trust=trust or ())}")
