"""`ablate cluster`: print files for running a study on a cluster. In Python: `ablations.cluster.template`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[
        str | None, typer.Argument(help="Name of the file; if omitted, all files are listed.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a value in the file; repeatable.")
    ] = None,
) -> None:
    """Print a file for running a study on a cluster, e.g. ablate cluster slurm > study.sbatch."""
    from ablations import cluster

    if name is None:
        typer.echo("\n\n".join(template.summary for template in cluster.templates().values()))
    else:
        typer.echo(cluster.template(name).render(settings or ()), nl=False)
