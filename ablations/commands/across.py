"""`ablate across`: two studies on different backbones together. In Python: `analysis.across`."""

from __future__ import annotations

from typing import Annotated

import typer

from ablations.commands.options import Directory, console


def command(
    first: Directory,
    second: Annotated[str, typer.Argument(help="Directory of the study on another backbone.", show_default=False)],
) -> None:
    """Put two studies on different backbones together: a verdict each, their mean, their difference."""
    import analysis

    found = analysis.across(*(analysis.examine(analysis.load(directory)) for directory in (first, second)))
    console().print(found.sentence, markup=False, highlight=False)
